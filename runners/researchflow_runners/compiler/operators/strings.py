"""Functions on strings, and `join()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form, StringExpr, numbered
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, kind_of
from researchflow_runners.sql import Sql, compose


@dataclass(frozen=True)
class TextCall(Expr):
    """SQL over the text of the source and of string arguments; empty when one of them is."""

    template: str
    operands: tuple[Expr, ...]
    result_type: str = "string"

    @property
    def types(self) -> Types:
        return (self.result_type,)

    @property
    def form(self) -> Form:
        kind = kind_of(self.types)
        return "boolean" if kind == "boolean" else "integer" if kind == "integer" else "text"

    def value(self) -> Sql:
        sides = [one.numeric() if one.kind == "integer" else one.text() for one in self.operands]
        return compose(self.template, *sides)


@dataclass(frozen=True)
class Join(StringExpr):
    """All items in order as one string, `separator` between them; empty without items."""

    source: Expr
    separator: Expr

    def value(self) -> Sql:
        return compose(
            "(SELECT string_agg(j.v #>> '{{}}', {} ORDER BY j.n) FROM {} AS j(v, n))",
            self.separator.text(),
            numbered(self.source),
        )


#: FHIRPath name → SQL, result type, kinds of the arguments.
TEXT_FUNCTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "startsWith": ("starts_with({}, {})", "boolean", ("string",)),
    "endsWith": ("(right({0}, length({1})) = {1})", "boolean", ("string",)),
    "contains": ("(strpos({}, {}) > 0)", "boolean", ("string",)),
    "matches": ("({} ~ {})", "boolean", ("string",)),
    "replace": ("replace({}, {}, {})", "string", ("string", "string")),
    "lower": ("lower({})", "string", ()),
    "upper": ("upper({})", "string", ()),
    "trim": ("btrim({}, E' \\t\\r\\n')", "string", ()),
    "length": ("length({})", "integer", ()),
}


def _text_function(name: str, template: str, result: str, kinds: tuple[str, ...]) -> None:
    @function(name, arguments=len(kinds))
    def implementation(call: Invocation) -> Expr:
        operands = (call.source, *(call.argument(place) for place in range(len(kinds))))
        return _checked(call, operands, lambda: TextCall(template, operands, result))


def _checked(call: Invocation, operands: tuple[Expr, ...], make: Callable[[], Expr]) -> Expr:
    if any(not one.types for one in operands):
        return Empty(span=call.span)
    if any(one.kind != "string" for one in operands):
        raise call.refused("takes strings only", hint="Use toString() first.", code="not_a_string")
    return make()


for _name, (_template, _result, _kinds) in TEXT_FUNCTIONS.items():
    _text_function(_name, _template, _result, _kinds)


@function("substring", arguments=1, optional=1)
def substring(call: Invocation) -> Expr:
    places = [call.argument(place) for place in range(len(call.arguments))]
    if call.source.kind != "string" or any(one.kind != "integer" for one in places):
        raise call.refused(
            "takes a string, a start and a length", hint="Count from 0.", code="not_a_string"
        )
    template = (
        "(SELECT CASE WHEN p.f >= 0 AND p.f < length(p.t) THEN {} END"
        " FROM (SELECT {{}} AS t, ({{}})::integer AS f{} OFFSET 0) AS p)"
    )
    if len(places) == 1:
        return TextCall(
            template.format("substr(p.t, p.f + 1)", ""), (call.source, *places), span=call.span
        )
    inner = "substr(p.t, p.f + 1, greatest(p.c, 0))"
    return TextCall(
        template.format(inner, ", ({})::integer AS c"), (call.source, *places), span=call.span
    )


@function("join", optional=1)
def join(call: Invocation) -> Expr:
    if call.source.types and call.source.kind != "string":
        raise call.refused("joins strings only", hint="Use it on a list of strings.")
    separator: Expr = call.text_constant(0) if call.arguments else Constant("string", "")
    return Join(call.source, separator, span=call.span)
