"""`getResourceKey()` and `getReferenceKey()`: how rows of different views find each other.

A key is the resource's id. A reference gives one when it names a resource of this server by a
relative URL, with or without a version; `urn:`, absolute and contained references give none.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, KeyExpr
from researchflow_runners.compiler.nodes import AsText, Focus, Resource, ResourceId
from researchflow_runners.compiler.operators.filtering import Select
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.fhir import model
from researchflow_runners.sql import Sql, compose, param

#: Ids of any length: a bounded repetition would make PostgreSQL match ten times slower. So would,
#: by three, the version as an optional part of one expression.
REFERENCE = "^[A-Z][A-Za-z]*/[A-Za-z0-9.-]+$"
VERSIONED_REFERENCE = "^[A-Z][A-Za-z]*/[A-Za-z0-9.-]+/_history/[A-Za-z0-9.-]+$"
ANY_KEY = r"""CASE WHEN {text} ~ {pattern}
 OR {text} LIKE '%/\_history/%' AND {text} ~ {versioned} THEN split_part({text}, '/', 2) END"""
#: The same for a known type, without a regular expression: four times faster.
TYPED_KEY = """CASE WHEN {text} LIKE {prefix}
 AND ({text} NOT LIKE {longer} OR split_part({text}, '/', 3) IN ('', '_history'))
 THEN nullif(split_part({text}, '/', 2), '') END"""


@dataclass(frozen=True)
class ReferenceKey(KeyExpr):
    """The id in one reference, when it points at `target` (None: at any type)."""

    reference: Expr
    target: str | None
    repeats_operands = 4

    @property
    def key_of(self) -> str | None:
        return self.target

    def value(self) -> Sql:
        text = self.reference.text()
        if self.target is None:
            pattern, versioned = (param(one, "text") for one in (REFERENCE, VERSIONED_REFERENCE))
            return compose(ANY_KEY, text=text, pattern=pattern, versioned=versioned)
        # Names of types hold no wildcard.
        prefix, longer = (param(f"{self.target}/{rest}", "text") for rest in ("%", "%/%"))
        return compose(TYPED_KEY, text=text, prefix=prefix, longer=longer)


@function("getResourceKey")
def get_resource_key(call: Invocation) -> Expr:
    if not isinstance(call.source, Resource):
        raise call.refused(
            "works on the resource of the view only",
            hint="Call it without a path before it, outside forEach; or use %resource.",
        )
    return ResourceId(call.source.alias, call.source.types[0], span=call.span)


@function("getReferenceKey", optional=1)
def get_reference_key(call: Invocation) -> Expr:
    source = call.source
    if source.types and any(not model().is_subtype(one, "Reference") for one in source.types):
        raise call.refused("works on references only", hint="Use it on a Reference element.")
    target = call.type_argument(0) if call.arguments else None
    if not source.many:
        return _key_of(source, target)
    item = call.scope.item(source.types)
    return Select(source, item, _key_of(item, target), span=call.span)


def _key_of(reference: Expr | Focus, target: str | None) -> Expr:
    text = Child(reference, (("reference", "string"),), element_many=False)
    return ReferenceKey(AsText(text), target)
