"""`~` and `!~`: whether two collections hold equivalent items, in any order; never empty.

Strings are equivalent whatever their case, with every run of whitespace read as one space; case is
folded as `lower()` folds it. Decimals are compared rounded to the precision of the one with fewer
digits, zeroes at the end not counted; since 1.4 ~ 1, 1 ~ 1.3 and yet 1.4 !~ 1.3, two collections
of several decimals have no definite answer and are refused. Dates and times of unequal precision
are not equivalent. Quantities are compared in one unit, rounded likewise. Complex items are
refused: compare their elements.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Constant
from researchflow_runners.compiler.operators.comparison import comparable_kind
from researchflow_runners.compiler.operators.existence import existence_of
from researchflow_runners.compiler.operators.logic import And, BooleanExpr, Not
from researchflow_runners.compiler.operators.quantities import compared
from researchflow_runners.compiler.operators.sameness import moment_key
from researchflow_runners.compiler.registry import binary
from researchflow_runners.compiler.types import DATES, NUMBERS, SYSTEM, Kind, kind_of_type, shown
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, fixed

EQUIVALENCES = frozenset({"~", "!~"})

TEXT_KEY = r"""(lower(regexp_replace({}, '[ \t\r\n]+', ' ', 'g')) COLLATE "C")"""
ROUNDED_SAME = """round(q.l, least(min_scale(q.l), min_scale(q.r)))
 = round(q.r, least(min_scale(q.l), min_scale(q.r)))"""
DECIMALS = """(SELECT CASE WHEN q.l IS NULL OR q.r IS NULL THEN q.l IS NULL AND q.r IS NULL
 ELSE {same} END
 FROM (SELECT ({l})::numeric AS l, ({r})::numeric AS r OFFSET 0) AS q)"""
#: A collection and one item at most: only a collection of one item can be equivalent to it.
DECIMALS_TO_ONE = """(SELECT CASE q.n WHEN 0 THEN q.r IS NULL
 WHEN 1 THEN coalesce({same}, q.l IS NULL AND q.r IS NULL) ELSE false END
 FROM (SELECT count(*) AS n, nullif((array_agg(i.v))[1], 'null')::numeric AS l, ({r})::numeric AS r
 FROM {l} AS i(v)) AS q)"""
KEYS = "(SELECT array_agg(k.k ORDER BY k.k) FROM (SELECT {key} AS k FROM {items} AS i(v)) AS k)"


@dataclass(frozen=True)
class EquivalentDecimals(BooleanExpr):
    """Whether numbers of which some may be decimals are equivalent; `right` is one at most."""

    left: Expr
    right: Expr

    def value(self) -> Sql:
        same = fixed(ROUNDED_SAME)
        if self.left.many:
            found = compose(DECIMALS_TO_ONE, same=same, l=self.left.rows(), r=self.right.numeric())
        else:
            found = compose(DECIMALS, same=same, l=self.left.numeric(), r=self.right.numeric())
        return _of_items(found, self.left, self.right)


@dataclass(frozen=True)
class Equivalent(BooleanExpr):
    """Whether two nodes hold items of the same keys; no item has the key NULL."""

    left: Expr
    right: Expr
    compared_kind: Kind

    def value(self) -> Sql:
        sides = (self._keys(one) for one in (self.left, self.right))
        found = compose("({} IS NOT DISTINCT FROM {})", *sides)
        if self.left.many or self.right.many:
            return found
        return _of_items(found, self.left, self.right)

    def _keys(self, side: Expr) -> Sql:
        kind = self.compared_kind
        if self.left.many or self.right.many:
            item = (
                fixed("nullif(i.v, 'null')")
                if kind in ("boolean", "integer")
                else fixed("i.v #>> '{}'")
            )
            return compose(KEYS, key=_key(kind, item), items=side.rows())
        if kind == "boolean":
            return side.boolean()
        return side.numeric() if kind == "integer" else _key(kind, side.text())


def _key(kind: Kind, native: Sql) -> Sql:
    if kind in DATES or kind == "time":
        return moment_key(kind, native)
    return compose(TEXT_KEY, native) if kind == "string" else native


def _of_items(found: Sql, left: Expr, right: Expr) -> Sql:
    """What is found of the values, where an element without one is not nothing."""
    if all(one.startswith(SYSTEM) for one in (*left.types, *right.types)):
        return found
    return compose("({} = {} AND {})", left.exists(), right.exists(), found)


@binary(*EQUIVALENCES)
def equivalence(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of `left ~ right` or `left !~ right`.

    Raises FhirPathError `unsupported` for items whose equivalence has no exact SQL, and
    `not_comparable` for sides of different kinds.
    """
    found = _equivalent(operator, left, right, span)
    return found if operator == "~" else Not(found, span=span)


def _equivalent(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    if not left.types or not right.types:
        other = left if left.types else right
        return Not(existence_of(other, span), span=span)
    if left == right and left.kind == "complex":
        # Whatever it is, it is equivalent to itself.
        return Constant("System.Boolean", "true", span=span)
    if "quantity" in (left.kind, right.kind) and not (left.many or right.many):
        return _quantities(left, right, span)
    if {left.kind, right.kind} & {"complex", "quantity"}:
        refused = left if left.kind in ("complex", "quantity") else right
        hint = "Compare elements of it, such as its code and its system."
        raise _refused(f"'{operator}' does not compare {shown(refused.types)}", hint, span)
    kind = comparable_kind(operator, left, right, span)
    if kind not in NUMBERS - {"integer"}:
        return Equivalent(left, right, kind, span=span)
    if left.many and right.many:
        hint = "Make one side one decimal with first() or single()."
        raise _refused(f"'{operator}' does not compare two collections of decimals", hint, span)
    left, right = (right, left) if right.many else (left, right)
    return EquivalentDecimals(left, right, span=span)


#: The number of the right side in the left one's unit, rounded as the less precise one.
ROUNDED_QUANTITIES = """(round({0}, least(min_scale({0}), min_scale(trim_scale({1}))))
 = round({1}, least(min_scale({0}), min_scale(trim_scale({1})))))"""


@dataclass(frozen=True)
class EquivalentQuantities(BooleanExpr):
    """Whether two quantities are equivalent, each in its unit; never empty."""

    left: Expr
    right: Expr

    def value(self) -> Sql:
        return compose(
            "(CASE WHEN {a} AND {b} THEN coalesce({same}, false) ELSE {a} = {b} END)",
            a=self.left.exists(),
            b=self.right.exists(),
            same=compared(ROUNDED_QUANTITIES, self.left, self.right, in_left_unit=True),
        )


def _quantities(left: Expr, right: Expr, span: Span) -> Expr:
    """The node for a quantity on one side, and a quantity or a choice on the other."""
    sides = []
    for side in (left, right):
        kept = tuple(one for one in side.types if kind_of_type(one) == "quantity")
        if side.kind == "quantity":
            sides.append(side)
        elif isinstance(side, Child) and kept:
            keys = tuple(one for one in side.keys if one[1] in kept)
            sides.append(Child(side.source, keys, side.element_many))
        else:
            raise _refused(
                f"'~' does not compare {shown(left.types)} and {shown(right.types)}",
                "Compare two quantities, such as value.ofType(Quantity) ~ 5 'mg'.",
                span,
            )
    found: Expr = EquivalentQuantities(sides[0], sides[1], span=span)
    for side, kept_side in zip((left, right), sides, strict=True):
        if side is not kept_side:
            # A value of another type is equivalent to no quantity.
            found = And(existence_of(kept_side, span), found, span=span)
    return found


def _refused(message: str, hint: str, span: Span) -> FhirPathError:
    return FhirPathError(message, code="unsupported", hint=hint, span=span)
