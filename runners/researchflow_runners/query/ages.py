"""Ages of people in whole years, on a day or at a date of a row; the dead stop ageing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import AnswerColumn, high_sql, kind_of, low_sql, value_sql
from researchflow_runners.query.model import AgeGroup
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import EMPTY, Sql, compose, param

BRACKET_YEARS_MAX = 150


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
