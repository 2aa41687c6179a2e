"""The columns a query shows: how each is computed and how it sorts.

Dates, dateTimes and instants sort by the period they mean (begin, then end) and then by their
text; `min` and `max` give the text of the first and the last value in that order. Where a tag
made them a SQL date or timestamp, they are sorted and given as that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import (
    AnswerColumn,
    answer_column,
    compared_type,
    high_sql,
    kind_of,
    low_sql,
    shown_as,
    value_sql,
)
from researchflow_runners.query.filters import Rows
from researchflow_runners.query.model import AgeGroup, Aggregate
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, param

#: An expression that is sorted by, and its PostgreSQL type.
Key: TypeAlias = tuple[Sql, str]

BRACKET_YEARS_MAX = 150


@dataclass(frozen=True, slots=True)
class Output:
    """One column of the answer; without `keys` it cannot be sorted or grouped by.

    PostgreSQL hands out the value of an `is_json` column as JSON text. A group is told apart by
    `grouping`, which is its keys where they are not aggregates. `mixed`, where given, is true of
    a group whose values are of several units.
    """

    column: AnswerColumn
    shown: Sql
    keys: tuple[Key, ...]
    is_json: bool = False
    own_grouping: tuple[Key, ...] | None = None
    mixed: Sql | None = None

    @property
    def grouping(self) -> tuple[Key, ...]:
        """What tells groups apart."""
        return self.keys if self.own_grouping is None else self.own_grouping


def column_output(column: Column, rows: Rows) -> Output:
    """A column of the view as it is."""
    shown = shown_as(value_sql(rows.alias, column), column)
    keys = _column_keys(column, rows.alias)
    return Output(answer_column(column), shown, keys, is_json=column.pg_type == "jsonb")


def _column_keys(column: Column, alias: Sql) -> tuple[Key, ...]:
    kind = kind_of(column)
    own = (value_sql(alias, column), compared_type(column))
    if kind == "opaque":
        return ()
    if not column.has_range:
        return (own,)
    return (
        (low_sql(alias, column), "timestamptz"),
        (high_sql(alias, column), "timestamptz"),
        own,
    )


def display_output(column: Column, rows: Rows) -> Output:
    """Of the texts that display one code, the most frequent; of equals the first by code point.

    Where there is no code, the text itself tells groups apart.
    """
    stored = value_sql(rows.alias, column)
    code = value_sql(rows.alias, rows.column(str(column.display_of), at="group_by"))
    uncoded = compose("CASE WHEN {} IS NULL THEN {} END", code, stored)
    found = compose("mode() WITHIN GROUP (ORDER BY {})", stored)
    described = AnswerColumn(
        column.name, column.fhir_type, description=f"Most frequent display of {column.display_of}"
    )
    key_type = compared_type(column)
    return Output(described, found, ((found, key_type),), own_grouping=((uncoded, key_type),))


def age_output(group: AgeGroup, rows: Rows, *, on: date, at: str) -> Output:
    """The age bracket, in whole years on the day `on`, of a date column.

    Where the view tells when people died, the dead are as old as they became. Missing when a date
    is missing, or when it is partial and may fall into two brackets, and for the dead of whom the
    view has no date of death.
    """
    column = rows.column(group.column, at=f"{at}.column")
    if kind_of(column) != "period":
        raise QueryError(
            f'column "{column.name}" is not a date, so it has no age',
            code="aggregate_type",
            hint="group by the age of a date column such as birth_date",
            field=f"{at}.column",
        )
    bounds = group.age_brackets
    if bounds != sorted(set(bounds)) or not 0 <= bounds[0] <= bounds[-1] <= BRACKET_YEARS_MAX:
        raise QueryError(
            "age brackets are not ascending whole years",
            code="value_type",
            hint=f"give ascending lower bounds from 0 to {BRACKET_YEARS_MAX}, such as [18, 40, 65]",
            field=f"{at}.age_brackets",
        )
    first, last = _span(rows.alias, column)
    died = _death(column, rows)
    number = compose(
        "CASE WHEN {alive}{a} = {b} THEN {a} END",
        alive=died.known,
        a=_bracket(first, bounds, died.latest(on)),
        b=_bracket(last, bounds, died.earliest(on)),
    )
    shown = compose("({})[{} + 1]", param(_labels(bounds), "text[]"), number)
    described = AnswerColumn(
        name=f"{column.name}_age",
        type="string",
        description=f"Age bracket in whole years on {on.isoformat()}{died.described}",
    )
    return Output(described, shown, ((number, "integer"),))


@dataclass(frozen=True, slots=True)
class _Death:
    """When ages end: the first and the last day the date of death may mean, where a view has one.

    `known` is a condition with its AND, false of those who are dead since nobody knows when.
    """

    first: Sql | None = None
    last: Sql | None = None
    known: Sql = EMPTY

    @property
    def described(self) -> str:
        """What the answer says of it."""
        return "" if self.first is None else ", of the dead at their death"

    def earliest(self, on: date) -> Sql:
        """The day on which the age is told, at the earliest."""
        return self._day(self.first, on)

    def latest(self, on: date) -> Sql:
        """The day on which the age is told, at the latest."""
        return self._day(self.last, on)

    def _day(self, died: Sql | None, on: date) -> Sql:
        if died is None:
            return param(on, "date")
        # least() passes over what is missing: who lives is told for the day itself.
        return compose("least({}, ({} AT TIME ZONE 'UTC')::date)", param(on, "date"), died)


def _death(born: Column, rows: Rows) -> _Death:
    if born.died_at is None:
        return _Death()
    day = rows.column(born.died_at, at="group_by")
    first, last = _span(rows.alias, day)
    known = EMPTY
    if born.died is not None:
        flag = rows.column(born.died, at="group_by")
        known = compose(
            "({} IS NOT NULL OR {} IS NOT TRUE) AND ", first, value_sql(rows.alias, flag)
        )
    return _Death(first, last, known)


def _span(alias: Sql, column: Column) -> tuple[Sql, Sql]:
    """The first and the last instant of the period that the column's value means."""
    high = compose("({} - interval '1 microsecond')", high_sql(alias, column))
    return low_sql(alias, column), high


def _bracket(born: Sql, bounds: list[int], day: Sql) -> Sql:
    return compose(
        "width_bucket(extract(year FROM age({}, ({} AT TIME ZONE 'UTC')::date))::integer, {})",
        day,
        born,
        param(bounds, "integer[]"),
    )


def _labels(bounds: list[int]) -> list[str]:
    spans = [str(low) if low == high - 1 else f"{low}-{high - 1}" for low, high in pairwise(bounds)]
    return [f"under {bounds[0]}", *spans, f"{bounds[-1]}+"]


def aggregate_output(aggregate: Aggregate, rows: Rows, *, at: str) -> Output:
    """One aggregate over the rows of a group."""
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
    _check_aggregate(aggregate, column, at=at)
    if aggregate.fn in ("min", "max"):
        output = _extreme(aggregate, column, rows.alias)
    else:
        output = _numeric(aggregate, column, stored)
    return replace(output, mixed=_mixed(column, stored, rows))


def _mixed(column: Column, stored: Sql, rows: Rows) -> Sql | None:
    """Whether a group's values are of several units, an unnamed one among them."""
    if column.unit is None:
        return None
    unit = value_sql(rows.alias, rows.column(column.unit, at="aggregates"))
    return compose(
        "(min({unit}) FILTER (WHERE {value} IS NOT NULL)"
        " <> max({unit}) FILTER (WHERE {value} IS NOT NULL)"
        " OR count({value}) FILTER (WHERE {unit} IS NULL) BETWEEN 1 AND count({value}) - 1)",
        unit=unit,
        value=stored,
    )


def _check_aggregate(aggregate: Aggregate, column: Column, *, at: str) -> None:
    numbers, ordered = ("integer", "decimal"), ("integer", "decimal", "period", "time")
    allowed = ordered if aggregate.fn in ("min", "max") else numbers
    if kind_of(column) in allowed:
        return
    raise QueryError(
        f'aggregate "{aggregate.fn}" does not apply to column "{column.name}"',
        code="aggregate_type",
        hint=f"it takes a column of kind {' or '.join(allowed)}; count and count_distinct take any",
        field=f"{at}.fn",
        allowed=("count", "count_distinct"),
    )


def _counted(aggregate: Aggregate, shown: Sql) -> Output:
    return Output(AnswerColumn(aggregate.output_name, "integer"), shown, ((shown, "bigint"),))


def _numeric(aggregate: Aggregate, column: Column, stored: Sql) -> Output:
    exact = compose("{}::numeric", stored)
    if aggregate.fn == "avg":
        shown = compose("avg({})", exact)
        return Output(AnswerColumn(aggregate.output_name, "decimal"), shown, ((shown, "numeric"),))
    shown = compose("sum({})", exact)
    fhir_type = "decimal" if kind_of(column) == "decimal" else "integer"
    return Output(AnswerColumn(aggregate.output_name, fhir_type), shown, ((shown, "numeric"),))


def _extreme(aggregate: Aggregate, column: Column, alias: Sql) -> Output:
    described = AnswerColumn(
        aggregate.output_name, column.fhir_type, description=column.description
    )
    function = fixed(aggregate.fn)
    stored = value_sql(alias, column)
    if not column.has_range:
        found = compose("{}({})", function, stored)
        return Output(described, shown_as(found, column), ((found, compared_type(column)),))
    low, high = low_sql(alias, column), high_sql(alias, column)
    # Arrays compare element by element, so one pass finds the text that goes with the bound.
    found = compose(
        "({function}(ARRAY[{low}, {high}, {stored}]) FILTER (WHERE {plain} IS NOT NULL))",
        function=function,
        low=_sortable(low),
        high=_sortable(high),
        stored=stored,
        plain=low,
    )
    shown = compose("{}[3]", found)
    return Output(
        described, shown, tuple((compose(f"{{}}[{n}]", found), "text") for n in (1, 2, 3))
    )


def _sortable(instant: Sql) -> Sql:
    return compose("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", instant)
