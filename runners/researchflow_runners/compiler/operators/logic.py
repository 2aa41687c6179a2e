"""`and`, `or`, `xor`, `implies`, `not()`: three-valued, which SQL's own operators are too."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, Form, Requirement, single
from researchflow_runners.compiler.jsonpath import PathParts, concatenated
from researchflow_runners.compiler.registry import Invocation, binary, function
from researchflow_runners.compiler.types import Types, fhir_type, shown
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


@dataclass(frozen=True)
class Single(BooleanExpr):
    """The one item of a node as a boolean: its value, or true of an item of another type.

    FHIRPath 2.0, section 4.5; several items raise SQLSTATE 21000. `booleans` are those items of the
    node that are booleans.
    """

    source: Expr
    booleans: Expr | None

    def value(self) -> Sql:
        there = self.source.exists()
        if self.source.many:
            there = compose("{} IS NOT NULL", single(self.source))
        if self.booleans is None:
            return compose("(CASE WHEN {} THEN true END)", there)
        return compose(
            "(CASE WHEN {} THEN {} WHEN {} THEN true END)",
            self.booleans.exists(),
            self.booleans.boolean(),
            there,
        )


def as_boolean(expr: Expr, role: str) -> Expr:
    """The node where one boolean is wanted, which one item of another type makes true.

    FhirPathError `not_boolean` where only the data tell whether an item is a boolean.
    """
    if expr.kind in ("boolean", "empty"):
        return expr
    if "boolean" not in map(fhir_type, expr.types):
        return Single(expr, None, span=expr.span)
    if not isinstance(expr, Child):
        return require_boolean(expr, role)
    keys = tuple(one for one in expr.keys if one[1] == "boolean")
    return Single(expr, Child(expr.source, keys, expr.element_many), span=expr.span)


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
    left = as_boolean(left, f"the left side of '{operator}'")
    right = as_boolean(right, f"the right side of '{operator}'")
    if operator == "and":
        return And(left, right, span=span)
    if operator == "or":
        return Or(left, right, span=span)
    if operator == "xor":
        return Xor(left, right, span=span)
    return Or(Not(left), right, span=span)


@function("not")
def not_(call: Invocation) -> Expr:
    return Not(as_boolean(call.source, "the input of 'not()'"), span=call.span)
