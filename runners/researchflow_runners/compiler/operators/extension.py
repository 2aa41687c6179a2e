"""`extension(url)`: the extensions of that URL."""

from __future__ import annotations

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.jsonpath import concatenated
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.comparison import Compare
from researchflow_runners.compiler.operators.filtering import Filtered, Where, can_filter
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.fhirpath.ast import Member


@function("extension", arguments=1)
def extension(call: Invocation) -> Expr:
    url = call.text_constant(0)
    on_source = call.scope.on(call.source)
    found = call.resolve(Member(None, "extension", span=call.span), on_source)
    if isinstance(found, Empty):
        return found
    if not can_filter(found):
        item = call.scope.item(found.types)
        named = Compare("=", Child(item, (("url", "uri"),), False), url, "string")
        return Where(found, item, named, span=call.span)
    predicate = concatenated("@.url == ", url.operand(found))
    return Filtered(found, ("Extension",), predicate, span=call.span)
