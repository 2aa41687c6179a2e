"""A query's statement and the page that its records make.

Its rows are in a total order: the order asked for, missing values last in either direction, then
for rows `_id` and `_ord`, for groups the grouped columns. Each row carries its sort keys, so that
the next page begins exactly after the last row of this one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import AnswerColumn
from researchflow_runners.query.having import Having
from researchflow_runners.query.keyset import SortKey, after_sql, order_sql, shown_sql
from researchflow_runners.query.model import Query
from researchflow_runners.query.notices import Notice, counts_sql, warnings
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import FilterScope, Mixed
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

_OF_GROUPS = """\
{with_}SELECT mixed, ties, counted FROM (SELECT 0 AS n, mixed, ties, counted FROM ({groups}) AS g\
 UNION ALL SELECT 1 AS n, {of_scope}) AS told ORDER BY n LIMIT 1\
"""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer with the sort keys of each.

    `from_speed` counts the rows that came from the speed layer: of this page when the query asks
    for rows, of all groups when it asks for groups. `ties` counts the keys whose kept row is one
    of several; None when no row is chosen by its date. `warnings` tell what its rows made known.
    """

    rows: tuple[tuple[Any, ...], ...]
    keys: tuple[tuple[Any, ...], ...]
    truncated: bool
    from_speed: int
    ties: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL whose rows are the answer's columns, the sort keys, `from_speed`, `mixed`, `ties` and
    `counted`.

    `mixed` is the first of `measured` that would put several units together in any group of the
    answer; null when none does. `ties` and `counted`, the counts of `notices`, are those of the
    whole answer; `nothing`, where given, is the SQL that tells the three when there are no rows.
    `warnings` are what the reader should know whatever the rows are.
    """

    sql: Sql
    columns: tuple[AnswerColumn, ...]
    json_columns: tuple[int, ...]
    key_types: tuple[str, ...]
    limit: int
    grouped: bool
    measured: tuple[Mixed, ...] = ()
    warnings: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    nothing: Sql | None = None

    def page(self, records: Sequence[Sequence[Any]], told: Sequence[Any] | None = None) -> Page:
        """The answer's rows out of at most limit + 1 records; JSON keeps its decimals exact.

        `told` is the record of `nothing`. QueryError `units_mixed` rather than a number made of
        several units.
        """
        width, last = len(self.columns), len(self.columns) + len(self.key_types)
        mixed, ties, counted = records[0][last + 1 :] if records else told or (None, None, None)
        if mixed is not None:
            raise _units_mixed(self.measured[mixed])
        kept = records[: self.limit]
        counts = [record[last] for record in kept]
        return Page(
            rows=tuple(self._row(tuple(record[:width])) for record in kept),
            keys=tuple(tuple(record[width:last]) for record in kept),
            truncated=len(records) > self.limit,
            from_speed=int(max(counts, default=0) if self.grouped else sum(counts)),
            ties=ties,
            warnings=warnings(self.notices, counted),
        )

    def _row(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.json_columns:
            return row
        return tuple(
            _from_json(value, column.type)
            if position in self.json_columns and value is not None
            else value
            for position, (column, value) in enumerate(zip(self.columns, row, strict=True))
        )


def _units_mixed(measured: Mixed) -> QueryError:
    value, unit = measured.value, measured.unit
    return QueryError(
        f'values of column "{value}" have several units in "{unit}"',
        code="units_mixed",
        hint=f'add "{unit}" to group_by, or keep one unit with a filter on "{unit}"',
        field=measured.field,
        allowed=(unit,),
    )


def _from_json(text: str, fhir_type: str) -> Any:
    """The value in the text; decimals that are written without a point are decimals too."""
    whole = Decimal if fhir_type == "decimal" else int
    return json.loads(text, parse_float=Decimal, parse_int=whole)


@dataclass(frozen=True, slots=True)
class Source:
    """What a statement selects from: `sql` is its FROM with all that comes after it.

    `from_speed` counts or marks rows of the speed layer. `ties`, `told` and `mixed` are what the
    rows make known beside what the scope knows.
    """

    sql: Sql
    from_speed: Sql
    ties: Sequence[Sql] = ()
    told: Sequence[Notice] = ()
    mixed: Sequence[Mixed] = ()
    having: Having | None = None


def statement_of(
    query: Query,
    source: Source,
    outputs: Sequence[Output],
    keys: Sequence[SortKey],
    scope: FilterScope,
    *,
    after: tuple[Any, ...] | None,
) -> Statement:
    """The page's statement."""
    notices = (*scope.notices, *source.told)
    mixed = (*scope.mixed, *source.mixed)
    columns = [*_select_list(outputs, keys), *(source.having.beside if source.having else ())]
    inner = compose(
        "SELECT {columns}, {from_speed} AS from_speed, {told}{source}",
        columns=join(", ", columns),
        from_speed=source.from_speed,
        told=_told(mixed, (*scope.ties, *source.ties), notices),
        source=source.sql,
    )
    answer = source.having.kept(inner) if source.having else compose("({})", inner)
    return Statement(
        sql=_paged(query, answer, outputs, keys, scope, after=after),
        columns=tuple(output.column for output in outputs),
        json_columns=tuple(n for n, output in enumerate(outputs) if output.is_json),
        key_types=tuple(key.pg_type for key in keys),
        limit=query.limit,
        grouped=bool(query.group_by or query.aggregates),
        measured=mixed,
        warnings=tuple(dict.fromkeys(one for output in outputs for one in output.warnings)),
        notices=notices,
        nothing=_nothing(source, inner, scope),
    )


def _nothing(source: Source, inner: Sql, scope: FilterScope) -> Sql | None:
    """What is told where no row is left: by the groups that having left out, else by the scope."""
    of_scope = _told(scope.mixed, scope.ties, scope.notices)
    if source.having is not None:
        return compose(_OF_GROUPS, with_=scope.with_sql(), groups=inner, of_scope=of_scope)
    return compose("{}SELECT {}", scope.with_sql(), of_scope) if scope.tables else None


def _told(mixed: Sequence[Mixed], ties: Sequence[Sql], notices: Sequence[Notice]) -> Sql:
    """What is told beside the rows, as the columns `mixed`, `ties` and `counted`."""
    numbers = [
        compose("CASE WHEN {} THEN {} END", one.condition, param(number, "integer"))
        for number, one in enumerate(mixed)
    ]
    return compose(
        "{mixed} AS mixed, {ties} AS ties, {counted} AS counted",
        mixed=compose("coalesce({})", join(", ", numbers)) if numbers else fixed("NULL::integer"),
        ties=compose("({})::bigint", join(" + ", ties)) if ties else fixed("NULL::bigint"),
        counted=counts_sql(notices),
    )


def _paged(
    query: Query,
    answer: Sql,
    outputs: Sequence[Output],
    keys: Sequence[SortKey],
    scope: FilterScope,
    *,
    after: tuple[Any, ...] | None,
) -> Sql:
    names = [f"c{number}" for number in range(len(outputs))]
    names += [shown_sql(number, key) for number, key in enumerate(keys)]
    return compose(
        "{with_}SELECT {names}, from_speed, mixed, ties, counted FROM {answer} AS answer"
        "{after}{order} LIMIT {limit}",
        with_=scope.with_sql(),
        names=fixed(", ".join(names)),
        answer=answer,
        after=compose(" WHERE {}", after_sql(keys, after)) if after is not None else EMPTY,
        order=order_sql(keys),
        limit=param(query.limit + 1, "bigint"),
    )


def _select_list(outputs: Sequence[Output], keys: Sequence[SortKey]) -> list[Sql]:
    shown = [
        compose("{} AS {}", output.shown, fixed(f"c{number}"))
        for number, output in enumerate(outputs)
    ]
    sorted_by = [
        compose("{} AS {}", key.sql, fixed(f"k{number}")) for number, key in enumerate(keys)
    ]
    return [*shown, *sorted_by]
