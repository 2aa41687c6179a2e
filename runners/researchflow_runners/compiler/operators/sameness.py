"""What makes two items the same, as one SQL value that can be grouped, sorted and compared.

Two items of one family are equal (`=`) exactly when their keys are. Dates are keyed by the period
they mean, so that dates of unequal precision, of which `=` cannot decide, are two items.
Quantities and other complex items are compared as they are written, element by element.
"""

from __future__ import annotations

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.periods import high, low, without_offset
from researchflow_runners.compiler.types import DATES, NUMBERS, Kind, shown
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, fixed

#: A time without an offset is the same as no time with one: its range is closed at the end.
PERIOD_KEY = """(SELECT tstzrange(y.lo, {high}, CASE WHEN {unplaced} THEN '[]' ELSE '[)' END) FROM
 (SELECT x.t, {low} AS lo FROM (SELECT {text} AS t OFFSET 0) AS x OFFSET 0) AS y)"""
#: Seconds and their fractions are one precision; coarser times are the same as text.
TIME_KEY = """(SELECT CASE WHEN length(x.t) >= 8 THEN (x.t::time)::text ELSE x.t END
 FROM (SELECT {text} AS t OFFSET 0) AS x)"""


def family(expr: Expr, span: Span) -> str:
    """The values that an item can be equal to.

    Raises FhirPathError `unsupported` when the items may be of several families, which their JSON
    does not tell apart.
    """
    if expr.kind in NUMBERS:
        return "number"
    if expr.kind in DATES:
        return "date"
    if expr.kind == "complex" and len(expr.types) == 1:
        return expr.types[0]
    if expr.kind not in ("complex", "quantity", "mixed"):
        return expr.kind
    raise FhirPathError(
        f"cannot tell equal items of {shown(expr.types)} apart",
        code="unsupported",
        hint="Use items of one type other than Quantity, see ofType(); combine() takes any.",
        span=span,
    )


def equality_key(kind: Kind, item: Sql) -> Sql:
    """The key of a jsonb item."""
    if kind in DATES or kind == "time":
        return moment_key(kind, compose("{} #>> '{{}}'", item))
    return item


def moment_key(kind: Kind, text: Sql) -> Sql:
    """The key of a date, dateTime or time."""
    if kind == "time":
        return compose(TIME_KEY, text=text)
    start = fixed("y.lo")
    unplaced = without_offset(fixed("y.t"))
    return compose(
        PERIOD_KEY,
        text=text,
        unplaced=unplaced,
        low=low(fixed("x.t")),
        high=high(fixed("y.t"), start),
    )
