"""`encode() decode() escape() unescape() lastIndexOf() precision() trace() coalesce()`."""

from __future__ import annotations

from functools import reduce

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import AsText, Empty
from researchflow_runners.compiler.operators.conversion import ChosenItems, chosen
from researchflow_runners.compiler.operators.existence import existence_of
from researchflow_runners.compiler.operators.strings import TextCall
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import DATES

#: PostgreSQL breaks base64 into lines.
BASE64 = "translate(encode(convert_to({}, 'UTF8'), 'base64'), E'\\n', '')"
ENCODED = {
    "base64": BASE64,
    "urlbase64": f"translate({BASE64}, '+/', '-_')",
    "hex": "encode(convert_to({}, 'UTF8'), 'hex')",
}
DECODED = {
    "base64": "convert_from(decode({}, 'base64'), 'UTF8')",
    "urlbase64": "convert_from(decode(translate({}, '-_', '+/'), 'base64'), 'UTF8')",
    "hex": "convert_from(decode({}, 'hex'), 'UTF8')",
}
#: Character, as SQL writes it, and how HTML does.
HTML = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("''", "&#39;"))


def _replaced(pairs: list[tuple[str, str]]) -> str:
    return reduce(lambda of, pair: f"replace({of}, '{pair[0]}', '{pair[1]}')", pairs, "{}")


ESCAPED = {
    "html": _replaced(list(HTML)),
    "json": "(SELECT substr(e.t, 2, length(e.t) - 2) FROM (SELECT to_json({})::text AS t) AS e)",
}
UNESCAPED = {
    "html": _replaced([(written, character) for character, written in reversed(HTML)]),
    # A quote that stands for itself is written as JSON has it first.
    "json": r"""(('"' || regexp_replace({}, '(?<!\\)"', '\\"', 'g') || '"')::jsonb #>> '{{}}')""",
}
LAST = """(SELECT CASE WHEN strpos(x.t, x.p) = 0 THEN -1
 ELSE length(x.t) - length(x.p) - strpos(reverse(x.t), reverse(x.p)) + 1 END
 FROM (SELECT {} AS t, {} AS p OFFSET 0) AS x WHERE x.t IS NOT NULL AND x.p IS NOT NULL)"""
DIGITS = r"length(regexp_replace({}, '(Z|[+-][0-9]{{2}}:[0-9]{{2}})$|[^0-9]', '', 'g'))"


def _in_format(name: str, formats: dict[str, str]) -> None:
    @function(name, arguments=1)
    def implementation(call: Invocation) -> Expr:
        form = call.text_constant(0).text_value
        if form not in formats:
            raise call.refused(
                f"does not know the format '{form}'",
                hint=f"Use one of {', '.join(formats)}.",
                code="unknown_format",
            )
        if not call.source.types:
            return Empty(span=call.span)
        _check_string(call)
        return TextCall(formats[form], (call.source,), span=call.span)


for _name, _formats in (
    ("encode", ENCODED),
    ("decode", DECODED),
    ("escape", ESCAPED),
    ("unescape", UNESCAPED),
):
    _in_format(_name, _formats)


def _check_string(call: Invocation) -> None:
    if call.source.kind != "string":
        raise call.refused("takes strings only", hint="Use toString() first.", code="not_a_string")


@function("lastIndexOf", arguments=1)
def last_index_of(call: Invocation) -> Expr:
    part = call.argument(0)
    if not call.source.types or not part.types:
        return Empty(span=call.span)
    _check_string(call)
    return TextCall(LAST, (call.source, part), "integer", span=call.span)


@function("precision")
def precision(call: Invocation) -> Expr:
    kind = call.source.kind
    if kind == "empty":
        return call.source
    if kind in ("integer", "decimal"):
        return TextCall("scale(({})::numeric)", (AsText(call.source),), "integer", span=call.span)
    if kind in DATES or kind == "time":
        return TextCall(DIGITS, (AsText(call.source),), "integer", span=call.span)
    raise call.refused(
        "works on decimal, date, dateTime and time only",
        hint="Narrow a choice element with ofType() first.",
    )


@function("trace", arguments=1, optional=1)
def trace(call: Invocation) -> Expr:
    """The items themselves: SQL has no log to write them to, and patients' data belong in none."""
    call.text_constant(0)
    return call.source


@function("coalesce", arguments=1, optional=8)
def coalesce(call: Invocation) -> Expr:
    options = [one for place in range(len(call.arguments)) if (one := call.argument(place)).types]
    if not options:
        return Empty(span=call.span)

    def before(otherwise: Expr, option: Expr) -> Expr:
        asked = existence_of(option, call.span)
        if option.many or otherwise.many:
            return ChosenItems(asked, option, otherwise, span=call.span)
        return chosen(asked, option, otherwise, call.span)

    return reduce(before, reversed(options[:-1]), options[-1])
