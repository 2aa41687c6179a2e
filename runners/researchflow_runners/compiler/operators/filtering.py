"""`where()`, `ofType()`, `select()`."""

from __future__ import annotations

from dataclasses import dataclass, field

from researchflow_runners.compiler.expr import Expr, Path, Requirement, single
from researchflow_runners.compiler.jsonpath import (
    PathParts,
    Variable,
    call,
    concatenated,
    json_scalar,
)
from researchflow_runners.compiler.nodes import Child, Empty, Focus, Resource
from researchflow_runners.compiler.operators.logic import rarer, require_boolean
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.fhir import model
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

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def rows(self) -> Sql:
        alias = fixed(self.item.alias)
        return compose(
            "(SELECT {alias}.v FROM {rows} AS {alias}(v) WHERE {criterion})",
            alias=alias,
            rows=self.source.rows(),
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

    @property
    def types(self) -> Types:
        return self.projection.types

    @property
    def many(self) -> bool:
        return self.source.many or self.projection.many

    def rows(self) -> Sql:
        return compose(
            "(SELECT p.v FROM {} AS {}(v) CROSS JOIN LATERAL {} AS p(v))",
            self.source.rows(),
            fixed(self.item.alias),
            self.projection.rows(),
        )

    def value(self) -> Sql:
        return single(self)


def where_node(invocation: Invocation) -> Expr:
    """`source.where(criterion)` for a call whose first argument is the criterion."""
    source = invocation.source
    role = f"the criterion of '{invocation.name}()'"
    if isinstance(source, Resource):
        criterion = require_boolean(invocation.argument(0, on=source), role)
        return ResourceWhere(source, criterion, span=invocation.span)
    item = invocation.scope.item(source.types)
    criterion = require_boolean(invocation.argument(0, on=item), role)
    predicate = criterion.condition(item, negated=False)
    if predicate is not None and _can_filter(source):
        return Filtered(
            source,
            source.types,
            predicate,
            criterion.required(),
            criterion,
            item,
            span=invocation.span,
        )
    return Where(source, item, criterion, span=invocation.span)


def _can_filter(source: Expr) -> bool:
    return source.path() is not None or (not source.many and source.form == "json")


@function("where", arguments=1)
def where(call: Invocation) -> Expr:
    return where_node(call)


@function("select", arguments=1)
def select(call: Invocation) -> Expr:
    item = call.scope.item(call.source.types)
    return Select(call.source, item, call.argument(0, on=item), span=call.span)


@function("ofType", arguments=1)
def of_type(call: Invocation) -> Expr:
    return narrowed(call.source, call.type_argument(0), call.span)


def _of_resource_type(wanted: str) -> PathParts:
    """A predicate on a resource: it is of that type, or of one that specialises it."""
    if not model().is_abstract(wanted):
        return ("@.resourceType == ", Variable(json_scalar(wanted)))
    others = (name for name in model().resource_names() if not model().is_subtype(name, wanted))
    parts: PathParts = ("@.resourceType != null",)
    for name in others:
        parts = concatenated(parts, " && @.resourceType != ", (Variable(json_scalar(name)),))
    return parts


def narrowed(source: Expr, wanted: str, span: Span) -> Expr:
    """The items of that type."""
    kept = tuple(one for one in source.types if one == wanted) or tuple(
        one for one in source.types if model().is_subtype(one, wanted)
    )
    if len(kept) == len(source.types):
        return source
    if isinstance(source, Child) and kept and len(source.keys) > 1:
        keys = tuple((key, one) for key, one in source.keys if one in kept)
        return Child(source.source, keys, source.element_many, span=span)
    abstract = [
        one for one in source.types if model().is_resource(one) and model().is_abstract(one)
    ]
    if abstract and model().is_resource(wanted) and _can_filter(source):
        return Filtered(source, (wanted,), _of_resource_type(wanted), span=span)
    if not kept:
        return Empty(span=span)
    raise FhirPathError(
        f"cannot tell which items are of type '{wanted}'",
        code="unsupported",
        hint="Apply ofType() directly to the choice element, such as value.ofType(Quantity).",
        span=span,
    )
