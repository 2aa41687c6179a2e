"""`lowBoundary()` and `highBoundary()` of decimals, dates, dateTimes and times.

The least and greatest value that the written precision allows: 1.0 lies between 0.95 and 1.05,
1970-06 between 1970-06-01 and 1970-06-30. An instant without offset may be anywhere from +14:00
to -12:00.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
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
DECIMAL = {
    "low": """(SELECT trim_scale(b.t - 5 * power(10::numeric, -(scale(b.t) + 1)))
 FROM (SELECT {} AS t OFFSET 0) AS b)""",
    "high": """(SELECT trim_scale(b.t + 5 * power(10::numeric, -(scale(b.t) + 1)))
 FROM (SELECT {} AS t OFFSET 0) AS b)""",
}


@dataclass(frozen=True)
class Boundary(Expr):
    """One end of the range that a value's precision leaves open."""

    source: Expr
    end: str

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def form(self) -> Form:
        return "numeric" if self.source.kind == "decimal" else "text"

    def value(self) -> Sql:
        if self.source.kind == "decimal":
            return compose(DECIMAL[self.end], self.source.numeric())
        text, kind = fixed("b.t"), self.source.kind
        if kind == "date":
            found = compose(DATE[self.end], t=text)
        elif kind == "time":
            found = compose(TIME[self.end], t=text)
        else:
            clock = compose(TIME[self.end], t=fixed("substring(b.t from 'T([0-9:.]+)')"))
            found = compose(DATE_TIME[self.end], date=compose(DATE[self.end], t=text), time=clock)
        return compose("(SELECT {} FROM (SELECT {} AS t OFFSET 0) AS b)", found, self.source.text())


def _boundary(call: Invocation, end: str) -> Expr:
    if not call.source.types:
        return Empty(span=call.span)
    if call.source.kind not in ("decimal", "date", "dateTime", "time"):
        raise call.refused(
            "works on decimal, date, dateTime and time only",
            hint="Narrow a choice element with ofType() first.",
        )
    return Boundary(call.source, end, span=call.span)


@function("lowBoundary")
def low_boundary(call: Invocation) -> Expr:
    return _boundary(call, "low")


@function("highBoundary")
def high_boundary(call: Invocation) -> Expr:
    return _boundary(call, "high")
