"""Groups and their aggregates as a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.ages import age_output
from researchflow_runners.query.aggregates import aggregate_output
from researchflow_runners.query.filters import from_sql
from researchflow_runners.query.model import AgeGroup, Aggregate, Query
from researchflow_runners.query.ordering import check_names, check_sortable, ordered, sort_key
from researchflow_runners.query.outputs import Output, column_output, display_output
from researchflow_runners.query.rows import FilterScope, Rows
from researchflow_runners.query.statement import Measured, Statement, statement_of
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param


def groups_statement(
    query: Query, rows: Rows, scope: FilterScope, *, on: date, after: tuple[Any, ...] | None
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
    groups = _group_outputs(query, rows, on=on)
    wanted = query.aggregates or [Aggregate(fn="count")]
    counted = [
        aggregate_output(aggregate, rows, at=f"aggregates[{position}]")
        for position, aggregate in enumerate(wanted)
    ]
    outputs = [*groups, *counted]
    check_names(outputs, at="aggregates")
    apart = [key for each in groups for key in each.grouping]
    keys = [*ordered(query, outputs), *map(sort_key, apart)]
    mixed, measured = _mixed(counted)
    select = compose(
        "(sum(count(*) FILTER (WHERE {}._layer = 'speed')) OVER ())::bigint AS from_speed,"
        " {} AS mixed",
        rows.alias,
        mixed,
    )
    source = compose(
        "{}{}",
        from_sql(query, rows, scope),
        compose(" GROUP BY {}", join(", ", [key for key, _type in apart])) if apart else EMPTY,
    )
    statement = statement_of(query, select, source, outputs, keys, scope, after=after)
    return replace(statement, measured=measured, warnings=_age_warnings(query, rows))


def _mixed(aggregates: Sequence[Output]) -> tuple[Sql, tuple[Measured, ...]]:
    """The number of the first that mixes units in any group of the answer, and all that could."""
    numbers: list[Sql] = []
    measured: list[Measured] = []
    for position, each in enumerate(aggregates):
        if each.units is not None:
            number = param(len(measured), "integer")
            case = "CASE WHEN bool_or({}) OVER () THEN {} END"
            numbers.append(compose(case, each.units.mixed, number))
            at = f"aggregates[{position}]"
            measured.append(Measured(each.units.value, each.units.unit, at))
    found = compose("coalesce({})", join(", ", numbers)) if numbers else fixed("NULL::integer")
    return found, tuple(measured)


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
        check_sortable(output, at=at)
        outputs.append(output)
    return outputs
