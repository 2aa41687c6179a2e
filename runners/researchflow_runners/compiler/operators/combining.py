"""`|`, `union()`, `combine()`, `distinct()`, `isDistinct()`: collections put together.

FHIRPath leaves the order of the results open (2.0, sections 5.4 and 6.5); here items stand in the
order of their first occurrence, the left side first. Items of different families, such as a
string and a date, are never equal, so such sides are made distinct each for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Requirement, numbered, single
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.operators.sameness import equality_key, family
from researchflow_runners.compiler.registry import Invocation, binary, function
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.whole import MAKERS, WholeExpr, passes_on, whole
from researchflow_runners.errors import Span
from researchflow_runners.sql import Sql, compose, fixed

#: An item without a value equals no other.
DISTINCT = """(SELECT w.v FROM (SELECT DISTINCT ON (k.k, k.u) k.v, k.n FROM
 (SELECT k.v, k.n, k.k, CASE WHEN {value} = 'null' THEN k.n END AS u FROM
 (SELECT i.v, i.n, {key} AS k FROM {items} AS i(v, n)) AS k) AS k ORDER BY k.k, k.u, k.n) AS w
 ORDER BY w.n)"""
IS_DISTINCT = """(SELECT count(*) FILTER (WHERE i.v <> 'null')
 = count(DISTINCT {key}) FILTER (WHERE i.v <> 'null') FROM {items} AS i(v))"""


@dataclass(frozen=True)
class Combined(Expr):
    """The items of two nodes, one after the other."""

    left: Expr
    right: Expr

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys((*self.left.types, *self.right.types)))

    @property
    def many(self) -> bool:
        return True

    @property
    def verbatim(self) -> bool:
        return self.left.verbatim and self.right.verbatim

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        return compose(
            "(SELECT l.v FROM {} AS l(v) UNION ALL SELECT r.v FROM {} AS r(v))",
            self.left.rows(),
            self.right.rows(),
        )

    def exists(self) -> Sql:
        return compose("({} OR {})", self.left.exists(), self.right.exists())

    def required(self) -> Requirement:
        left, right = self.left.required(), self.right.required()
        return None if left is None or right is None else left | right


@dataclass(frozen=True)
class Distinct(Expr):
    """Each item of a node once, where it occurs first."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return True

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        key = equality_key(self.source.kind, compose("i.v"))
        return compose(DISTINCT, value=fixed("k.v"), key=key, items=numbered(self.source))

    def exists(self) -> Sql:
        return self.source.exists()

    def required(self) -> Requirement:
        return self.source.required()


@dataclass(frozen=True)
class WholeDistinct(WholeExpr):
    """The whole items of a node, of those with equal values the first."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return True

    def rows(self) -> Sql:
        key = equality_key(self.source.kind, fixed("(i.v -> 'v')"))
        return compose(DISTINCT, value=fixed("(k.v -> 'v')"), key=key, items=numbered(self.source))


def _whole_distinct(expr: Distinct, scope: Scope) -> Expr:
    return WholeDistinct(whole(expr.source, scope), span=expr.span)


MAKERS[Distinct] = _whole_distinct
passes_on(Combined, "left", "right")


@dataclass(frozen=True)
class IsDistinct(BooleanExpr):
    """Whether no two items of a node are equal."""

    source: Expr

    def value(self) -> Sql:
        key = equality_key(self.source.kind, compose("i.v"))
        return compose(IS_DISTINCT, key=key, items=self.source.rows())


@binary("|")
def union(_operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of `left | right`."""
    if not left.types or not right.types:
        return distinct_of(left if left.types else right, span)
    if family(left, span) == family(right, span):
        return Distinct(Combined(left, right), span=span)
    return Combined(distinct_of(left, span), distinct_of(right, span), span=span)


def distinct_of(source: Expr, span: Span) -> Expr:
    """The node of `source.distinct()`."""
    if not source.many or isinstance(source, Distinct):
        return source
    family(source, span)
    return Distinct(source, span=span)


@function("union", arguments=1)
def union_function(call: Invocation) -> Expr:
    return union("|", call.source, call.argument(0), call.span)


@function("combine", arguments=1)
def combine(call: Invocation) -> Expr:
    left, right = call.source, call.argument(0)
    if not left.types or not right.types:
        return left if left.types else right
    return Combined(left, right, span=call.span)


@function("distinct")
def distinct(call: Invocation) -> Expr:
    return distinct_of(call.source, call.span)


@function("isDistinct")
def is_distinct(call: Invocation) -> Expr:
    if call.source.types:
        family(call.source, call.span)
    return IsDistinct(call.source, span=call.span)
