"""`iif()`, `is`, `as`, and conversions between primitive types."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form, StringExpr
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.filtering import narrowed
from researchflow_runners.compiler.operators.logic import BooleanExpr, require_boolean
from researchflow_runners.compiler.operators.quantities import quantity_text
from researchflow_runners.compiler.operators.strings import TextCall
from researchflow_runners.compiler.registry import Invocation, function, type_specifier
from researchflow_runners.compiler.types import Types
from researchflow_runners.errors import Span
from researchflow_runners.fhir import model
from researchflow_runners.sql import Sql, compose


@dataclass(frozen=True)
class Iif(Expr):
    """One of two nodes; the second when the criterion is false or empty."""

    criterion: Expr
    then: Expr
    otherwise: Expr

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys((*self.then.types, *self.otherwise.types)))

    @property
    def form(self) -> Form:
        forms = {one.form for one in (self.then, self.otherwise) if one.types}
        return forms.pop() if len(forms) == 1 else "json"

    def value(self) -> Sql:
        return compose(
            "CASE WHEN {} THEN {} ELSE {} END",
            self.criterion.boolean(),
            self._branch(self.then),
            self._branch(self.otherwise),
        )

    def _branch(self, branch: Expr) -> Sql:
        if not branch.types:
            return compose("NULL")
        return branch.value() if branch.form == self.form else branch.json()


@function("iif", arguments=2, optional=1)
def iif(call: Invocation) -> Expr:
    criterion = require_boolean(call.argument(0), "the criterion of 'iif()'")
    then = call.argument(1)
    otherwise = call.argument(2) if len(call.arguments) == 3 else Empty()
    if then.many or otherwise.many:
        raise call.refused(
            "takes branches of one item", hint="Use first(), or join() for lists of strings."
        )
    if not then.types and not otherwise.types:
        return Empty(span=call.span)
    return Iif(criterion, then, otherwise, span=call.span)


@function("toString")
def to_string(call: Invocation) -> Expr:
    if call.source.kind == "quantity":
        return quantity_text(call.source, call.span)
    if call.source.kind in ("complex", "mixed"):
        raise call.refused("converts primitive values only", hint="Select one element of it.")
    return TextCall("{}", (_as_text(call.source),), span=call.span)


@dataclass(frozen=True)
class _AsText(StringExpr):
    source: Expr

    def value(self) -> Sql:
        return self.source.text()


def _as_text(source: Expr) -> Expr:
    return source if source.kind == "string" else _AsText(source)


@function("as", arguments=1)
def as_function(call: Invocation) -> Expr:
    return narrowed(call.source, call.type_argument(0), call.span)


@function("is", arguments=1)
def is_function(call: Invocation) -> Expr:
    return _is(call.source, call.type_argument(0), call.span)


def type_test(operator: str, operand: Expr, written: str, span: Span) -> Expr:
    """The node of `operand is type` or `operand as type`."""
    wanted = type_specifier(written, span)
    if operator == "as":
        return narrowed(operand, wanted, span)
    return _is(operand, wanted, span)


def _is(operand: Expr, wanted: str, span: Span) -> Expr:
    """Whether the one item is of a type; empty when there is no item."""
    if not operand.types:
        return Empty(span=span)
    if len(operand.types) == 1:
        same = model().is_subtype(operand.types[0], wanted) or operand.types[0] == wanted
        known: Expr = Constant("boolean", "true" if same else "false", span=span)
        return Iif(_Present(operand), known, Empty(), span=span)
    return Iif(_Present(operand), _Present(narrowed(operand, wanted, span)), Empty(), span=span)


@dataclass(frozen=True)
class _Present(BooleanExpr):
    source: Expr

    def value(self) -> Sql:
        return self.source.exists()
