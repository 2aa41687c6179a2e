"""`exists()`, `empty()`, `count()`, `all()`, `hasValue()`: never empty themselves; `getValue()`."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, IntegerExpr, Path, Requirement
from researchflow_runners.compiler.jsonpath import PathParts, concatenated
from researchflow_runners.compiler.nodes import Focus
from researchflow_runners.compiler.operators.filtering import where_node
from researchflow_runners.compiler.operators.first import first_of
from researchflow_runners.compiler.operators.logic import BooleanExpr, Not, as_boolean
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, is_primitive
from researchflow_runners.compiler.whole import items_as, wholes_of
from researchflow_runners.errors import Span
from researchflow_runners.sql import Sql, compose

ONLY_VALUE = """(SELECT CASE WHEN count(*) = 1 THEN nullif((array_agg(o.v))[1], 'null') END
 FROM {} AS o(v))"""


@dataclass(frozen=True)
class Exists(BooleanExpr):
    """Whether the source has an item.

    `probe` is what is looked at: the first item where a path finds it, because a column often
    reads that very item too; otherwise the source.
    """

    source: Expr
    probe: Expr

    def value(self) -> Sql:
        return self.probe.exists()

    def required(self) -> Requirement:
        return self.source.required()

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        found = _paths_from(self.source, item)
        if found is None:
            return None
        inside = " || ".join(["exists(@{})"] * len(found))
        pieces = inside.split("{}")
        parts: PathParts = (pieces[0],)
        for path, piece in zip(found, pieces[1:], strict=True):
            parts = concatenated(parts, path, piece)
        return concatenated("!(" if negated else "(", parts, ")")


def _paths_from(source: Expr, item: Expr) -> list[PathParts] | None:
    """The source as paths from `item`, of which one leads somewhere when there is an item."""
    path = source.path()
    found = source.paths() if isinstance(source, Child) else [path] if path is not None else None
    if found is None or any(one.base != item for one in found):
        return None
    return [one.parts for one in found]


@dataclass(frozen=True)
class Count(IntegerExpr):
    source: Expr

    def value(self) -> Sql:
        if self.source.path() is not None and self.source.many:
            return compose("jsonb_array_length({})", self.source.array())
        return compose("(SELECT count(*)::integer FROM {} AS c(v))", self.source.rows())


@dataclass(frozen=True)
class All(BooleanExpr):
    """Whether the criterion is true for every item; true when there is none."""

    source: Expr
    item: Focus
    criterion: Expr
    wholes: Expr | None = None
    is_indexed: bool = False

    def value(self) -> Sql:
        return compose(
            "(NOT EXISTS (SELECT FROM {} WHERE ({}) IS NOT TRUE))",
            items_as(self.item, self.source, self.wholes, is_indexed=self.is_indexed),
            self.criterion.boolean(),
        )


@function("exists", optional=1)
def exists(call: Invocation) -> Expr:
    return existence_of(where_node(call) if call.arguments else call.source, call.span)


@function("empty")
def empty(call: Invocation) -> Expr:
    return Not(existence_of(call.source, call.span), span=call.span)


def existence_of(source: Expr, span: Span) -> Exists:
    """The node of `source.exists()`."""
    by_path = source.many and source.path() is not None
    return Exists(source, first_of(source) if by_path else source, span=span)


@function("count")
def count(call: Invocation) -> Expr:
    return Count(call.source, span=call.span)


@function("all", arguments=1)
def all_(call: Invocation) -> Expr:
    item = call.scope.item(call.source.types)
    criterion = as_boolean(call.per_item(0, item), "the criterion of 'all()'")
    wholes = wholes_of(call.scope, item, call.source)
    is_indexed = item.alias in call.scope.indexed
    return All(call.source, item, criterion, wholes, is_indexed, span=call.span)


@dataclass(frozen=True)
class OnlyValue(Expr):
    """The one item of a source of primitives; none when there are several (FHIR R4, FHIRPath)."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    def path(self) -> Path:
        return Path(self, ())

    def value(self) -> Sql:
        return compose(ONLY_VALUE, self.source.rows())


@dataclass(frozen=True)
class HasValue(BooleanExpr):
    """Whether a node of one item at most has a value."""

    source: Expr

    def value(self) -> Sql:
        return compose("({} IS NOT NULL)", self.source.text())

    def needs_value(self, item: Expr) -> bool:
        return self.source == item

    def asks_value_of(self, item: Expr) -> bool:
        return self.source == item

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        operand = self.source.operand(item)
        if operand is None:
            return None
        return concatenated("!(" if negated else "(", "exists(", operand, "))")


@function("getValue")
def get_value(call: Invocation) -> Expr:
    if any(not is_primitive(one) for one in call.source.types):
        raise call.refused("works on primitive values only", hint="Select one element of it.")
    return OnlyValue(call.source, span=call.span) if call.source.many else call.source


@function("hasValue")
def has_value(call: Invocation) -> Expr:
    found = get_value(call)
    return HasValue(found, span=call.span) if found.types else existence_of(found, call.span)
