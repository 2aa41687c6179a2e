"""What makes two items the same, as one SQL value that can be grouped, sorted and compared.

Two items of one family are equal (`=`) exactly when their keys are. Dates are keyed by the period
they mean, so that dates of unequal precision, of which `=` cannot decide, are two items.
Quantities and other complex items are compared as they are written, element by element.
"""

from __future__ import annotations

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.periods import high, low
from researchflow_runners.compiler.types import DATES, NUMBERS, Kind
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, fixed

PERIOD_KEY = """(SELECT tstzrange(y.lo, {high}) FROM
 (SELECT x.t, {low} AS lo FROM (SELECT {item} #>> '{{}}' AS t OFFSET 0) AS x OFFSET 0) AS y)"""
#: Seconds and their fractions are one precision; coarser times are the same as text.
TIME_KEY = """(SELECT CASE WHEN length(x.t) >= 8 THEN (x.t::time)::text ELSE x.t END
 FROM (SELECT {item} #>> '{{}}' AS t OFFSET 0) AS x)"""


def family(expr: Expr, span: Span) -> str:
    """The values that an item can be equal to.

    Raises FhirPathError `unsupported` when the items may be of several families, which their JSON
    does not tell apart.
    """
    if expr.kind in NUMBERS:
        return "number"
    if expr.kind in DATES:
        return "date"
    if expr.kind in ("complex", "quantity"):
        if len(expr.types) == 1:
            return expr.types[0]
    elif expr.kind != "mixed":
        return expr.kind
    raise FhirPathError(
        f"cannot tell equal items of {' or '.join(expr.types[:3])} apart",
        code="unsupported",
        hint="Narrow the items to one type with ofType() first; combine() takes any.",
        span=span,
    )


def equality_key(kind: Kind, item: Sql) -> Sql:
    """The key of a jsonb item."""
    if kind in DATES:
        start = fixed("y.lo")
        return compose(PERIOD_KEY, item=item, low=low(fixed("x.t")), high=high(fixed("y.t"), start))
    if kind == "time":
        return compose(TIME_KEY, item=item)
    return item
