"""`allTrue() anyTrue() allFalse() anyFalse()`: over a collection of booleans, never empty."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.operators.logic import BooleanExpr, require_boolean
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.sql import Sql, compose, fixed

#: FHIRPath name → aggregate over the items `b.v`, and the result without items.
QUANTIFIERS = {
    "allTrue": ("bool_and(nullif(b.v, 'null')::boolean IS TRUE)", "true"),
    "anyTrue": ("bool_or(nullif(b.v, 'null')::boolean IS TRUE)", "false"),
    "allFalse": ("bool_and(nullif(b.v, 'null')::boolean IS FALSE)", "true"),
    "anyFalse": ("bool_or(nullif(b.v, 'null')::boolean IS FALSE)", "false"),
}


@dataclass(frozen=True)
class Quantified(BooleanExpr):
    """Whether all or any of the booleans are true or false."""

    source: Expr
    name: str

    def value(self) -> Sql:
        aggregate, without = QUANTIFIERS[self.name]
        return compose(
            "coalesce((SELECT {} FROM {} AS b(v)), {})",
            fixed(aggregate),
            self.source.rows(),
            fixed(without),
        )


def _quantifier(name: str) -> None:
    @function(name)
    def implementation(call: Invocation) -> Expr:
        source = require_boolean(call.source, f"the input of '{name}()'")
        return Quantified(source, name, span=call.span)


for _name in QUANTIFIERS:
    _quantifier(_name)
