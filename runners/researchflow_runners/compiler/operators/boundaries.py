"""`lowBoundary()` and `highBoundary()` of decimals, dates, dateTimes and times.

The least and greatest value that the written precision allows: 1.0 lies between 0.95 and 1.05,
1970-06 between 1970-06-01 and 1970-06-30. An instant without offset may be anywhere from +14:00
to -12:00. A precision, the number of digits after the point or from the year or the hour on, cuts
the end to it; one that the type does not have is empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from researchflow_runners.compiler.expr import Expr, Form
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.arithmetic import Negative
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import NUMBERS, Types, system_type
from researchflow_runners.sql import Sql, compose, fixed

DATE = {
    "low": "CASE length({t}) WHEN 4 THEN {t} || '-01-01' WHEN 7 THEN {t} || '-01' ELSE {t} END",
    "high": "CASE length({t}) WHEN 4 THEN {t} || '-12-31' WHEN 7 THEN to_char(({t} || '-01')::date"
    " + interval '1 mon -1 day', 'YYYY-MM-DD') ELSE {t} END",
}
TIME = {
    "low": "CASE length({t}) WHEN 2 THEN {t} || ':00:00.000' WHEN 5 THEN {t} || ':00.000'"
    " WHEN 8 THEN {t} || '.000' ELSE rpad({t}, 12, '0') END",
    "high": "CASE length({t}) WHEN 2 THEN {t} || ':59:59.999' WHEN 5 THEN {t} || ':59.999'"
    " WHEN 8 THEN {t} || '.999' ELSE rpad({t}, 12, '9') END",
}
#: A dateTime is a date alone, or a date, a time and mostly an offset.
DATE_TIME = {
    "low": """CASE WHEN length(b.t) <= 10 THEN ({date}) || 'T00:00:00.000+14:00'
 ELSE left(b.t, 11) || ({time})
 || coalesce(substring(b.t from '(Z|[+-][0-9]{{2}}:[0-9]{{2}})$'), '+14:00') END""",
    "high": """CASE WHEN length(b.t) <= 10 THEN ({date}) || 'T23:59:59.999-12:00'
 ELSE left(b.t, 11) || ({time})
 || coalesce(substring(b.t from '(Z|[+-][0-9]{{2}}:[0-9]{{2}})$'), '-12:00') END""",
}
#: Half a unit of the last digit is written out: power() rounds it off in older PostgreSQL.
DECIMAL = """(SELECT {end} FROM (SELECT e.t {sign} ('5e-' || scale(e.t) + 1)::numeric AS v
 FROM (SELECT {of} AS t OFFSET 0) AS e OFFSET 0) AS b)"""
#: The end at as many digits as are written, and at so many.
DECIMAL_ENDS = {
    "low": ("-", "trim_scale(b.v)", "floor(b.v * 1e{n}) * 1e-{n}"),
    "high": ("+", "trim_scale(b.v)", "ceil(b.v * 1e{n}) * 1e-{n}"),
}
DIGITS_MAX = 28
MINUTE_DIGITS = 12
TO_THE_HOUR = re.compile(r".*T\d\d(Z|[+-]\d\d:\d\d)?")
#: Precision → characters up to it, in a date or dateTime and in a time.
DATE_PRECISIONS = {4: 4, 6: 7, 8: 10}
DATE_TIME_PRECISIONS = {**DATE_PRECISIONS, 10: 13, 12: 16, 14: 19, 17: 23}
TIME_PRECISIONS = {2: 2, 4: 5, 6: 8, 9: 12}
CUTS: dict[str, dict[int, int]] = {
    "decimal": {digits: digits for digits in range(DIGITS_MAX + 1)},
    "date": DATE_PRECISIONS,
    "dateTime": DATE_TIME_PRECISIONS,
    "time": TIME_PRECISIONS,
}
DATE_LENGTH = 10
WHOLE_LENGTH = 23


@dataclass(frozen=True)
class Boundary(Expr):
    """One end of the range that a value's precision leaves open, `cut` to digits or characters."""

    source: Expr
    end: str
    cut: int | None

    @property
    def types(self) -> Types:
        kind = self.source.kind
        return (system_type("decimal" if kind in NUMBERS else kind),)

    @property
    def form(self) -> Form:
        return "numeric" if self.kind == "decimal" else "text"

    def value(self) -> Sql:
        if self.kind == "decimal":
            return self._decimal()
        text, kind = fixed("b.t"), self.source.kind
        if kind == "date":
            found = compose(DATE[self.end], t=text)
        elif kind == "time":
            found = compose(TIME[self.end], t=text)
        else:
            clock = compose(TIME[self.end], t=fixed("substring(b.t from 'T([0-9:.]+)')"))
            found = compose(DATE_TIME[self.end], date=compose(DATE[self.end], t=text), time=clock)
        source = self.source.text()
        return compose("(SELECT {} FROM (SELECT {} AS t OFFSET 0) AS b)", self._cut(found), source)

    def _decimal(self) -> Sql:
        sign, whole, digits = DECIMAL_ENDS[self.end]
        end = whole if self.cut is None else digits.format(n=self.cut)
        source = compose("({})::numeric", self.source.numeric())
        return compose(DECIMAL, end=fixed(end), sign=fixed(sign), of=source)

    def _cut(self, text: Sql) -> Sql:
        if self.cut is None:
            return text
        if self.kind != "dateTime" or self.cut <= DATE_LENGTH:
            return compose("left({}, {})", text, fixed(str(self.cut)))
        # The offset stays.
        cut = f"left(c.t, {self.cut}) || substr(c.t, {WHOLE_LENGTH + 1})"
        return compose("(SELECT {} FROM (SELECT {} AS t) AS c)", fixed(cut), text)


def _boundary(call: Invocation, end: str) -> Expr:
    kind = call.source.kind
    if kind == "empty":
        return Empty(span=call.span)
    cuts = CUTS.get("decimal" if kind in NUMBERS else kind)
    if cuts is None:
        raise call.refused(
            "works on decimal, date, dateTime and time only",
            hint="Narrow a choice element with ofType() first.",
        )
    if not call.arguments:
        return Boundary(call.source, end, None, span=call.span)
    _check_written(call)
    cut = cuts.get(_precision(call))
    return Empty(span=call.span) if cut is None else Boundary(call.source, end, cut, span=call.span)


def _check_written(call: Invocation) -> None:
    """Refuses literals of which engines do not agree."""
    source, digits = call.source, _precision(call)
    found = source.operand_expr if isinstance(source, Negative) else source
    if not isinstance(found, Constant):
        return
    is_finer = call.name == "highBoundary" and digits > MINUTE_DIGITS
    if is_finer and found.kind == "dateTime" and TO_THE_HOUR.fullmatch(found.text_value):
        raise call.refused(
            "takes no literal that is written to the hour", hint="Write the minutes too."
        )
    if found.kind in NUMBERS and 0 < digits <= DIGITS_MAX:
        number = Decimal(found.text_value)
        # The end that lies towards zero is zero for all.
        outwards = (source is found) == (call.name == "highBoundary")
        if outwards and number and abs(number) < Decimal(1).scaleb(-digits):
            raise call.refused(
                f"takes no literal that has no digit within the first {digits} places",
                hint="Ask for more digits.",
            )


def _precision(call: Invocation) -> int:
    """The number of digits that the call asks for."""
    found = call.argument(0)
    sign, found = (-1, found.operand_expr) if isinstance(found, Negative) else (1, found)
    if not isinstance(found, Constant) or found.kind != "integer":
        raise call.refused(
            "needs an integer constant as its precision",
            hint="Pass a number of digits, such as lowBoundary(2) of a decimal.",
            code="not_integer",
        )
    return sign * int(found.text_value)


@function("lowBoundary", optional=1)
def low_boundary(call: Invocation) -> Expr:
    return _boundary(call, "low")


@function("highBoundary", optional=1)
def high_boundary(call: Invocation) -> Expr:
    return _boundary(call, "high")
