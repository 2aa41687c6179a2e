"""A query as one SQL statement over the relations the serving layer chose.

A relation gives a view's hidden columns, its physical columns and `_layer` ('batch' or 'speed').
"""

from __future__ import annotations

from datetime import date
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import from_sql, where_sql
from researchflow_runners.query.grouping import groups_statement
from researchflow_runners.query.keyset import SortKey
from researchflow_runners.query.model import Query
from researchflow_runners.query.ordering import check_names, ordered
from researchflow_runners.query.outputs import column_output
from researchflow_runners.query.relative import resolved
from researchflow_runners.query.rows import ROW_KEYS, FilterScope, Relations, Rows
from researchflow_runners.query.statement import Source, Statement, statement_of
from researchflow_runners.sql import EMPTY, Sql, compose, fixed

_ANY_DAY = date(2000, 1, 1)


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
    scope = FilterScope(catalogue, relations, on=on)
    rows = scope.rows(query.view, at="view")
    if query.group_by or query.aggregates:
        return groups_statement(query, rows, scope, after=after)
    _check_rows_only(query)
    return _rows(query, rows, scope, after=after)


def check_query(query: Query, catalogue: Catalogue) -> None:
    """Raises QueryError for everything that `build_statement` would refuse, on any day."""
    asked, _told = resolved(query, catalogue, lambda _base, _place: _ANY_DAY)
    build_statement(asked, catalogue, lambda _view, _columns: EMPTY, on=_ANY_DAY)


def build_count(query: Query, catalogue: Catalogue, relation: Sql, relations: Relations) -> Sql:
    """The number of rows of `relation`, shaped as the query's view, that satisfy its filter."""
    scope = FilterScope(catalogue, relations)
    rows = scope.rows(query.view, at="view")
    where = where_sql(query.where, rows, scope)
    counted = compose("SELECT count(*) FROM {} AS {}{}", relation, rows.alias, where)
    return compose("{}{}", scope.with_sql(), counted)


def _check_rows_only(query: Query) -> None:
    if query.having is None:
        return
    raise QueryError(
        "having goes with group_by or aggregates",
        code="invalid_argument",
        hint="filter rows in where; having filters the groups of an answer",
        field="having",
    )


def _rows(
    query: Query, rows: Rows, scope: FilterScope, *, after: tuple[Any, ...] | None
) -> Statement:
    outputs = [column_output(column, rows) for column in _chosen(query, rows)]
    check_names(outputs, at="columns")
    hidden = [
        SortKey(compose("{}.{}", rows.alias, fixed(name)), pg_type)
        for name, pg_type in zip(ROW_KEYS, ("text", "integer"), strict=True)
    ]
    keys = [*ordered(query, outputs), *hidden]
    source = Source(
        sql=from_sql(query, rows, scope),
        from_speed=compose("({}._layer = 'speed')::integer", rows.alias),
        told=[one.over_rows() for one in rows.told()],
    )
    return statement_of(query, source, outputs, keys, scope, after=after)


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
