"""What an answer's rows are taken from: the view's rows that satisfy its filter, or of those the
newest or the oldest of each key.

Rows are ordered by the begin and then by the end of the period that their date means, as answers
sort dates. Of a key's rows that share the first place the one with the lowest id is kept, and the
answer counts such keys as ties. Rows without the date or without the key are left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import event_span, kind_of, value_sql
from researchflow_runners.query.model import Filter, Latest, Query, SubQuery
from researchflow_runners.query.notices import Notice
from researchflow_runners.query.rows import FilterScope, Rows, row_order
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join

#: What every relation has beside its columns.
HIDDEN = ("_id", "_ord", "_layer")
_KEPT = """\
SELECT r.*, row_number() OVER \
(PARTITION BY r._lacks, {kept_keys} ORDER BY {row_keys}) AS _number FROM (SELECT {columns}, \
({lacks}) AS _lacks, rank() OVER (PARTITION BY {keys} ORDER BY {low} {way} NULLS LAST, \
{high} {way}) AS _place FROM {relation} AS {inner}{where}) AS r WHERE r._place = 1 OR r._lacks\
"""
#: The condition under which a filter is true of rows; empty without a filter. The text is its path.
Condition: TypeAlias = Callable[[Filter | None, Rows, str], Sql]


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows that a question is about; ask for their SQL when all columns read are known."""

    rows: Rows
    where: Filter | None
    at: str

    def sql(self, scope: FilterScope, condition: Condition) -> tuple[Sql, Sql]:
        """A relation for the rows' alias, and the condition on it, which may be empty."""
        holds = condition(self.where, self.rows, f"{self.at}where")
        return self.rows.relation(scope), holds


@dataclass(frozen=True, slots=True)
class Kept(Taken):
    """Of those rows the newest or the oldest of each key, as a common table of the statement."""

    latest: Latest
    newest: bool
    place: str
    keys: Sequence[Column]

    def sql(self, scope: FilterScope, condition: Condition) -> tuple[Sql, Sql]:
        """The common table; the statement counts its ties and what it leaves out."""
        kept = compose("NOT {0}._lacks AND {0}._number = 1", self.rows.alias)
        own = condition(self.latest.where, self.rows, f"{self.place}.where")
        # What only tells which rows are kept need not be kept with them.
        rows = self.rows
        inner = replace(rows, alias=scope.alias(), read=set(rows.read), reached=dict(rows.reached))
        dates = inner.dates(self.latest.by, at=f"{self.place}.by")
        holds = condition(self.where, inner, f"{self.at}where")
        name = scope.table(self._table(inner, dates, holds, scope))
        self._tell(name, dates, scope)
        return name, compose("{} AND {}", kept, own) if own else kept

    def _table(self, inner: Rows, dates: Sequence[Column], holds: Sql, scope: FilterScope) -> Sql:
        low, high = event_span(inner.alias, dates)
        kept = (*HIDDEN, *self.rows.names())
        keys = [value_sql(inner.alias, key) for key in self.keys]
        return compose(
            _KEPT,
            kept_keys=join(", ", [value_sql(fixed("r"), key) for key in self.keys]),
            row_keys=row_order(fixed("r")),
            inner=inner.alias,
            columns=join(", ", [compose("{}.{}", inner.alias, ident(name)) for name in kept]),
            lacks=join(" OR ", [compose("{} IS NULL", part) for part in (low, *keys)]),
            keys=join(", ", keys),
            low=low,
            high=high,
            way=fixed("DESC" if self.newest else "ASC"),
            relation=inner.relation(scope),
            where=compose(" WHERE {}", holds) if holds else EMPTY,
        )

    def _tell(self, name: Sql, dates: Sequence[Column], scope: FilterScope) -> None:
        counted = "(SELECT count(*) FROM {} WHERE {})"
        scope.ties.append(compose(counted, name, fixed("NOT _lacks AND _number = 2")))
        dated, keyed = (
            " or ".join(column.name for column in columns) for columns in (dates, self.keys)
        )
        told = f'{{n}} rows of view "{self.rows.view}" are left out: no {dated}, or no {keyed}'
        scope.notices.append(Notice(compose(counted, name, fixed("_lacks")), told))


def taken_rows(asked: Query | SubQuery, rows: Rows, *, at: str) -> Taken:
    """The rows that a question is about; `at` is its path with a dot, empty for a query."""
    if asked.latest_per is not None and asked.first_per is not None:
        raise QueryError(
            "latest_per and first_per do not go together",
            code="invalid_argument",
            hint="ask for one of them at a time",
            field=f"{at}first_per",
        )
    latest = asked.latest_per or asked.first_per
    if latest is None:
        return Taken(rows, asked.where, at)
    place = f"{at}latest_per" if asked.latest_per else f"{at}first_per"
    return Kept(
        rows,
        asked.where,
        at,
        latest=latest,
        newest=asked.latest_per is not None,
        place=place,
        keys=_keys(latest, rows, place),
    )


def _keys(latest: Latest, rows: Rows, place: str) -> list[Column]:
    columns = [rows.column(name, at=f"{place}.key") for name in latest.keys]
    for column in columns:
        if kind_of(column) == "opaque":
            raise QueryError(
                f'column "{column.name}" holds lists or elements, so no row has one as its key',
                code="operator_not_allowed",
                hint="name a column of single values, such as patient_id",
                field=f"{place}.key",
            )
    return columns
