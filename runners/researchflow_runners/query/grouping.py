"""Groups and their aggregates as a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.ages import age_output
from researchflow_runners.query.aggregates import aggregates_of, told_by
from researchflow_runners.query.buckets import bucket_output, width_output
from researchflow_runners.query.filters import from_sql, holds_of
from researchflow_runners.query.group_model import AgeGroup, Bucket, Width
from researchflow_runners.query.having import having
from researchflow_runners.query.model import Query
from researchflow_runners.query.notices import Notice
from researchflow_runners.query.ordering import check_names, check_sortable, ordered, sort_key
from researchflow_runners.query.outputs import Output, column_output, display_output
from researchflow_runners.query.rows import FilterScope, Mixed, Rows
from researchflow_runners.query.statement import Source, Statement, statement_of
from researchflow_runners.query.units import differing, units_of
from researchflow_runners.sql import EMPTY, Sql, compose, join

_FROM_SPEED = "(sum(count(*) FILTER (WHERE {}._layer = 'speed')) OVER ())::bigint"
_TIES = "sum(CASE WHEN {} THEN 1 ELSE 0 END) OVER ()"


def groups_statement(
    query: Query, rows: Rows, scope: FilterScope, *, after: tuple[Any, ...] | None
) -> Statement:
    """The statement of a question with groups or aggregates; errors as `build_statement`."""
    if query.columns is not None:
        raise QueryError(
            "columns do not go together with group_by or aggregates",
            code="columns_with_groups",
            hint="leave columns out: the answer shows what group_by and aggregates name, "
            'such as "aggregates": [{"fn": "count"}]',
            field="columns",
        )
    groups = [_group(query, position, rows, scope) for position in range(len(query.group_by))]
    counted = aggregates_of(query.aggregates, rows, scope, at="")
    outputs = [*groups, *counted]
    check_names(outputs, at="aggregates")
    keys = [*ordered(query, outputs), *(sort_key(key) for one in groups for key in one.grouping)]
    holds = having(query.having, outputs, holds_of(scope), at="having") if query.having else None
    source = Source(
        sql=compose("{}{}", from_sql(query, rows, scope), _group_by(groups)),
        from_speed=compose(_FROM_SPEED, rows.alias),
        ties=[compose(_TIES, one.tied) for one in counted if one.tied is not None],
        told=[
            *(one.over_groups() for one in (*rows.told(), *told_by(outputs))),
            *_differing(query, counted),
        ],
        mixed=[*_mixed(groups, "group_by"), *_mixed(counted, "aggregates")],
        having=holds,
    )
    return statement_of(query, source, outputs, keys, scope, after=after)


def _differing(query: Query, counted: Sequence[Output]) -> list[Notice]:
    """Of aggregates whose unit the groups do not show, that it may differ between them."""
    if not query.group_by:
        return []
    found = [one.units for one in counted if one.units is not None]
    return [differing(units) for units in found if units.unit not in query.group_by]


def _group_by(groups: Sequence[Output]) -> Sql:
    apart = [key for one in groups for key, _type in one.grouping]
    return compose(" GROUP BY {}", join(", ", apart)) if apart else EMPTY


def _mixed(outputs: Sequence[Output], argument: str) -> list[Mixed]:
    """What of an argument's columns puts several units together in any group of the answer."""
    found = []
    for position, output in enumerate(outputs):
        units = output.units
        if units is not None:
            template = "{}" if units.over_groups else "bool_or({}) OVER ()"
            condition = compose(template, units.mixed)
            found.append(Mixed(condition, units.value, units.unit, f"{argument}[{position}]"))
    return found


def _group(query: Query, position: int, rows: Rows, scope: FilterScope) -> Output:
    group, at = query.group_by[position], f"group_by[{position}]"
    if isinstance(group, AgeGroup):
        return age_output(group, rows, on=scope.today(), at=at)
    if isinstance(group, Bucket):
        return bucket_output(group, rows, at=at)
    name = group.column if isinstance(group, Width) else group
    column = rows.column(name, at=at if isinstance(group, str) else f"{at}.column")
    if isinstance(group, Width):
        output = width_output(group, rows, at=at)
    else:
        displays = column.display_of is not None and column.display_of in query.group_by
        output = display_output(column, rows) if displays else column_output(column, rows)
        check_sortable(output, at=at)
    apart = column.unit in query.group_by
    units = None if apart else units_of(column, rows, at=at, over_groups=True)
    return replace(output, units=units)
