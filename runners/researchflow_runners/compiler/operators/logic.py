"""`and`, `or`, `xor`, `implies`, `not()`: three-valued, which SQL's own operators are too."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form, Requirement
from researchflow_runners.compiler.jsonpath import PathParts, concatenated
from researchflow_runners.compiler.registry import Invocation, binary, function
from researchflow_runners.compiler.types import Types, shown
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, param


class BooleanExpr(Expr):
    """A node of at most one boolean."""

    @property
    def types(self) -> Types:
        return ("System.Boolean",)

    @property
    def form(self) -> Form:
        return "boolean"


def rarer(one: Requirement, other: Requirement) -> Requirement:
    """Of two requirements that both hold, the one that fewer resources are likely to meet."""
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda texts: (len(texts), -max(map(len, texts))))


def require_boolean(expr: Expr, role: str) -> Expr:
    """The node, known to be boolean or empty; FhirPathError `not_boolean` otherwise."""
    if expr.kind in ("boolean", "empty"):
        return expr
    raise FhirPathError(
        f"{role} is not boolean but {shown(expr.types)}",
        code="not_boolean",
        hint="Compare it, or ask exists().",
        span=expr.span,
    )


@dataclass(frozen=True)
class And(BooleanExpr):
    left: Expr
    right: Expr

    def value(self) -> Sql:
        return compose("({} AND {})", self.left.boolean(), self.right.boolean())

    def needs_value(self, item: Expr) -> bool:
        return self.left.needs_value(item) and self.right.needs_value(item)

    def required(self) -> Requirement:
        return rarer(self.left.required(), self.right.required())

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        return _both(self.left, self.right, item, "||" if negated else "&&", negated)


@dataclass(frozen=True)
class Or(BooleanExpr):
    left: Expr
    right: Expr

    def value(self) -> Sql:
        alike = self.one_of()
        if alike is not None:
            item, texts = alike
            return compose('({} COLLATE "C" = ANY ({}))', item.text(), param(list(texts), "text[]"))
        return compose("({} OR {})", self.left.boolean(), self.right.boolean())

    def one_of(self) -> tuple[Expr, tuple[str, ...]] | None:
        left, right = self.left.one_of(), self.right.one_of()
        if left is None or right is None or left[0] != right[0]:
            return None
        return left[0], (*left[1], *right[1])

    def needs_value(self, item: Expr) -> bool:
        return self.left.needs_value(item) and self.right.needs_value(item)

    def required(self) -> Requirement:
        left, right = self.left.required(), self.right.required()
        return None if left is None or right is None else left | right

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        return _both(self.left, self.right, item, "&&" if negated else "||", negated)


@dataclass(frozen=True)
class Xor(BooleanExpr):
    left: Expr
    right: Expr

    def value(self) -> Sql:
        return compose("({} <> {})", self.left.boolean(), self.right.boolean())


@dataclass(frozen=True)
class Not(BooleanExpr):
    operand_expr: Expr

    def value(self) -> Sql:
        return compose("(NOT {})", self.operand_expr.boolean())

    def needs_value(self, item: Expr) -> bool:
        return self.operand_expr.needs_value(item)

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        return self.operand_expr.condition(item, negated=not negated)


def _both(left: Expr, right: Expr, item: Expr, joiner: str, negated: bool) -> PathParts | None:
    first = left.condition(item, negated=negated)
    second = right.condition(item, negated=negated)
    if first is None or second is None:
        return None
    return concatenated("(", first, f" {joiner} ", second, ")")


@binary("and", "or", "xor", "implies")
def logical(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of a logical operator."""
    require_boolean(left, f"the left side of '{operator}'")
    require_boolean(right, f"the right side of '{operator}'")
    if operator == "and":
        return And(left, right, span=span)
    if operator == "or":
        return Or(left, right, span=span)
    if operator == "xor":
        return Xor(left, right, span=span)
    return Or(Not(left), right, span=span)


@function("not")
def not_(call: Invocation) -> Expr:
    return Not(require_boolean(call.source, "the input of 'not()'"), span=call.span)
