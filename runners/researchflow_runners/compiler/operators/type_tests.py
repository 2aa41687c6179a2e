"""`ofType()`, `is`, `as` and `conformsTo()`: types.py says which types these take."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, single
from researchflow_runners.compiler.jsonpath import PathParts, Variable, concatenated, json_scalar
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.combining import Combined
from researchflow_runners.compiler.operators.conversion import Iif
from researchflow_runners.compiler.operators.filtering import Filtered, can_filter
from researchflow_runners.compiler.operators.first import OneOf
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.registry import Invocation, function, type_specifier
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types, is_selected, is_type
from researchflow_runners.compiler.whole import OfType, ValuesOfWhole, passes_on, whole
from researchflow_runners.errors import Span
from researchflow_runners.fhir import model
from researchflow_runners.sql import Sql, compose

DEFINITIONS = "http://hl7.org/fhir/StructureDefinition/"


@function("ofType", arguments=1)
def of_type(call: Invocation) -> Expr:
    return narrowed(call.source, call.type_argument(0), call.scope, call.span)


@function("as", arguments=1)
def as_function(call: Invocation) -> Expr:
    return _as(call.source, call.type_argument(0), call.scope, call.span)


@function("is", arguments=1)
def is_function(call: Invocation) -> Expr:
    return _is(call.source, call.type_argument(0), call.scope, call.span)


@function("conformsTo", arguments=1)
def conforms_to(call: Invocation) -> Expr:
    """Whether the one item is of a type that FHIR itself defines; profiles are not looked at."""
    url = call.text_constant(0).text_value
    name = url.removeprefix(DEFINITIONS)
    if name == url or not model().is_type(name):
        raise call.refused(
            "knows the types of FHIR only, no profiles", hint="Select by elements of the profile."
        )
    return _is(call.source, name, call.scope, call.span)


def type_test(operator: str, operand: Expr, written: str, scope: Scope, span: Span) -> Expr:
    """The node of `operand is type` or `operand as type`."""
    wanted = type_specifier(written, span)
    return (_as if operator == "as" else _is)(operand, wanted, scope, span)


def narrowed(source: Expr, wanted: str, scope: Scope, span: Span) -> Expr:
    """The items that `ofType(wanted)` selects."""
    if is_open(source) and model().is_resource(wanted):
        return _of_resource_type(source, wanted, scope, span)
    return _kept(
        source, tuple(one for one in source.types if is_selected(one, wanted)), scope, span
    )


def _kept(source: Expr, kept: Types, scope: Scope, span: Span) -> Expr:
    """The items of those types, which the source may have beside others."""
    if not kept:
        return Empty(span=span)
    if len(kept) == len(source.types):
        return source
    if isinstance(source, Child):
        keys = tuple((key, one) for key, one in source.keys if one in kept)
        if {key for key, _one in keys}.isdisjoint(
            key for key, one in source.keys if one not in kept
        ):
            return Child(source.source, keys, source.element_many, span=span)
    if isinstance(source, Combined):
        sides = (
            _kept(one, tuple(t for t in one.types if t in kept), scope, span)
            for one in (source.left, source.right)
        )
        return Combined(*sides, span=span)
    return ValuesOfWhole(OfType(whole(source, scope), kept), span=span)


def is_open(source: Expr) -> bool:
    """Whether the items are resources of which only the data tell the type."""
    fhir = model()
    return any(fhir.is_resource(one) and fhir.is_abstract(one) for one in source.types)


def _of_resource_type(source: Expr, wanted: str, scope: Scope, span: Span) -> Expr:
    if not can_filter(source):
        return ValuesOfWhole(OfType(whole(source, scope), model().subtypes(wanted)), span=span)
    return Filtered(source, (wanted,), _resource_predicate(wanted), span=span)


def _resource_predicate(wanted: str) -> PathParts:
    """A predicate on a resource: it is of that type, or of one that specialises it."""
    if not model().is_abstract(wanted):
        return ("@.resourceType == ", Variable(json_scalar(wanted)))
    others = (name for name in model().resource_names() if not model().is_subtype(name, wanted))
    parts: PathParts = ("@.resourceType != null",)
    for name in others:
        parts = concatenated(parts, " && @.resourceType != ", (Variable(json_scalar(name)),))
    return parts


def _as(source: Expr, wanted: str, scope: Scope, span: Span) -> Expr:
    """The one item, when `as` with that type takes it."""
    found = narrowed(source, wanted, scope, span)
    return Alone(found, source, span=span) if source.many and found.types else found


@dataclass(frozen=True)
class Alone(OneOf):
    """The item of a node, which is a part of another; more of that one raise SQLSTATE 21000."""

    among: Expr

    def value(self) -> Sql:
        return compose(
            "CASE WHEN {} IS NOT NULL THEN {} END", single(self.among), self.source.value()
        )


passes_on(Alone, "source")


def _is(operand: Expr, wanted: str, scope: Scope, span: Span) -> Expr:
    """Whether the one item is of a type; empty when there is no item."""
    if not operand.types:
        return Empty(span=span)
    if is_open(operand) and not all(is_type(one, wanted) for one in operand.types):
        narrow = narrowed(operand, wanted, scope, span)
    else:
        fitting = tuple(one for one in operand.types if is_type(one, wanted))
        narrow = (
            operand if len(fitting) == len(operand.types) else _kept(operand, fitting, scope, span)
        )
    if narrow is operand or not narrow.types:
        known: Expr = Constant("System.Boolean", "true" if narrow.types else "false", span=span)
    else:
        known = Present(narrow)
    return Iif(Present(operand), known, Empty(), span=span)


@dataclass(frozen=True)
class Present(BooleanExpr):
    """Whether there is an item; several raise SQLSTATE 21000."""

    source: Expr

    def value(self) -> Sql:
        if self.source.many:
            return compose("({} IS NOT NULL)", single(self.source))
        return self.source.exists()
