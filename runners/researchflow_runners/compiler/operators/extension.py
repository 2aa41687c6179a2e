"""`extension(url)`: the extensions of that URL."""

from __future__ import annotations

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.jsonpath import concatenated
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.filtering import Filtered
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.fhirpath.ast import Member


@function("extension", arguments=1)
def extension(call: Invocation) -> Expr:
    url = call.text_constant(0)
    on_source = call.scope.on(call.source)
    found = call.resolve(Member(None, "extension", span=call.span), on_source)
    if isinstance(found, Empty):
        return found
    predicate = concatenated("@.url == ", url.operand(found))
    return Filtered(found, ("Extension",), predicate, span=call.span)
