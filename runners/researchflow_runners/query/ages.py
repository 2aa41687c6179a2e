"""Ages in whole years, of a row's patient at a date of the row or on the day of the answer.

A partial date, of birth, of the event or of death, may leave an age open between two: it is told
where both give the same answer, and otherwise missing. So it is before birth. The dead stop
ageing; where the day of a death is not known, their age today is not, and an age at a date of
their records is told as that of the living.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import AnswerColumn, high_sql, kind_of, low_sql, value_sql
from researchflow_runners.query.group_model import TODAY, AgeGroup
from researchflow_runners.query.notices import Told
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import EMPTY, Sql, compose, param

BRACKET_YEARS_MAX = 150
UNDECIDED = (
    "{n} rows have no age: no date of birth or of the event, a partial one that leaves it open, "
    "or one before birth"
)


@dataclass(frozen=True, slots=True)
class Age:
    """An age between two, in whole years; `name` is what the answer calls it.

    `told` are conditions, with their AND, under which it is known at all. `ageless` names the
    view whose dead go on ageing, because it tells no death.
    """

    youngest: Sql
    oldest: Sql
    name: str
    described: str
    told: Sql = EMPTY
    ageless: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """That nobody knows of the dead that they died."""
        if self.ageless is None:
            return ()
        return (f'view "{self.ageless}" tells no death: the dead are counted as if they aged on',)

    def decided(self, step: str = "{}", *values: Sql) -> Sql:
        """What `step` makes of the age where both ends give the same, else null."""
        young, old = (compose(step, age, *values) for age in (self.youngest, self.oldest))
        return compose("CASE WHEN {}{} = {} THEN {} END", self.told, young, old, young)


def age_of(born_name: str | None, at_name: str | None, rows: Rows, *, on: date, at: str) -> Age:
    """The age of a row's patient at its date `at_name`, on the day `on` without one."""
    born = _date(born_name, rows, f"{at}.column") if born_name else rows.birth(at=f"{at}.age_at")
    is_today = at_name in (None, TODAY)
    died = None if born.died_at is None else rows.column(born.died_at, at=at)
    if is_today:
        first = last = param(on, "date")
    else:
        low, high = _span(rows.alias, _date(str(at_name), rows, f"{at}.age_at"))
        first, last = _day(low), _day(high)
    if died is not None:
        low, high = _span(rows.alias, died)
        # least() passes over what is missing: who lives is told for the day itself.
        first, last = (
            compose("CASE WHEN {0} IS NOT NULL THEN least({0}, {1}) END", day, _day(end))
            for day, end in ((first, low), (last, high))
        )
    known = born.died if is_today else None
    born_first, born_last = _span(rows.alias, born)
    what = f"on {on.isoformat()}" if is_today else f"at {at_name}"
    return Age(
        youngest=_years(_day(born_last), first),
        oldest=_years(_day(born_first), last),
        name=_name(born_name, at_name),
        described=f"{what}, of the dead at their death" if died is not None else what,
        told=EMPTY if died is None or known is None else _death_known(died, known, rows, at),
        ageless=rows.view_of(born.name) if died is None else None,
    )


def _name(born: str | None, at: str | None) -> str:
    if at is not None and at != TODAY:
        return f"age_at_{at}"
    return f"{born}_age" if born else "age"


def _date(name: str, rows: Rows, at: str) -> Column:
    column = rows.column(name, at=at)
    if kind_of(column) == "period":
        return column
    raise QueryError(
        f'column "{name}" is not a date, so there is no age',
        code="aggregate_type",
        hint="name a date column, such as birth_date",
        field=at,
        allowed=[column.name for column in rows.columns if kind_of(column) == "period"],
    )


def _death_known(died: Column, flag: str, rows: Rows, at: str) -> Sql:
    """False of those who are dead since nobody knows when."""
    is_dead = value_sql(rows.alias, rows.column(flag, at=at))
    return compose("({} IS NOT NULL OR {} IS NOT TRUE) AND ", low_sql(rows.alias, died), is_dead)


def _span(alias: Sql, column: Column) -> tuple[Sql, Sql]:
    """The first and the last instant of the period that the column's value means."""
    high = compose("({} - interval '1 microsecond')", high_sql(alias, column))
    return low_sql(alias, column), high


def _day(instant: Sql) -> Sql:
    return compose("({} AT TIME ZONE 'UTC')::date", instant)


def _years(born: Sql, day: Sql) -> Sql:
    """Whole years of life on the day; null before birth."""
    return compose(
        "CASE WHEN {0} <= {1} THEN extract(year FROM age({1}, {0}))::integer END", born, day
    )


def age_output(group: AgeGroup, rows: Rows, *, on: date, at: str) -> Output:
    """Groups of ages: single, in brackets, or so many years together."""
    age = age_of(group.column, group.age_at, rows, on=on, at=at)
    if group.age_brackets is not None:
        return _told(_bracketed(group, age, at=at), age)
    if group.width is not None:
        return _told(_stepped(group, age, at=at), age)
    if group.age_at is None:
        raise QueryError(
            "the group does not say what is made of the column",
            code="column_missing",
            hint="give the column's name alone, or with age_brackets, bucket, or width",
            field=at,
        )
    decided = age.decided()
    described = AnswerColumn(age.name, "integer", description=f"Age in whole years {age.described}")
    return _told(Output(described, decided, ((decided, "integer"),)), age)


def _told(output: Output, age: Age) -> Output:
    open_ = compose("{} IS NULL", output.keys[0][0])
    return replace(output, notices=(age_notice(open_),), warnings=age.warnings)


def age_notice(condition: Sql) -> Told:
    """How many rows have no age."""
    return Told(condition, UNDECIDED)


def _bracketed(group: AgeGroup, age: Age, *, at: str) -> Output:
    bounds = group.age_brackets or []
    if group.width is not None:
        raise QueryError(
            "age_brackets and width do not go together",
            code="invalid_argument",
            hint="leave one of them out",
            field=f"{at}.width",
        )
    if bounds != sorted(set(bounds)) or not 0 <= bounds[0] <= bounds[-1] <= BRACKET_YEARS_MAX:
        raise QueryError(
            "age brackets are not ascending whole years",
            code="value_type",
            hint=f"give ascending lower bounds from 0 to {BRACKET_YEARS_MAX}, such as [18, 40, 65]",
            field=f"{at}.age_brackets",
        )
    number = age.decided("width_bucket({}, {})", param(bounds, "integer[]"))
    shown = compose("({})[{} + 1]", param(_labels(bounds), "text[]"), number)
    return Output(_described(age), shown, ((number, "integer"),), is_label=True)


def _stepped(group: AgeGroup, age: Age, *, at: str) -> Output:
    width = group.width or 0
    if not 1 <= width <= BRACKET_YEARS_MAX:
        raise QueryError(
            "the width of ages is not a number of years",
            code="value_type",
            hint=f"give whole years from 1 to {BRACKET_YEARS_MAX}, such as 10",
            field=f"{at}.width",
        )
    step = param(width, "integer")
    number = age.decided("({0} / {1} * {1})", step)
    label = compose("{0}::text || '-' || ({0} + {1} - 1)", number, step)
    shown = compose("({}::text)", number) if width == 1 else compose("({})", label)
    return Output(_described(age), shown, ((number, "integer"),), is_label=True)


def _described(age: Age) -> AnswerColumn:
    return AnswerColumn(
        age.name, "string", description=f"Age bracket in whole years {age.described}"
    )


def _labels(bounds: list[int]) -> list[str]:
    spans = [str(low) if low == high - 1 else f"{low}-{high - 1}" for low, high in pairwise(bounds)]
    return [f"under {bounds[0]}", *spans, f"{bounds[-1]}+"]
