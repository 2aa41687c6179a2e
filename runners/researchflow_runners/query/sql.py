"""A query as one SQL statement over the relations the serving layer chose.

A relation gives a view's hidden columns, its physical columns and `_layer` ('batch' or 'speed').
The statement's rows are in a total order: the order asked for, missing values last in either
direction, then for rows `_id` and `_ord`, for groups the grouped columns. Each row carries its
sort keys, so that the next page begins exactly after the last row of this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.query.columns import AnswerColumn, Catalogue, find_view
from researchflow_runners.query.filters import FilterScope, Relations, Rows, where_sql
from researchflow_runners.query.keyset import SortKey, after_sql, order_sql, shown_sql
from researchflow_runners.query.model import AgeGroup, Aggregate, Query
from researchflow_runners.query.outputs import (
    Key,
    Output,
    age_output,
    aggregate_output,
    column_output,
    display_output,
)
from researchflow_runners.query.relative import resolved
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

_ANY_DAY = date(2000, 1, 1)
_ROW_KEYS = ('_id COLLATE "C"', "_ord")


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer with the sort keys of each.

    `from_speed` counts the rows that came from the speed layer: of this page when the query asks
    for rows, of all groups when it asks for groups.
    """

    rows: tuple[tuple[Any, ...], ...]
    keys: tuple[tuple[Any, ...], ...]
    truncated: bool
    from_speed: int


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL whose rows are the answer's columns, the sort keys, `from_speed` and `mixed`.

    `mixed` is the first aggregate, counted from 0, that would put several units into one number
    in any group of the answer; null when none does. `measured` has the columns of value and unit
    of each aggregate that could. `warnings` are what the reader should know.
    """

    sql: Sql
    columns: tuple[AnswerColumn, ...]
    json_columns: tuple[int, ...]
    key_types: tuple[str, ...]
    limit: int
    grouped: bool
    measured: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def page(self, records: Sequence[Sequence[Any]]) -> Page:
        """The answer's rows out of at most limit + 1 records; JSON keeps its decimals exact.

        QueryError `units_mixed` rather than a number made of several units.
        """
        width, last = len(self.columns), len(self.columns) + len(self.key_types)
        if records and records[0][last + 1] is not None:
            raise self._units_mixed(records[0][last + 1])
        kept = records[: self.limit]
        counts = [record[last] for record in kept]
        return Page(
            rows=tuple(self._row(tuple(record[:width])) for record in kept),
            keys=tuple(tuple(record[width:last]) for record in kept),
            truncated=len(records) > self.limit,
            from_speed=int(max(counts, default=0) if self.grouped else sum(counts)),
        )

    def _units_mixed(self, aggregate: int) -> QueryError:
        value, unit = self.measured[aggregate]
        return QueryError(
            f'values of column "{value}" have several units in "{unit}"',
            code="units_mixed",
            hint=f'add "{unit}" to group_by, or keep one unit with a filter on "{unit}"',
            field=f"aggregates[{aggregate}]",
            allowed=(unit,),
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


def _from_json(text: str, fhir_type: str) -> Any:
    """The value in the text; decimals that are written without a point are decimals too."""
    whole = Decimal if fhir_type == "decimal" else int
    return json.loads(text, parse_float=Decimal, parse_int=whole)


def build_statement(
    query: Query,
    catalogue: Catalogue,
    relations: Relations,
    *,
    on: date,
    after: tuple[Any, ...] | None = None,
) -> Statement:
    """The statement of the query; `on` is the day ages are told for, `after` a page's last keys.

    Raises QueryError for everything the query gets wrong, with its path in `field`.
    """
    scope = FilterScope(catalogue, relations)
    rows = Rows(query.view, find_view(query.view, catalogue, field="view"), scope.alias())
    if query.group_by or query.aggregates:
        return _groups(query, rows, scope, on=on, after=after)
    return _rows(query, rows, scope, after=after)


def check_query(query: Query, catalogue: Catalogue) -> None:
    """Raises QueryError for everything that `build_statement` would refuse, on any day."""
    asked, _told = resolved(query, catalogue, lambda _base, _place: _ANY_DAY)
    build_statement(asked, catalogue, lambda _view, _columns: EMPTY, on=_ANY_DAY)


def build_count(query: Query, catalogue: Catalogue, relation: Sql, relations: Relations) -> Sql:
    """The number of rows of `relation`, shaped as the query's view, that satisfy its filter."""
    scope = FilterScope(catalogue, relations)
    rows = Rows(query.view, find_view(query.view, catalogue, field="view"), scope.alias())
    where = where_sql(query.where, rows, scope)
    return compose("SELECT count(*) FROM {} AS {}{}", relation, rows.alias, where)


def _rows(
    query: Query, rows: Rows, scope: FilterScope, *, after: tuple[Any, ...] | None
) -> Statement:
    outputs = [column_output(column, rows) for column in _chosen(query, rows)]
    _check_names(outputs, at="columns")
    hidden = [
        SortKey(compose("{}.{}", rows.alias, fixed(name)), pg_type)
        for name, pg_type in zip(_ROW_KEYS, ("text", "integer"), strict=True)
    ]
    keys = [*_ordered(query, outputs), *hidden]
    where = where_sql(query.where, rows, scope)
    inner = compose(
        "SELECT {columns}, ({alias}._layer = 'speed')::integer AS from_speed,"
        " NULL::integer AS mixed"
        " FROM {relation} AS {alias}{where}",
        columns=_select_list(outputs, keys),
        alias=rows.alias,
        relation=rows.relation(scope),
        where=where,
    )
    return _statement(query, inner, outputs, keys, after=after, grouped=False)


def _chosen(query: Query, rows: Rows) -> list[Any]:
    if query.columns is None:
        return list(rows.every_column())
    if not query.columns:
        raise QueryError(
            "no columns are chosen",
            code="column_missing",
            hint="name at least one column, or leave columns out for all",
            field="columns",
            allowed=[column.name for column in rows.columns],
        )
    return [
        rows.column(name, at=f"columns[{position}]") for position, name in enumerate(query.columns)
    ]


def _groups(
    query: Query, rows: Rows, scope: FilterScope, *, on: date, after: tuple[Any, ...] | None
) -> Statement:
    if query.columns is not None:
        raise QueryError(
            "columns do not go together with group_by or aggregates",
            code="columns_with_groups",
            hint="leave columns out; the answer shows the groups and the aggregates",
            field="columns",
        )
    groups = _group_outputs(query, rows, on=on)
    wanted = query.aggregates or [Aggregate(fn="count")]
    counted = [
        aggregate_output(aggregate, rows, at=f"aggregates[{position}]")
        for position, aggregate in enumerate(wanted)
    ]
    outputs = [*groups, *counted]
    _check_names(outputs, at="aggregates")
    apart = [key for each in groups for key in each.grouping]
    keys = [*_ordered(query, outputs), *map(_sort_key, apart)]
    grouping = [key for key, _type in apart]
    where = where_sql(query.where, rows, scope)
    inner = compose(
        "SELECT {columns}, (sum(count(*) FILTER (WHERE {alias}._layer = 'speed')) OVER ())::bigint"
        " AS from_speed, {mixed} AS mixed FROM {relation} AS {alias}{where}{grouping}",
        columns=_select_list(outputs, keys),
        mixed=_first_mixed(counted),
        alias=rows.alias,
        relation=rows.relation(scope),
        where=where,
        grouping=compose(" GROUP BY {}", join(", ", grouping)) if grouping else EMPTY,
    )
    statement = _statement(query, inner, outputs, keys, after=after, grouped=True)
    measured = {
        number: (column.name, column.unit)
        for number, column in enumerate(map(rows.named, (each.column for each in wanted)))
        if column is not None and column.unit is not None
    }
    return replace(statement, measured=measured, warnings=_age_warnings(query, rows))


def _first_mixed(aggregates: Sequence[Output]) -> Sql:
    """The number of the first aggregate that mixes units in any group of the answer."""
    numbers = [
        compose("CASE WHEN bool_or({}) OVER () THEN {} END", each.mixed, param(number, "integer"))
        for number, each in enumerate(aggregates)
        if each.mixed is not None
    ]
    return compose("coalesce({})", join(", ", numbers)) if numbers else fixed("NULL::integer")


def _age_warnings(query: Query, rows: Rows) -> tuple[str, ...]:
    """Ages of people of whom the view cannot tell whether they live."""
    ageless = [
        group.column
        for group in query.group_by
        if isinstance(group, AgeGroup) and rows.column(group.column, at="group_by").died_at is None
    ]
    return tuple(
        f'view "{rows.view}" tells no death for "{name}": the dead are counted as if they aged on'
        for name in ageless
    )


def _group_outputs(query: Query, rows: Rows, *, on: date) -> list[Output]:
    outputs = []
    for position, group in enumerate(query.group_by):
        at = f"group_by[{position}]"
        if isinstance(group, AgeGroup):
            outputs.append(age_output(group, rows, on=on, at=at))
            continue
        column = rows.column(group, at=at)
        displays = column.display_of is not None and column.display_of in query.group_by
        output = display_output(column, rows) if displays else column_output(column, rows)
        _check_sortable(output, at=at)
        outputs.append(output)
    return outputs


def _sort_key(key: Key, *, descending: bool = False) -> SortKey:
    return SortKey(key[0], key[1], descending)


def _ordered(query: Query, outputs: Sequence[Output]) -> list[SortKey]:
    by_name = {output.column.name: output for output in outputs}
    keys: list[SortKey] = []
    for position, order in enumerate(query.order_by):
        at = f"order_by[{position}].column"
        output = by_name.get(order.column)
        if output is None:
            raise QueryError(
                f'the answer has no column "{order.column}" to sort by',
                code="unknown_column",
                hint="sort by a column of the answer; add it to columns first",
                field=at,
                allowed=sorted(by_name),
                did_you_mean=nearest(order.column, by_name),
            )
        _check_sortable(output, at=at)
        keys.extend(_sort_key(key, descending=order.descending) for key in output.keys)
    return keys


def _check_sortable(output: Output, *, at: str) -> None:
    if output.keys:
        return
    raise QueryError(
        f'column "{output.column.name}" holds lists or elements and has no order',
        code="operator_not_allowed",
        hint="sort and group by single values",
        field=at,
    )


def _check_names(outputs: Sequence[Output], *, at: str) -> None:
    seen: set[str] = set()
    for output in outputs:
        if output.column.name in seen:
            raise QueryError(
                f'the answer would have two columns named "{output.column.name}"',
                code="duplicate_column",
                hint="ask for each column once, and give aggregates names of their own",
                field=at,
            )
        seen.add(output.column.name)


def _select_list(outputs: Sequence[Output], keys: Sequence[SortKey]) -> Sql:
    shown = [
        compose("{} AS {}", output.shown, fixed(f"c{number}"))
        for number, output in enumerate(outputs)
    ]
    sorted_by = [
        compose("{} AS {}", key.sql, fixed(f"k{number}")) for number, key in enumerate(keys)
    ]
    return join(", ", [*shown, *sorted_by])


def _statement(
    query: Query,
    inner: Sql,
    outputs: Sequence[Output],
    keys: Sequence[SortKey],
    *,
    after: tuple[Any, ...] | None,
    grouped: bool,
) -> Statement:
    names = [f"c{number}" for number in range(len(outputs))]
    names += [shown_sql(number, key) for number, key in enumerate(keys)]
    statement = compose(
        "SELECT {names}, from_speed, mixed FROM ({inner}) AS answer{after}{order} LIMIT {limit}",
        names=fixed(", ".join(names)),
        inner=inner,
        after=compose(" WHERE {}", after_sql(keys, after)) if after is not None else EMPTY,
        order=order_sql(keys),
        limit=param(query.limit + 1, "bigint"),
    )
    return Statement(
        sql=statement,
        columns=tuple(output.column for output in outputs),
        json_columns=tuple(n for n, output in enumerate(outputs) if output.is_json),
        key_types=tuple(key.pg_type for key in keys),
        limit=query.limit,
        grouped=grouped,
    )
