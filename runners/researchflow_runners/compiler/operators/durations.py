"""`date + quantity`, `date - quantity`, and the same of dateTimes and times.

The result has the precision of the left side (FHIRPath 2.0, section 6.6.7): an amount in a finer
unit is first converted to that precision, a year being 365 days and a month 30, and cut. Days that
a month does not have become its last day; times go round the clock. Offsets and fractions of a
second stay as written. A result before the year 1 or after 9999 is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from researchflow_runners.compiler.expr import Expr, Form
from researchflow_runners.compiler.nodes import Constant
from researchflow_runners.compiler.operators.quantities import QuantityConstant
from researchflow_runners.compiler.types import Types, system_type
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

#: Beyond this, PostgreSQL's own calendar ends.
YEARS_MAX = 4_000
DAY_S = 86_400
#: UCUM code → months, or seconds; the longer ones only as calendar words.
MONTHS = {"a": 12, "mo": 1}
SECONDS = {
    "wk": Decimal(7 * DAY_S), "d": Decimal(DAY_S), "h": Decimal(3_600), "min": Decimal(60),
    "s": Decimal(1), "ms": Decimal("0.001"),
}  # fmt: skip
SUBSECOND = frozenset({"s", "ms"})
#: Characters of a date and time without fraction and offset → seconds of its last part.
PRECISIONS: dict[str, dict[int, int]] = {
    "date": {4: 365 * DAY_S, 7: 30 * DAY_S, 10: DAY_S},
    "dateTime": {4: 365 * DAY_S, 7: 30 * DAY_S, 10: DAY_S, 13: 3_600, 16: 60, 19: 1},
    "time": {2: 3_600, 5: 60, 8: 1},
}
UNITS_OF_KIND = {
    "date": ("years", "months", "weeks", "days"),
    "dateTime": ("years", "months", "weeks", "days", "hours", "minutes", "seconds", "milliseconds"),
    "time": ("hours", "minutes", "seconds", "milliseconds"),
}
CODES_OF_KIND = {
    "date": frozenset({"a", "mo", "wk", "d"}),
    "dateTime": frozenset({*MONTHS, *SECONDS}),
    "time": frozenset({"h", "min", "s", "ms"}),
}

#: `w` is the date and time without its fraction and offset, `rest` these two.
SPLIT = """FROM (SELECT {text} AS t OFFSET 0) AS t
 CROSS JOIN LATERAL (SELECT {length} AS n OFFSET 0) AS p
 CROSS JOIN LATERAL (SELECT left(t.t, p.n) AS w, substr(t.t, p.n + 1) AS rest OFFSET 0) AS k"""
DATE_LENGTH = """CASE WHEN length(t.t) <= 10 THEN length(t.t) WHEN substr(t.t, 17, 1) = ':' THEN 19
 WHEN substr(t.t, 14, 1) = ':' THEN 16 ELSE 13 END"""
DATE_SUM = """(SELECT CASE WHEN extract(year FROM m.s) BETWEEN 1 AND 9999
 THEN left(to_char(m.s, 'YYYY-MM-DD"T"HH24:MI:SS'), length(m.w)) || m.rest END
 FROM (SELECT k.w, {rest} AS rest,
 (k.w || substr('0001-01-01T00:00:00', length(k.w) + 1))::timestamp + {step} AS s
 {split}{fraction} OFFSET 0) AS m)"""
TIME_SUM = """(SELECT left((m.s)::text, length(m.w)) || m.rest
 FROM (SELECT k.w, {rest} AS rest,
 (k.w || substr('00:00:00', length(k.w) + 1))::time + {step} AS s
 {split}{fraction} OFFSET 0) AS m)"""
#: `x` is the fraction of the second that is written, and the amount.
FRACTION = """
 CROSS JOIN LATERAL (SELECT ('0' || substring(k.rest from '^[.][0-9]+'))::numeric
 + ({amount})::numeric AS x OFFSET 0) AS f"""
FRACTION_REST = """coalesce(substr((f.x - floor(f.x))::text, 2)
 || regexp_replace(k.rest, '^[.][0-9]+', ''), k.rest)"""


@dataclass(frozen=True)
class Shifted(Expr):
    """A date, dateTime or time and an amount of time; `number` is negative to subtract."""

    source: Expr
    number: str
    code: str

    @property
    def types(self) -> Types:
        return (system_type(self.source.kind),)

    @property
    def form(self) -> Form:
        return "text"

    @property
    def _is_time(self) -> bool:
        return self.source.kind == "time"

    def value(self) -> Sql:
        fraction = self._fraction()
        split = compose(
            SPLIT,
            text=self.source.text(),
            length=fixed("least(length(t.t), 8)" if self._is_time else DATE_LENGTH),
        )
        return compose(
            TIME_SUM if self._is_time else DATE_SUM,
            rest=fixed("k.rest" if fraction is None else FRACTION_REST),
            step=self._step(fraction),
            split=split,
            fraction=EMPTY if fraction is None else compose(FRACTION, amount=fraction),
        )

    def _fraction(self) -> Sql | None:
        """The amount in seconds when it is no whole number of them."""
        if self.code not in SUBSECOND:
            return None
        amount = Decimal(self.number) * SECONDS[self.code]
        if amount == amount.to_integral_value():
            return None
        return param(format(amount, "f"), "text")

    def _step(self, fraction: Sql | None) -> Sql:
        """The interval to add, by the precision of the left side."""
        precisions = PRECISIONS[self.source.kind]
        steps = {length: self._amount(length, unit_s) for length, unit_s in precisions.items()}
        finest = steps.pop(max(steps))
        default = _interval(finest)
        if fraction is not None:
            default = compose(
                "make_interval(secs => coalesce(floor(f.x), {}))",
                param(finest[1], "double precision"),
            )
        cases = [
            compose(f" WHEN {length} THEN {{}}", _interval(step))
            for length, step in steps.items()
            if step != finest or fraction is not None
        ]
        if not cases:
            return default
        return compose("CASE length(k.w){} ELSE {} END", join("", cases), default)

    def _amount(self, length: int, unit_s: int) -> tuple[int, float]:
        """Whole months, or seconds, for a left side of that length."""
        number = Decimal(self.number)
        if self.code not in SUBSECOND:
            number = Decimal(int(number))
        if self.code in MONTHS:
            months = int(number) * MONTHS[self.code]
            return (int(Decimal(months) / 12) * 12 if length == 4 else months, 0)
        units = int(number * SECONDS[self.code] / unit_s)
        if length in (4, 7) and not self._is_time:
            return units * (12 if length == 4 else 1), 0
        return 0, float(units * unit_s % DAY_S if self._is_time else units * unit_s)


def _interval(step: tuple[int, float]) -> Sql:
    months, seconds = step
    if months:
        return compose("make_interval(months => {})", param(months, "integer"))
    return compose("make_interval(secs => {})", param(seconds, "double precision"))


def shifted(operator: str, source: Expr, amount: Expr, span: Span) -> Expr:
    """The node of `source + amount` or `source - amount`, the source being a date or time.

    Raises FhirPathError `not_a_duration` for an amount that is no literal of a unit of time that
    the source takes, and `duration_too_long`.
    """
    kind = source.kind
    if not isinstance(amount, QuantityConstant):
        raise _refused("the amount must be a quantity literal", kind, span)
    if amount.calendar is None and amount.code in MONTHS:
        raise _refused(f"'{amount.code}' is no calendar unit", kind, amount.span)
    if amount.code not in CODES_OF_KIND[kind]:
        unit = amount.calendar or amount.code
        raise _refused(f"a {kind} takes no amount in '{unit}'", kind, amount.span)
    number = Decimal(amount.number)
    is_literal = isinstance(source, Constant)
    if is_literal and amount.calendar is None and amount.code == "s" and number % 1:
        raise _refused("engines leave out a part of 1 's' of a literal", kind, amount.span)
    _check_length(number, amount)
    signed = number if operator == "+" else -number
    return Shifted(source, format(signed, "f"), amount.code, span=span)


def _check_length(number: Decimal, amount: QuantityConstant) -> None:
    per_year = Decimal(12 if amount.code in MONTHS else 365 * DAY_S)
    each = Decimal(MONTHS[amount.code]) if amount.code in MONTHS else SECONDS[amount.code]
    if abs(number * each / per_year) > YEARS_MAX:
        raise FhirPathError(
            f"the amount of time is longer than {YEARS_MAX} years",
            code="duration_too_long",
            hint="Dates have years from 1 to 9999; add or subtract less.",
            span=amount.span,
        )


def _refused(why: str, kind: str, span: Span) -> FhirPathError:
    return FhirPathError(
        f"cannot add to or subtract from a {kind}: {why}",
        code="not_a_duration",
        allowed=UNITS_OF_KIND[kind],
        hint="Write the amount as a number and a calendar word, such as 6 months.",
        span=span,
    )
