"""The computed columns of an answer with groups: one aggregate each over the rows of a group.

Numbers are computed exactly, in `numeric`: a median or percentile is interpolated between the two
values around its place, as `percentile_cont` does it and most statistics packages by default; of
dates it is the first value at or after that place, one that occurs. Missing values are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import (
    AnswerColumn,
    Kind,
    compared_type,
    high_sql,
    kind_of,
    low_sql,
    shown_as,
    value_sql,
)
from researchflow_runners.query.model import Aggregate
from researchflow_runners.query.outputs import Output, Units
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import Sql, compose, fixed, param

_NUMBERS: tuple[Kind, ...] = ("integer", "decimal")
_ORDERED: tuple[Kind, ...] = (*_NUMBERS, "period", "time", "text")
#: The kinds of columns that each function but the counts applies to.
APPLIES: dict[str, tuple[Kind, ...]] = {
    "min": _ORDERED,
    "max": _ORDERED,
    "avg": _NUMBERS,
    "sum": _NUMBERS,
    "stddev": _NUMBERS,
    "median": (*_NUMBERS, "period"),
    "percentile": (*_NUMBERS, "period"),
    "any_value": (*_ORDERED, "boolean"),
}
_MEDIAN = Decimal("0.5")
#: `h` is the place among the values, counted from 0.
_INTERPOLATED = """\
(SELECT trim_scale(q.a[floor(q.h)::integer + 1]
 + (q.h - floor(q.h)) * (q.a[ceil(q.h)::integer + 1] - q.a[floor(q.h)::integer + 1]))
 FROM (SELECT p.a, {p} * (cardinality(p.a) - 1) AS h FROM
 (SELECT array_agg({value} ORDER BY {value}) FILTER (WHERE {value} IS NOT NULL) AS a) AS p) AS q)\
"""


@dataclass(frozen=True, slots=True)
class _Input:
    """What is aggregated: the column and its value over the rows' alias."""

    column: Column
    value: Sql
    alias: Sql

    @property
    def kind(self) -> Kind:
        return kind_of(self.column)

    @property
    def number(self) -> Sql:
        return compose("{}::numeric", self.value)

    @property
    def number_type(self) -> str:
        return "decimal" if self.kind == "decimal" else "integer"


def aggregate_output(aggregate: Aggregate, rows: Rows, *, at: str) -> Output:
    """One aggregate over the rows of a group."""
    _check_place(aggregate, at=at)
    if aggregate.column is None:
        if aggregate.fn == "count":
            return _counted(aggregate, fixed("count(*)"))
        raise QueryError(
            f'aggregate "{aggregate.fn}" needs a column',
            code="column_missing",
            hint="name the column to aggregate; only count goes without",
            field=f"{at}.column",
        )
    column = rows.column(aggregate.column, at=f"{at}.column")
    stored = value_sql(rows.alias, column)
    if aggregate.fn == "count":
        return _counted(aggregate, compose("count({})", stored))
    if aggregate.fn == "count_distinct":
        return _counted(aggregate, compose("count(DISTINCT {})", stored))
    taken = _Input(column, stored, rows.alias)
    _check_kind(aggregate, taken, at=at)
    return replace(_computed(aggregate, taken), units=_units(column, stored, rows))


def _computed(aggregate: Aggregate, taken: _Input) -> Output:
    match aggregate.fn:
        case "min" | "max" | "any_value":
            return _extreme(aggregate, taken)
        case "median" | "percentile" if taken.kind == "period":
            return _dated_place(aggregate, taken)
        case "median" | "percentile":
            place = param(_place(aggregate), "numeric")
            found = compose(_INTERPOLATED, p=place, value=taken.number)
            return _numeric(aggregate, found, "decimal")
        case "stddev":
            return _numeric(aggregate, compose("stddev_samp({})", taken.number), "decimal")
        case "avg":
            return _numeric(aggregate, compose("avg({})", taken.number), "decimal")
        case _:
            return _numeric(aggregate, compose("sum({})", taken.number), taken.number_type)


def _check_place(aggregate: Aggregate, *, at: str) -> None:
    if aggregate.fn != "percentile":
        if aggregate.p is None:
            return
        raise QueryError(
            f'aggregate "{aggregate.fn}" takes no p',
            code="invalid_argument",
            hint='leave p out, or ask for {"fn": "percentile", "column": ..., "p": 0.25}',
            field=f"{at}.p",
        )
    if aggregate.p is None or not 0 <= aggregate.p <= 1:
        raise QueryError(
            'aggregate "percentile" needs p from 0 to 1',
            code="value_type",
            hint="write 0.25 for the 25th percentile, 0.5 for the median",
            field=f"{at}.p",
        )


def _place(aggregate: Aggregate) -> Decimal:
    return _MEDIAN if aggregate.p is None else aggregate.p


def _units(column: Column, stored: Sql, rows: Rows) -> Units | None:
    """Whether a group's values are of several units, an unnamed one among them."""
    if column.unit is None:
        return None
    unit = value_sql(rows.alias, rows.column(column.unit, at="aggregates"))
    mixed = compose(
        "(min({unit}) FILTER (WHERE {value} IS NOT NULL)"
        " <> max({unit}) FILTER (WHERE {value} IS NOT NULL)"
        " OR count({value}) FILTER (WHERE {unit} IS NULL) BETWEEN 1 AND count({value}) - 1)",
        unit=unit,
        value=stored,
    )
    return Units(mixed, column.name, column.unit)


def _check_kind(aggregate: Aggregate, taken: _Input, *, at: str) -> None:
    allowed = APPLIES[aggregate.fn]
    if taken.kind in allowed:
        return
    raise QueryError(
        f'aggregate "{aggregate.fn}" does not apply to column "{taken.column.name}"',
        code="aggregate_type",
        hint=f"it takes a column of kind {' or '.join(allowed)}; count and count_distinct take any",
        field=f"{at}.fn",
        allowed=("count", "count_distinct"),
    )


def _counted(aggregate: Aggregate, shown: Sql) -> Output:
    return Output(AnswerColumn(aggregate.output_name, "integer"), shown, ((shown, "bigint"),))


def _numeric(aggregate: Aggregate, shown: Sql, fhir_type: str) -> Output:
    return Output(AnswerColumn(aggregate.output_name, fhir_type), shown, ((shown, "numeric"),))


def _described(aggregate: Aggregate, column: Column) -> AnswerColumn:
    return AnswerColumn(aggregate.output_name, column.fhir_type, description=column.description)


def _extreme(aggregate: Aggregate, taken: _Input) -> Output:
    """The first or the last value in the column's order; any one value is the first."""
    column = taken.column
    function = "max" if aggregate.fn == "max" else "min"
    if taken.kind == "boolean":
        function = "bool_and"
    if not column.has_range:
        found = compose("{}({})", fixed(function), taken.value)
        shown = shown_as(found, column)
        return Output(_described(aggregate, column), shown, ((found, compared_type(column)),))
    found = compose(
        "({}({}) FILTER (WHERE {} IS NOT NULL))",
        fixed(function),
        _period_array(taken),
        low_sql(taken.alias, column),
    )
    return _of_period_array(aggregate, found, column)


def _dated_place(aggregate: Aggregate, taken: _Input) -> Output:
    """A date at its place among the dates of a group, one of them."""
    column = taken.column
    ordered = _period_array(taken) if column.has_range else taken.value
    found = compose(
        "(percentile_disc({}) WITHIN GROUP (ORDER BY {}) FILTER (WHERE {} IS NOT NULL))",
        param(float(_place(aggregate)), "double precision"),
        ordered,
        low_sql(taken.alias, column),
    )
    if column.has_range:
        return _of_period_array(aggregate, found, column)
    return Output(_described(aggregate, column), found, ((found, compared_type(column)),))


def _period_array(taken: _Input) -> Sql:
    """Begin, end and text of a date: arrays compare element by element, so one pass finds all."""
    return compose(
        "ARRAY[{low}, {high}, {value}]",
        low=_sortable(low_sql(taken.alias, taken.column)),
        high=_sortable(high_sql(taken.alias, taken.column)),
        value=taken.value,
    )


def _of_period_array(aggregate: Aggregate, found: Sql, column: Column) -> Output:
    keys = tuple((compose(f"{{}}[{n}]", found), "text") for n in (1, 2, 3))
    return Output(_described(aggregate, column), compose("{}[3]", found), keys)


def _sortable(instant: Sql) -> Sql:
    return compose("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", instant)
