"""Binary operators by their symbol."""

from __future__ import annotations

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.operators.arithmetic import ARITHMETIC, arithmetic
from researchflow_runners.compiler.operators.combining import union
from researchflow_runners.compiler.operators.comparison import COMPARISONS, comparison
from researchflow_runners.compiler.operators.equivalence import EQUIVALENCES, equivalence
from researchflow_runners.compiler.operators.logic import logical
from researchflow_runners.compiler.operators.membership import membership
from researchflow_runners.errors import Span

LOGICAL = frozenset({"and", "or", "xor", "implies"})
MEMBERSHIP = frozenset({"in", "contains"})


def binary_operator(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of `left operator right`; what is left for the last line is `|`.

    Raises FhirPathError as the family of the operator does for operands it cannot take.
    """
    if operator in LOGICAL:
        return logical(operator, left, right)
    if operator in COMPARISONS:
        return comparison(operator, left, right, span)
    if operator in ARITHMETIC:
        return arithmetic(operator, left, right, span)
    if operator in MEMBERSHIP:
        return membership(operator, left, right, span)
    if operator in EQUIVALENCES:
        return equivalence(operator, left, right, span)
    return union(left, right, span)
