"""One expression by itself: its items over a resource, with the SQL that a view would have."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.compile import DOCUMENTS, DOCUMENTS_END, root_scope
from researchflow_runners.compiler.definition import parse_definition
from researchflow_runners.compiler.expr import Expr, numbered
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.whole import whole
from researchflow_runners.errors import FhirPathError
from researchflow_runners.fhir import model
from researchflow_runners.fhirpath import parse
from researchflow_runners.fhirpath.ast import Member, children
from researchflow_runners.sql import EMPTY, Sql, compose, fixed

#: The type of resource that an expression is compiled for when it names none.
ANY_RESOURCE = "Basic"
FIELD = "expression"
TYPED = """(SELECT coalesce(jsonb_agg(jsonb_build_object('type', a.v -> 't', 'value', a.v -> 'v')
 ORDER BY a.n), '[]') FROM {} AS a(v, n))"""
TYPED_ALIKE = """(SELECT coalesce(jsonb_agg(jsonb_build_object('type', {}, 'value', a.v)
 ORDER BY a.n), '[]') FROM {} AS a(v, n))"""


@dataclass(frozen=True)
class CompiledExpression:
    """An expression as SQL; `node` is its typed tree, and `types` what its items may be."""

    text: str
    resource: str
    node: Expr
    scope: Scope

    @property
    def types(self) -> Types:
        return self.node.types

    def items(self, source: Sql) -> Sql:
        """A SELECT of the items of each resource of a source, as the JSON text of an array.

        The source has the columns that CompiledView.select takes.
        """
        return _over(source, self.node.array())

    def typed_items(self, source: Sql) -> Sql:
        """The same of objects, each with the item's `type` and `value`."""
        if len(self.types) == 1 and not model().is_abstract(self.types[0]):
            alike = fixed(f"'{self.types[0]}'")
            return _over(source, compose(TYPED_ALIKE, alike, numbered(self.node)))
        try:
            items = whole(self.node, self.scope)
        except FhirPathError:
            # Of a mixture of computed values nothing tells the types.
            return _over(source, compose(TYPED_ALIKE, fixed("NULL::text"), numbered(self.node)))
        return _over(source, compose(TYPED, numbered(items)))


def _over(source: Sql, found: Sql) -> Sql:
    documents = compose("{}{}{}", fixed(DOCUMENTS), source, compose(DOCUMENTS_END, EMPTY))
    return compose("SELECT ({})::text FROM {}", found, documents)


def compile_expression(text: str, resource: str | None = None) -> CompiledExpression:
    """The expression for resources of a type; None is the type that it starts with, or any.

    Raises FhirPathError as compile_view, and ViewDefinitionError `unknown_resource_type`.
    """
    named = resource or _named_type(text)
    definition = {"resource": named, "select": [{"column": [{"name": "v", "path": "$this"}]}]}
    scope = root_scope(parse_definition(definition))
    return CompiledExpression(text, named, resolve_text(text, scope, field=FIELD), scope)


def _named_type(text: str) -> str:
    """The type of resource that an expression names at its start."""
    nodes = [parse(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Member) and node.target is None:
            fhir = model()
            known = fhir.is_resource(node.name) and not fhir.is_abstract(node.name)
            return node.name if known else ANY_RESOURCE
        nodes += reversed(children(node))
    return ANY_RESOURCE
