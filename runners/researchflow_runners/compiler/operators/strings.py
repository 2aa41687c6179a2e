"""Functions on strings, and `join()`, `split()` and `toChars()` between one string and several.

Case is that of PostgreSQL's `lower()` and `upper()`. An empty separator splits nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from researchflow_runners.compiler.child import Child, values_of
from researchflow_runners.compiler.expr import Expr, Form, StringExpr, numbered, single
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, kind_of, system_type
from researchflow_runners.sql import Sql, compose


@dataclass(frozen=True)
class TextCall(Expr):
    """SQL over the text of the source and of string arguments; empty when one of them is."""

    template: str
    operands: tuple[Expr, ...]
    result_type: str = "string"

    @property
    def types(self) -> Types:
        return (system_type(self.result_type),)

    @property
    def form(self) -> Form:
        kind = kind_of(self.types)
        return "boolean" if kind == "boolean" else "integer" if kind == "integer" else "text"

    def value(self) -> Sql:
        sides = [one.numeric() if one.kind == "integer" else one.text() for one in self.operands]
        return compose(self.template, *sides)


CHARACTERS = "(SELECT to_jsonb(w.t) FROM string_to_table({}, NULL) AS w(t))"
#: PostgreSQL splits an empty string into nothing.
SPLIT = """(SELECT to_jsonb(w.t) FROM (SELECT {} AS t, {} AS s OFFSET 0) AS x CROSS JOIN LATERAL
 unnest(CASE WHEN x.s IS NULL THEN NULL WHEN x.t = '' THEN ARRAY[''] ELSE string_to_array(x.t, x.s)
 END) AS w(t))"""


JOINED = "(SELECT string_agg(j.v #>> '{{}}', {} ORDER BY j.n) FROM {} AS j(v, n))"
#: Lists are short; to aggregate costs ten times as much as to read two items.
FEW_JOINED = """CASE WHEN {l} -> 1 IS NULL THEN {l} ->> 0
 WHEN {l} -> 2 IS NULL THEN coalesce(({l} ->> 0) || {separator} || ({l} ->> 1), {otherwise})
 ELSE {otherwise} END"""


@dataclass(frozen=True)
class Join(StringExpr):
    """All items in order as one string, `separator` between them; empty without items."""

    source: Expr
    separator: Expr

    def value(self) -> Sql:
        separator = self.separator.text()
        found = compose(JOINED, separator, numbered(values_of(self.source)))
        source = self.source
        if isinstance(source, Child) and source.element_many and not source.source.many:
            items = Child(source.source, source.keys, element_many=False)
            return compose(FEW_JOINED, l=items.value(), separator=separator, otherwise=found)
        return found


#: FHIRPath name → SQL, result type, kinds of the arguments.
TEXT_FUNCTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "startsWith": ("starts_with({}, {})", "boolean", ("string",)),
    "endsWith": ("(right({0}, length({1})) = {1})", "boolean", ("string",)),
    "contains": ("(strpos({}, {}) > 0)", "boolean", ("string",)),
    "indexOf": ("(strpos({}, {}) - 1)", "integer", ("string",)),
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


#: An empty pattern is found around every character.
SURROUNDED = """(SELECT CASE WHEN r.p <> '' THEN replace(r.t, r.p, r.s)
 WHEN r.t = '' THEN r.s ELSE r.s || array_to_string(string_to_array(r.t, NULL), r.s) || r.s END
 FROM (SELECT {} AS t, {} AS p, {} AS s OFFSET 0) AS r
 WHERE r.t IS NOT NULL AND r.p IS NOT NULL AND r.s IS NOT NULL)"""


@function("replace", arguments=2)
def replace(call: Invocation) -> Expr:
    operands = (call.source, call.argument(0), call.argument(1))
    pattern = operands[1]
    plain = isinstance(pattern, Constant) and pattern.text_value
    template = "replace({}, {}, {})" if plain else SURROUNDED
    return _checked(call, operands, lambda: TextCall(template, operands, span=call.span))


@function("substring", arguments=1, optional=1)
def substring(call: Invocation) -> Expr:
    places = [call.argument(place) for place in range(len(call.arguments))]
    if not call.source.types or not places[0].types:
        return Empty(span=call.span)
    # Without the length, or with an empty one, the rest of the string.
    places = [one for one in places if one.types]
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
    inner = "substr(p.t, p.f + 1, greatest(coalesce(p.c, length(p.t)), 0))"
    return TextCall(
        template.format(inner, ", ({})::integer AS c"), (call.source, *places), span=call.span
    )


@dataclass(frozen=True)
class Parts(Expr):
    """A string as several, in order; `separator` None makes every character one."""

    source: Expr
    separator: Expr | None

    @property
    def types(self) -> Types:
        return ("System.String",)

    @property
    def many(self) -> bool:
        return True

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        if self.separator is None:
            return compose(CHARACTERS, self.source.text())
        return compose(SPLIT, self.source.text(), self.separator.text())


@function("split", arguments=1)
def split(call: Invocation) -> Expr:
    separator = call.argument(0)
    operands = (call.source, separator)
    return _checked(call, operands, lambda: Parts(call.source, separator, span=call.span))


@function("toChars")
def to_chars(call: Invocation) -> Expr:
    return _checked(call, (call.source,), lambda: Parts(call.source, None, span=call.span))


@function("join", optional=1)
def join(call: Invocation) -> Expr:
    if call.source.types and call.source.kind != "string":
        raise call.refused("joins strings only", hint="Use it on a list of strings.")
    separator: Expr = call.text_constant(0) if call.arguments else Constant("System.String", "")
    return Join(call.source, separator, span=call.span)
