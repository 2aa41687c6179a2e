"""`where()` and `select()`."""

from __future__ import annotations

from dataclasses import dataclass, field

from researchflow_runners.compiler.child import Child, Values, values_of
from researchflow_runners.compiler.expr import Expr, Path, Requirement, single
from researchflow_runners.compiler.jsonpath import PathParts, call
from researchflow_runners.compiler.nodes import Constant, Focus, Resource
from researchflow_runners.compiler.operators.logic import as_boolean, rarer, require_boolean
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types, is_primitive
from researchflow_runners.compiler.whole import (
    MAKERS,
    WholeExpr,
    WholeItems,
    items_as,
    passes_on,
    whole,
    wholes_of,
)
from researchflow_runners.sql import Sql, compose, fixed


@dataclass(frozen=True)
class Filtered(Expr):
    """The items of a source that a path filter keeps.

    `criterion` is what the filter says of `item`, where it comes from an expression.
    """

    source: Expr
    kept_types: Types
    predicate: PathParts
    requirement: Requirement = None
    criterion: Expr | None = field(default=None, compare=False, repr=False)
    item: Focus | None = field(default=None, compare=False, repr=False)

    @property
    def types(self) -> Types:
        return self.kept_types

    @property
    def many(self) -> bool:
        return self.source.many

    def path(self) -> Path:
        source = self.source.path() or Path(self.source, ())
        return source.then(" ? (", self.predicate, ")")

    def required(self) -> Requirement:
        return rarer(self.requirement, self.source.required())

    def root_keys(self) -> Requirement:
        return self.source.root_keys()

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim

    def value(self) -> Sql:
        if self.many:
            return single(self)
        path = self.path()
        return call("jsonb_path_query_first", path.base.value(), path.parts)


@dataclass(frozen=True)
class Where(Expr):
    """The items of a source for which a criterion that no path filter can say is true."""

    source: Expr
    item: Focus
    criterion: Expr
    wholes: Expr | None = None
    is_indexed: bool = False

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def rows(self) -> Sql:
        return compose(
            "(SELECT {alias}.v FROM {items} WHERE {criterion})",
            alias=fixed(self.item.alias),
            items=items_as(self.item, self.source, self.wholes, is_indexed=self.is_indexed),
            criterion=self.criterion.boolean(),
        )

    def exists(self) -> Sql:
        return compose("EXISTS (SELECT FROM {} AS e(v))", self.rows())

    def value(self) -> Sql:
        return single(self)


@dataclass(frozen=True)
class ResourceWhere(Expr):
    """The resource itself, when the criterion is true of it."""

    source: Resource
    criterion: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    def value(self) -> Sql:
        return compose("CASE WHEN {} THEN {} END", self.criterion.boolean(), self.source.value())

    def exists(self) -> Sql:
        return compose("({} IS TRUE)", self.criterion.boolean())


@dataclass(frozen=True)
class Select(Expr):
    """What an expression gives for each item, one after the other."""

    source: Expr
    item: Focus
    projection: Expr
    wholes: Expr | None = None
    is_indexed: bool = False

    @property
    def types(self) -> Types:
        return self.projection.types

    @property
    def many(self) -> bool:
        return self.source.many or self.projection.many

    def rows(self) -> Sql:
        return compose(
            "(SELECT p.v FROM {} CROSS JOIN LATERAL {} AS p(v))",
            items_as(self.item, self.source, self.wholes, is_indexed=self.is_indexed),
            self.projection.rows(),
        )

    def value(self) -> Sql:
        return single(self)


def where_node(invocation: Invocation) -> Expr:
    """`source.where(criterion)` for a call whose first argument is the criterion."""
    source = invocation.source
    role = f"the criterion of '{invocation.name}()'"
    if isinstance(source, Resource):
        criterion = _criterion(invocation.argument(0, on=source), role)
        return ResourceWhere(source, criterion, span=invocation.span)
    item = invocation.scope.item(source.types)
    criterion = _criterion(invocation.per_item(0, item), role)
    if criterion.asks_value_of(item) and values_of(source) is not source:
        return values_of(source)
    predicate = criterion.condition(item, negated=False)
    filtered = _filterable(source, item, criterion)
    if predicate is not None and filtered is not None:
        return Filtered(
            filtered,
            source.types,
            predicate,
            criterion.required(),
            criterion,
            item,
            span=invocation.span,
        )
    wholes = wholes_of(invocation.scope, item, source)
    is_indexed = item.alias in invocation.scope.indexed
    return Where(source, item, criterion, wholes, is_indexed, span=invocation.span)


def _criterion(expr: Expr, role: str) -> Expr:
    """The criterion as a boolean; a literal of another type, which decides nothing, is refused."""
    return require_boolean(expr, role) if isinstance(expr, Constant) else as_boolean(expr, role)


def _filterable(source: Expr, item: Focus, criterion: Expr) -> Expr | None:
    """The node that a path filter of the criterion can be put behind.

    A path knows nothing of elements without a value, and takes null for a value like others.
    """
    if any(map(is_primitive, source.types)):
        source = values_of(source)
        if not isinstance(source, Child | Values) or not criterion.needs_value(item):
            return None
    return source if can_filter(source) else None


def can_filter(source: Expr) -> bool:
    """Whether a path filter can be put behind the source."""
    return source.path() is not None or (not source.many and source.form == "json")


def _whole_where(expr: Where, scope: Scope) -> Expr:
    return WholeWhere(whole(expr.source, scope), expr.item, expr.criterion, span=expr.span)


def _whole_filtered(expr: Filtered, scope: Scope) -> Expr:
    if expr.criterion is None or expr.item is None:
        return WholeItems(expr, span=expr.span)
    return WholeWhere(whole(expr.source, scope), expr.item, expr.criterion, span=expr.span)


MAKERS[Where] = _whole_where
MAKERS[Filtered] = _whole_filtered
passes_on(Select, "projection")


@dataclass(frozen=True)
class WholeWhere(WholeExpr):
    """The whole items of which a criterion is true."""

    source: Expr
    item: Focus
    criterion: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def rows(self) -> Sql:
        return compose(
            "(SELECT {}.w FROM {} WHERE {})",
            fixed(self.item.alias),
            items_as(self.item, self.source, self.source),
            self.criterion.boolean(),
        )


@function("where", arguments=1)
def where(call: Invocation) -> Expr:
    return where_node(call)


@function("select", arguments=1)
def select(call: Invocation) -> Expr:
    item = call.scope.item(call.source.types)
    projection = call.per_item(0, item)
    wholes = wholes_of(call.scope, item, call.source)
    is_indexed = item.alias in call.scope.indexed
    return Select(call.source, item, projection, wholes, is_indexed, span=call.span)
