"""`+ - * / div mod`, the sign, and `&`; numbers are exact decimals.

Division by zero is empty, and so is a whole number beyond its type (FHIRPath 2.0, section 6.6). `+`
and `&` join strings; `&` takes an empty side as ''. Dates and times take an amount of time
(durations.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form, StringExpr
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.durations import shifted
from researchflow_runners.compiler.operators.quantities import (
    QuantityConstant,
    negative_quantity,
)
from researchflow_runners.compiler.registry import binary
from researchflow_runners.compiler.types import (
    DATES,
    NUMBERS,
    RANGES,
    Types,
    fhir_type,
    shown,
    system_type,
)
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, fixed

TEMPLATES = {
    "+": "({} + {})",
    "-": "({} - {})",
    "*": "({} * {})",
    "/": "trim_scale({} / nullif({}, 0))",
    "div": "trunc({} / nullif({}, 0))",
    "mod": "mod({}, nullif({}, 0))",
}
ARITHMETIC = frozenset({*TEMPLATES, "&"})
#: What the negative of a number is that has no negatives.
_NEGATED = {"positiveInt": "System.Integer", "unsignedInt": "System.Integer"}
WITHIN = """(SELECT CASE WHEN w.v BETWEEN {least} AND {most} THEN w.v END
 FROM (SELECT {whole} AS v OFFSET 0) AS w)"""


def within(result_type: str, number: Sql) -> Sql:
    """The number, empty when it is whole and beyond its type; decimals have no bounds."""
    if result_type not in RANGES:
        return number
    least, most = (fixed(f"({bound})") for bound in RANGES[result_type])
    return compose(WITHIN, least=least, most=most, whole=number)


@dataclass(frozen=True)
class Number(Expr):
    """A computed number."""

    operator: str
    left: Expr
    right: Expr

    @property
    def types(self) -> Types:
        whole = {self.left.kind, self.right.kind} == {"integer"} and self.operator != "/"
        if not whole and self.operator != "div":
            return ("System.Decimal",)
        is_long = "integer64" in map(fhir_type, self.left.types + self.right.types)
        return ("System.Long" if is_long else "System.Integer",)

    @property
    def form(self) -> Form:
        return "numeric"

    def value(self) -> Sql:
        # Cast before computing: integers would overflow, and divide without a remainder.
        sides = [compose("({})::numeric", one.numeric()) for one in (self.left, self.right)]
        found = compose(TEMPLATES[self.operator], *sides)
        return found if self.operator == "mod" else within(fhir_type(self.types[0]), found)


@dataclass(frozen=True)
class Negative(Expr):
    """`-operand`"""

    operand_expr: Expr

    @property
    def types(self) -> Types:
        types = map(fhir_type, self.operand_expr.types)
        return tuple(dict.fromkeys(_NEGATED.get(one) or system_type(one) for one in types))

    @property
    def form(self) -> Form:
        return "numeric"

    def value(self) -> Sql:
        return compose("(- ({})::numeric)", self.operand_expr.numeric())


@dataclass(frozen=True)
class Concatenation(StringExpr):
    """Two strings joined; `empty_as_text` takes an empty side as ''."""

    left: Expr
    right: Expr
    empty_as_text: bool

    def value(self) -> Sql:
        template = "(coalesce({}, '') || coalesce({}, ''))" if self.empty_as_text else "({} || {})"
        return compose(template, self.left.text(), self.right.text())


@binary(*ARITHMETIC)
def arithmetic(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of an arithmetic operator; FhirPathError `not_a_number` for other operands."""
    kinds = {left.kind, right.kind}
    if operator == "&" and kinds <= {"string", "empty"}:
        return Concatenation(left, right, empty_as_text=True, span=span)
    if "empty" in kinds:
        return Empty(span=span)
    if operator == "+" and kinds == {"string"}:
        return Concatenation(left, right, empty_as_text=False, span=span)
    if operator in TEMPLATES and kinds <= NUMBERS:
        return Number(operator, left, right, span=span)
    if operator in ("+", "-") and left.kind in {*DATES, "time"} and right.kind == "quantity":
        return shifted(operator, left, right, span)
    raise FhirPathError(
        f"cannot compute {shown(left.types)} {operator} {shown(right.types)}",
        code="not_a_number",
        hint="Use integers and decimals; strings take + and &, dates an amount such as 6 months.",
        span=span,
    )


def negative(operand: Expr, span: Span) -> Expr:
    """The node of `-operand`."""
    if operand.kind == "empty":
        return operand
    if isinstance(operand, QuantityConstant):
        return negative_quantity(operand, span)
    if operand.kind not in NUMBERS:
        raise FhirPathError(
            f"cannot negate {shown(operand.types)}",
            code="not_a_number",
            hint="Use an integer or a decimal.",
            span=span,
        )
    return Negative(operand, span=span)
