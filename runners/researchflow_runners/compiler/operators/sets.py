"""`intersect() exclude() subsetOf() supersetOf()`: collections beside each other, item by item.

Items are the same as for distinct(). Items of two families, such as a string and a date, are never
the same, and an item without a value is the same as no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Requirement, numbered, single
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.combining import distinct_of
from researchflow_runners.compiler.operators.existence import existence_of
from researchflow_runners.compiler.operators.logic import BooleanExpr, Not
from researchflow_runners.compiler.operators.sameness import equality_key, family
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Kind, Types
from researchflow_runners.errors import Span
from researchflow_runners.sql import Sql, compose, fixed

PICKED = """(SELECT p.v FROM (SELECT i.v, i.n, EXISTS (SELECT FROM {others} AS o(v)
 WHERE {same} AND i.v <> 'null') AS met FROM {items} AS i(v, n)) AS p WHERE p.met = {met}
 ORDER BY p.n)"""
WITHIN = """(NOT EXISTS (SELECT FROM {items} AS i(v) WHERE NOT EXISTS
 (SELECT FROM {others} AS o(v) WHERE {same} AND i.v <> 'null')))"""


@dataclass(frozen=True)
class Picked(Expr):
    """The items of a node that another one has too, or those that it has not."""

    source: Expr
    others: Expr
    is_in: bool

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
        return compose(
            PICKED,
            items=numbered(self.source),
            others=self.others.rows(),
            same=_same(self.source, self.others),
            met=fixed("true" if self.is_in else "false"),
        )

    def required(self) -> Requirement:
        return self.source.required()


@dataclass(frozen=True)
class Within(BooleanExpr):
    """Whether another node has every item of a node."""

    source: Expr
    others: Expr

    def value(self) -> Sql:
        same = _same(self.source, self.others)
        return compose(WITHIN, items=self.source.rows(), others=self.others.rows(), same=same)


def _same(left: Expr, right: Expr) -> Sql:
    kinds: tuple[tuple[Kind, str], ...] = ((left.kind, "i.v"), (right.kind, "o.v"))
    keys = (equality_key(kind, fixed(item)) for kind, item in kinds)
    return compose("{} = {}", *keys)


def _alike(left: Expr, right: Expr, span: Span) -> bool:
    """Whether an item of the one can be the same as one of the other."""
    return bool(left.types and right.types) and family(left, span) == family(right, span)


@function("intersect", arguments=1)
def intersect(call: Invocation) -> Expr:
    others = call.argument(0)
    if not _alike(call.source, others, call.span):
        return Empty(span=call.span)
    return distinct_of(Picked(call.source, others, is_in=True, span=call.span), call.span)


@function("exclude", arguments=1)
def exclude(call: Invocation) -> Expr:
    others = call.argument(0)
    if not _alike(call.source, others, call.span):
        return call.source
    return Picked(call.source, others, is_in=False, span=call.span)


def _within(left: Expr, right: Expr, span: Span) -> Expr:
    if not _alike(left, right, span):
        return Not(existence_of(left, span), span=span)
    return Within(left, right, span=span)


@function("subsetOf", arguments=1)
def subset_of(call: Invocation) -> Expr:
    return _within(call.source, call.argument(0), call.span)


@function("supersetOf", arguments=1)
def superset_of(call: Invocation) -> Expr:
    return _within(call.argument(0), call.source, call.span)
