"""Syntax tree to typed nodes: names become elements of the FHIR model, or are refused."""

from __future__ import annotations

import re
from functools import cache

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, KeyExpr
from researchflow_runners.compiler.nodes import (
    Constant,
    Empty,
    ItemIndex,
    Resource,
    ResourceId,
    ResourceMeta,
)
from researchflow_runners.compiler.operators.arithmetic import negative
from researchflow_runners.compiler.operators.quantities import quantity_literal
from researchflow_runners.compiler.operators.subsetting import indexed
from researchflow_runners.compiler.operators.type_info import TypeInfo, type_name
from researchflow_runners.compiler.operators.type_tests import type_test
from researchflow_runners.compiler.registry import Invocation, binary_operator, invoke
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import (
    SYSTEM,
    Types,
    fhir_type,
    is_primitive,
    is_type,
    shown,
    system_type,
)
from researchflow_runners.compiler.whole import whole
from researchflow_runners.errors import FhirPathError, ResearchFlowError, Span
from researchflow_runners.fhir import Element, model
from researchflow_runners.fhirpath import Node, parse
from researchflow_runners.fhirpath.ast import (
    Binary,
    Call,
    EmptyLiteral,
    External,
    Index,
    Literal,
    Member,
    Sign,
    Special,
    This,
    TypeTest,
)
from researchflow_runners.naming import nearest

#: What a primitive has besides its value.
PRIMITIVE_ELEMENTS = frozenset({"id", "extension"})
#: What FHIRPath and FHIR call by a name of their own; a constant of the view comes first.
CODE_SYSTEMS = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
#: `%vs-name` and `%ext-name` are the canonical URLs of HL7's value sets and extensions.
FOLDERS = {"vs-": "ValueSet", "ext-": "StructureDefinition"}
CHOICE_KEY = re.compile(r"[a-z]+(?=[A-Z])")


def resolve_text(text: str, scope: Scope, *, field: str) -> Expr:
    """The node of an expression; errors carry `field`, the expression's place in the view."""
    try:
        found = resolve(parse(text), scope)
    except ResearchFlowError as error:
        error.field = error.field or field
        raise
    scope.resolved[field] = found
    return found


def resolve(node: Node, scope: Scope) -> Expr:
    """The typed node of a syntax tree.

    Raises FhirPathError `unknown_element`, `unknown_constant`, `unsupported` and those of the
    operators, each with the span at fault.
    """
    match node:
        case Literal():
            return _literal(node)
        case EmptyLiteral():
            return Empty(span=node.span)
        case This():
            return scope.this
        case External(name):
            return _external(name, scope, node.span)
        case Member(target, name):
            return _member(target, name, scope, node.span)
        case Call(target, name, arguments):
            source = scope.this if target is None else resolve(target, scope)
            return invoke(Invocation(name, source, arguments, scope, node.span, resolve))
        case Index(target, index):
            return indexed(resolve(target, scope), resolve(index, scope), node.span)
        case Sign(operator, operand):
            inner = resolve(operand, scope)
            return negative(inner, node.span) if operator == "-" else inner
        case Binary(operator, left, right):
            return binary_operator(operator, resolve(left, scope), resolve(right, scope), node.span)
        case TypeTest(operator, operand, type_name):
            return type_test(operator, resolve(operand, scope), type_name, scope, node.span)
        case Special(name) if name == "index" and scope.index is not None:
            scope.indexed.add(scope.index.alias)
            return ItemIndex(scope.index.alias, span=node.span)
        case Special(name):
            raise FhirPathError(
                f"'${name}' is not supported",
                code="unsupported",
                hint="Use %rowIndex for the place within forEach or repeat.",
                span=node.span,
            )


def _literal(node: Literal) -> Expr:
    if node.kind in ("quantity", "duration"):
        return quantity_literal(node)
    if "\x00" in node.text:
        raise FhirPathError(
            "a string holds the character NUL",
            code="syntax",
            hint="Leave it out; FHIR knows no text with it.",
            span=node.span,
        )
    # `@2024T` is a dateTime of which only the year is known.
    text = node.text.removesuffix("T") if node.kind == "dateTime" else node.text
    return Constant(system_type(node.kind), text, span=node.span)


def _external(name: str, scope: Scope, span: Span) -> Expr:
    if name == "rowIndex":
        if scope.row_index.alias is not None:
            scope.numbered.add(scope.row_index.alias)
        return scope.row_index
    if name in ("resource", "context", "rootResource"):
        return scope.resource
    found = scope.constants.get(name)
    if found is None and (url := _known_url(name)) is not None:
        return Constant("System.String", url, span=span)
    if found is None:
        raise FhirPathError(
            f"undefined constant '%{name}'",
            code="unknown_constant",
            allowed=sorted(scope.constants),
            did_you_mean=nearest(name, scope.constants),
            hint="Define it under 'constant' in the ViewDefinition.",
            span=span,
        )
    return found


def _known_url(name: str) -> str | None:
    """What FHIR's own names stand for, such as `%ucum` and `%vs-administrative-gender`."""
    for prefix, folder in FOLDERS.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return f"http://hl7.org/fhir/{folder}/{name.removeprefix(prefix)}"
    return CODE_SYSTEMS.get(name)


def _member(target: Node | None, name: str, scope: Scope, span: Span) -> Expr:
    if target is None and isinstance(scope.this, Resource) and _is_root(scope.this, name):
        return scope.this
    source = scope.this if target is None else resolve(target, scope)
    return element_of(source, name, scope, span)


def _is_root(resource: Resource, name: str) -> bool:
    """Whether a name at the start is that of the resource's type, or of one it specialises."""
    return model().is_resource(name) and any(is_type(one, name) for one in resource.types)


def element_of(source: Expr, name: str, scope: Scope, span: Span) -> Expr:
    """`source.name`, typed by the model; FhirPathError `unknown_element` when there is none."""
    if not source.types:
        return Empty(span=span)
    if isinstance(source, TypeInfo) and name in ("name", "namespace"):
        return type_name(source, name)
    if isinstance(source, Resource) and name == "id":
        return ResourceId(source.alias, source.types[0], span=span)
    if isinstance(source, Resource) and name == "meta":
        return ResourceMeta(source.alias, span=span)
    if name in PRIMITIVE_ELEMENTS and any(is_primitive(one) for one in source.types):
        source = _sibling(source, scope)
    elif name == "resourceType" and all(model().is_resource(one) for one in source.types):
        return Child(source, (("resourceType", "code"),), False, span=span)
    found = [element for one in source.types for element in _elements(one, name)]
    if not source.types:
        return Empty(span=span)
    if not found:
        if scope.lenient and name in _all_element_names():
            return Empty(span=span)
        raise _unknown_element(source.types, name, span)
    keys = tuple(dict.fromkeys(key for element in found for key in element.json_keys))
    return Child(source, keys, any(element.many for element in found), span=span)


@cache
def _all_element_names() -> frozenset[str]:
    """The elements of every type: what is none of these is a slip of the pen anywhere."""
    fhir = model()
    return frozenset(one.name for name in fhir.type_names() for one in fhir.elements(name))


def _elements(type_name: str, name: str) -> list[Element]:
    """The elements of that name; several when only the data tell the concrete type."""
    own = model().element(fhir_type(type_name), name)
    if own is not None:
        return [own]
    if model().is_resource(type_name) and model().is_abstract(type_name):
        return [element for _type, element in model().possible_elements(type_name, name)]
    return []


def _sibling(source: Expr, scope: Scope) -> Expr:
    """What has the id and extensions of an item: `_birthDate` for `birthDate`.

    What is computed has neither.
    """
    if all(one.startswith(SYSTEM) for one in source.types):
        return Empty(span=source.span)
    if isinstance(source, ResourceId):
        return Child(scope.resource, (("_id", "Element"),), False, span=source.span)
    if isinstance(source, KeyExpr):
        return Empty(span=source.span)
    if not isinstance(source, Child):
        return Child(whole(source, scope), (("x", "Element"),), False, span=source.span)
    keys = tuple(
        (f"_{key}" if is_primitive(type_name) else key, _holder(type_name))
        for key, type_name in source.keys
    )
    return Child(source.source, tuple(dict.fromkeys(keys)), source.element_many, span=source.span)


def _holder(type_name: str) -> str:
    return "Element" if is_primitive(type_name) else type_name


def _unknown_element(types: Types, name: str, span: Span) -> FhirPathError:
    names = {element.name for one in types for element in model().elements(fhir_type(one))}
    prefix = CHOICE_KEY.match(name)
    if prefix and prefix.group() in names and name not in names:
        rest = name[prefix.end() :]
        hint = f"Write {prefix.group()}.ofType({rest[0].lower() + rest[1:]}) or ofType({rest})."
    else:
        hint = "Use an element that FHIR R4 defines for this type."
    return FhirPathError(
        f"unknown element '{name}' of {shown(types)}",
        code="unknown_element",
        allowed=sorted(names)[:60],
        did_you_mean=nearest(name, names),
        hint=hint,
        span=span,
    )
