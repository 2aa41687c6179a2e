"""`in` and `contains`: whether one item is among several."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Constant, Empty, Focus
from researchflow_runners.compiler.operators.combining import Combined, Distinct
from researchflow_runners.compiler.operators.comparison import (
    PATH_KINDS,
    Compare,
    comparable_kind,
)
from researchflow_runners.compiler.operators.existence import HasValue
from researchflow_runners.compiler.operators.logic import BooleanExpr, Or
from researchflow_runners.compiler.registry import binary
from researchflow_runners.compiler.types import Kind
from researchflow_runners.errors import Span
from researchflow_runners.sql import Sql, compose


@dataclass(frozen=True)
class Among(BooleanExpr):
    """Whether `one` equals an item of `several`; empty when `one` has no value."""

    one: Expr
    several: Expr
    compared_kind: Kind

    def value(self) -> Sql:
        item = Focus("m", self.several.types)
        equal = Compare("=", self.one, item, self.compared_kind)
        return compose(
            "CASE WHEN {} THEN EXISTS (SELECT FROM {} AS m(v) WHERE {}) END",
            HasValue(self.one).value(),
            self.several.rows(),
            equal.value(),
        )


def _constants(several: Expr) -> tuple[Constant, ...] | None:
    """The items of a union of constants, which one comparison each is the cheapest test of."""
    if isinstance(several, Constant):
        return (several,)
    if isinstance(several, Distinct):
        return _constants(several.source)
    if not isinstance(several, Combined):
        return None
    left, right = _constants(several.left), _constants(several.right)
    return None if left is None or right is None else (*left, *right)


@binary("in", "contains")
def membership(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of `one in several` or `several contains one`."""
    one, several = (left, right) if operator == "in" else (right, left)
    if not one.types:
        return Empty(span=span)
    kind = comparable_kind("=", one, several, span)
    choices = _constants(several) if kind in PATH_KINDS else None
    if choices is not None:
        equal: list[Expr] = [Compare("=", one, choice, kind, span=span) for choice in choices]
        return reduce(Or, equal)
    # Nothing is among no items: compared with an item that never is, the answer is false.
    return Among(one, several, "string" if kind == "empty" else kind, span=span)
