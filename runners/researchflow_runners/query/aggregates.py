"""The computed columns of an answer with groups: one aggregate each over the rows of a group.

Numbers are computed exactly, in `numeric`: a median or percentile is interpolated between the two
values around its place, as `percentile_cont` does it and most statistics packages by default; of
dates it is the first value at or after that place, one that occurs. Missing values are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.ages import age_notice, age_of
from researchflow_runners.query.applies import check_arguments, check_kind
from researchflow_runners.query.columns import (
    AnswerColumn,
    Kind,
    compared_type,
    event_span,
    high_sql,
    kind_of,
    low_sql,
    shown_as,
    value_sql,
)
from researchflow_runners.query.group_model import Aggregate
from researchflow_runners.query.notices import Told
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import FilterScope, Rows, row_order
from researchflow_runners.query.units import units_of
from researchflow_runners.sql import Sql, compose, fixed, join, param

_WAYS = {"first": ["ASC"], "last": ["DESC"]}
_MEDIAN = Decimal("0.5")
#: `h` is the place among the values, counted from 0.
_INTERPOLATED = """\
(SELECT trim_scale(q.a[floor(q.h)::integer + 1]
 + (q.h - floor(q.h)) * (q.a[ceil(q.h)::integer + 1] - q.a[floor(q.h)::integer + 1]))
 FROM (SELECT p.a, {p} * (cardinality(p.a) - 1) AS h FROM
 (SELECT array_agg({value} ORDER BY {value}) FILTER (WHERE {value} IS NOT NULL) AS a) AS p) AS q)\
"""


#: What the rows of a group have, in the order of their dates.
_LISTED = (
    "(array_agg({value} ORDER BY {order}) FILTER (WHERE {of} IS NOT NULL AND {low} IS NOT NULL))"
)
_SPAN = "floor(extract(epoch FROM (max({0}) FILTER ({1}) - min({0}) FILTER ({1}))) / 86400)::bigint"


@dataclass(frozen=True, slots=True)
class _Input:
    """What is aggregated: a value of each row, of the column or of the age in its place."""

    kind: Kind
    value: Sql
    column: Column

    @property
    def number(self) -> Sql:
        return compose("{}::numeric", self.value)

    @property
    def number_type(self) -> str:
        return "decimal" if self.kind == "decimal" else "integer"


def aggregates_of(
    asked: Sequence[Aggregate], rows: Rows, scope: FilterScope, *, at: str
) -> list[Output]:
    """The aggregates that are asked, rows counted without any; `at` is their owner's path."""
    return [
        aggregate_output(one, rows, scope, at=f"{at}aggregates[{position}]")
        for position, one in enumerate(asked or [Aggregate(fn="count")])
    ]


def told_by(outputs: Sequence[Output]) -> list[Told]:
    """What the answer is told of its columns."""
    return [one for output in outputs for one in output.notices]


def aggregate_output(aggregate: Aggregate, rows: Rows, scope: FilterScope, *, at: str) -> Output:
    """One aggregate over the rows of a group."""
    check_arguments(aggregate, at=at)
    if aggregate.age_at is not None:
        return _of_age(aggregate, rows, on=scope.today(), at=at)
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
    taken = _Input(kind_of(column), stored, column)
    check_kind(aggregate, taken.kind, taken.column.name, at=at)
    computed = _computed(aggregate, taken, rows, at=at)
    return replace(computed, units=units_of(column, rows, at=at))


def _of_age(aggregate: Aggregate, rows: Rows, *, on: date, at: str) -> Output:
    age = age_of(aggregate.column, aggregate.age_at, rows, on=on, at=at)
    years = Column(
        age.name, "integer", "integer", description=f"Age in whole years {age.described}"
    )
    taken = _Input("integer", age.decided(), years)
    if aggregate.fn in ("count", "count_distinct"):
        template = "count({})" if aggregate.fn == "count" else "count(DISTINCT {})"
        output = _counted(aggregate, compose(template, taken.value))
    else:
        check_kind(aggregate, taken.kind, taken.column.name, at=at)
        output = _computed(aggregate, taken, rows, at=at)
    open_ = compose("{} IS NULL", taken.value)
    return replace(output, notices=(*output.notices, age_notice(open_)), warnings=age.warnings)


def _computed(aggregate: Aggregate, taken: _Input, rows: Rows, *, at: str) -> Output:
    match aggregate.fn:
        case "min" | "max" | "any_value":
            return _extreme(aggregate, taken, rows.alias)
        case "median" | "percentile" if taken.kind == "period":
            return _dated_place(aggregate, taken, rows.alias)
        case "median" | "percentile":
            place = param(_place(aggregate), "numeric")
            found = compose(_INTERPOLATED, p=place, value=taken.number)
            return _numeric(aggregate, found, "decimal")
        case "stddev":
            return _numeric(aggregate, compose("stddev_samp({})", taken.number), "decimal")
        case "avg":
            return _numeric(aggregate, compose("avg({})", taken.number), "decimal")
        case "first" | "last" | "change":
            return _by_date(aggregate, taken, rows, at=at)
        case "span_days":
            return _span_days(aggregate, taken, rows.alias)
        case _:
            return _numeric(aggregate, compose("sum({})", taken.number), taken.number_type)


def _by_date(aggregate: Aggregate, taken: _Input, rows: Rows, *, at: str) -> Output:
    """The value at the first or the last date, or the last less the first."""
    low, high = event_span(rows.alias, rows.dates(aggregate.by, at=f"{at}.by"))
    ends = ["DESC", "ASC"] if aggregate.fn == "change" else _WAYS[aggregate.fn]
    values, ties = [], []
    for way in ends:
        order = compose(f"{{}} {way}, {{}} {way}, {{}}", low, high, row_order(rows.alias))

        def listed(value: Sql, order: Sql = order) -> Sql:
            return compose(_LISTED, value=value, order=order, of=taken.value, low=low)

        values.append(compose("{}[1]", listed(taken.value)))
        ties.append(compose("({0}[1] = {0}[2] AND {1}[1] = {1}[2])", listed(low), listed(high)))
    undated = compose("{} IS NOT NULL AND {} IS NULL", taken.value, low)
    told = f'{{n}} values of "{taken.column.name}" without a date are left out'
    found = join(" - ", values)
    shown = shown_as(found, taken.column)
    return Output(
        _described(aggregate, taken.column),
        compose("({})", shown),
        ((compose("({})", found), compared_type(taken.column)),),
        tied=join(" OR ", ties),
        notices=(Told(undated, told),),
    )


def _span_days(aggregate: Aggregate, taken: _Input, alias: Sql) -> Output:
    """Whole days from the first date to the last one, of those that tell their day."""
    low, high = low_sql(alias, taken.column), high_sql(alias, taken.column)
    partial = compose("{} - {} > interval '1 day'", high, low)
    found = compose(_SPAN, low, compose("WHERE {} - {} <= interval '1 day'", high, low))
    told = f'{{n}} rows have a "{taken.column.name}" too partial to tell its day and are left out'
    return replace(_counted(aggregate, found), notices=(Told(partial, told),))


def _place(aggregate: Aggregate) -> Decimal:
    return _MEDIAN if aggregate.p is None else aggregate.p


def _counted(aggregate: Aggregate, shown: Sql) -> Output:
    return Output(AnswerColumn(aggregate.output_name, "integer"), shown, ((shown, "bigint"),))


def _numeric(aggregate: Aggregate, shown: Sql, fhir_type: str) -> Output:
    return Output(AnswerColumn(aggregate.output_name, fhir_type), shown, ((shown, "numeric"),))


def _described(aggregate: Aggregate, column: Column) -> AnswerColumn:
    return AnswerColumn(aggregate.output_name, column.fhir_type, description=column.description)


def _extreme(aggregate: Aggregate, taken: _Input, alias: Sql) -> Output:
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
        _period_array(taken, alias),
        low_sql(alias, column),
    )
    return _of_period_array(aggregate, found, column)


def _dated_place(aggregate: Aggregate, taken: _Input, alias: Sql) -> Output:
    """A date at its place among the dates of a group, one of them."""
    column = taken.column
    ordered = _period_array(taken, alias) if column.has_range else taken.value
    found = compose(
        "(percentile_disc({}) WITHIN GROUP (ORDER BY {}) FILTER (WHERE {} IS NOT NULL))",
        param(float(_place(aggregate)), "double precision"),
        ordered,
        low_sql(alias, column),
    )
    if column.has_range:
        return _of_period_array(aggregate, found, column)
    return Output(_described(aggregate, column), found, ((found, compared_type(column)),))


def _period_array(taken: _Input, alias: Sql) -> Sql:
    """Begin, end and text of a date: arrays compare element by element, so one pass finds all."""
    return compose(
        "ARRAY[{low}, {high}, {value}]",
        low=_sortable(low_sql(alias, taken.column)),
        high=_sortable(high_sql(alias, taken.column)),
        value=taken.value,
    )


def _of_period_array(aggregate: Aggregate, found: Sql, column: Column) -> Output:
    keys = tuple((compose(f"{{}}[{n}]", found), "text") for n in (1, 2, 3))
    begin, end = (compose("({})::timestamp AT TIME ZONE 'UTC'", key) for key, _type in keys[:2])
    shown = compose("{}[3]", found)
    return Output(_described(aggregate, column), shown, keys, period=(begin, end))


def _sortable(instant: Sql) -> Sql:
    return compose("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", instant)
