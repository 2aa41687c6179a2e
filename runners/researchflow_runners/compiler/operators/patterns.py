r"""`matches()`, `matchesFull()` and `replaceMatches()`: regular expressions.

FHIRPath prescribes no flavour and recommends PCRE; this is PostgreSQL's ARE, with what people
write in PCRE translated: `\b`, `\B`, `\z`, `\xhh`, named groups, and `$1`, `${1}`, `${name}` in the
substitution. What PostgreSQL has no like of is refused. `.` matches newlines; `^` and `$` match at
the ends of the whole string. Unlike in PCRE, of alternatives the one that matches most wins. The
pattern and the substitution are constants, so that what is wrong with them is known at once.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field

from researchflow_runners.compiler.expr import Expr, StringExpr
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.strings import TextCall
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.errors import FhirPathError
from researchflow_runners.sql import Sql, compose, param

TOKEN = re.compile(
    r"""\\x[0-9A-Fa-f]{2}|\\.|\[:\^?[a-z]+:\]|\[\^?\]?|\(\?P?<(?P<name>[A-Za-z_]\w*)>
    |\(\?(?:<?[=!]|:)|\(\?i\)|\(\?|\(|(?:[*+?]|\{\d+(?:,\d*)?\})\+|\{\d+(?:,\d*)?\}|.""",
    re.DOTALL | re.VERBOSE,
)
TRANSLATED = {r"\b": r"\y", r"\B": r"\Y", r"\z": r"\Z"}
#: What may follow a backslash, besides signs, and means the same in PCRE and in PostgreSQL.
ESCAPED = frozenset("dDwWsStnrfvAZ123456789")
ESCAPED_IN_BRACKETS = frozenset("dwstnrfvb")
REPEATED_MAX = 255
REFERENCE = re.compile(r"\\\$|\$(?:\{(?P<name>\w+)\}|(?P<number>\d))|\\")
GROUPS_MAX = 9


@dataclass
class Translation:
    """A pattern on its way from PCRE to PostgreSQL."""

    call: Invocation
    names: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    in_brackets: bool = False

    def of(self, pattern: str) -> str:
        """The pattern as PostgreSQL writes it; FhirPathError `invalid_pattern` otherwise."""
        _check_syntax(self.call, pattern)
        step = {True: self._inside, False: self._outside}
        return "".join(step[self.in_brackets](token) for token in TOKEN.finditer(pattern))

    def _inside(self, token: re.Match[str]) -> str:
        text = token.group()
        if text.startswith("[") and not text.startswith("[:"):
            # A bracket within brackets stands for itself.
            self.in_brackets = not text.endswith("]")
            return "\\" + text
        if text.startswith("\\"):
            return self._escape(text, ESCAPED_IN_BRACKETS)
        self.in_brackets = text != "]"
        return text

    def _outside(self, token: re.Match[str]) -> str:
        text = token.group()
        if text.startswith("\\"):
            return TRANSLATED.get(text) or self._escape(text, ESCAPED)
        if text.startswith("["):
            self.in_brackets = True
        elif text == "(" or token["name"]:
            self.groups += 1
            if token["name"]:
                self.names[token["name"]] = self.groups
            return "("
        elif _is_strange(token):
            raise self._refused(text)
        return text

    def _escape(self, text: str, known: frozenset[str]) -> str:
        if len(text) == 4:
            return f"\\u00{text[2:]}"
        if text[1].isalnum() and text[1] not in known:
            raise self._refused(text)
        return text

    def _refused(self, text: str) -> FhirPathError:
        return self.call.refused(
            f"does not know '{text}' in a regular expression",
            hint="Use classes, groups, alternatives and repetition up to 255 times.",
            code="invalid_pattern",
        )

    def substitution(self, text: str) -> str:
        """The substitution with its references to groups as PostgreSQL writes them."""
        return REFERENCE.sub(self._reference, text)

    def _reference(self, match: re.Match[str]) -> str:
        if match.group().startswith("\\"):
            return "$" if match.group() == r"\$" else r"\\"
        written = match["name"] or match["number"]
        number = int(written) if written.isdecimal() else self.names.get(written)
        if number is None or number > min(self.groups, GROUPS_MAX):
            raise self.call.refused(
                f"refers to '{match.group()}', which is no group of its pattern",
                hint=f"Refer to a named group or to one of the first {GROUPS_MAX} by number.",
                code="invalid_pattern",
            )
        return f"\\{number}" if number else r"\&"


def _is_strange(token: re.Match[str]) -> bool:
    """Options within the pattern, possessive repetition, and repetition beyond the limit."""
    text = token.group()
    if text.startswith("{") and any(int(n) > REPEATED_MAX for n in re.findall(r"\d+", text)):
        return True
    return text == "(?" or (text == "(?i)" and token.start() > 0) or text[1:].endswith("+")


def _check_syntax(call: Invocation, pattern: str) -> None:
    """Python's patterns are near enough to PCRE's to tell an open parenthesis."""
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(
                pattern.replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!")
            )
    except re.error as error:
        raise call.refused(
            f"has an invalid regular expression: {error.msg}",
            hint="Correct the pattern; a backslash in a FHIRPath string is written twice.",
            code="invalid_pattern",
        ) from error


@dataclass(frozen=True)
class Replaced(StringExpr):
    """The source with every match of a pattern replaced."""

    source: Expr
    pattern: str
    substitution: str

    def value(self) -> Sql:
        return compose(
            "regexp_replace({}, {}, {}, 'g')",
            self.source.text(),
            param(self.pattern, "text"),
            param(self.substitution, "text"),
        )


def _constants(call: Invocation) -> list[str] | None:
    """The texts of the arguments; None when the result is empty whatever the resource."""
    places = range(len(call.arguments))
    if not call.source.types or any(not call.argument(place).types for place in places):
        return None
    if call.source.kind != "string":
        raise call.refused("takes strings only", hint="Use toString() first.", code="not_a_string")
    return [call.text_constant(place).text_value for place in places]


@function("matches", arguments=1)
def matches(call: Invocation) -> Expr:
    texts = _constants(call)
    if texts is None:
        return Empty(span=call.span)
    pattern = Constant("System.String", Translation(call).of(texts[0]))
    return TextCall("({} ~ {})", (call.source, pattern), "boolean", span=call.span)


@function("matchesFull", arguments=1)
def matches_full(call: Invocation) -> Expr:
    texts = _constants(call)
    if texts is None:
        return Empty(span=call.span)
    # \A and \Z hold at the ends of the whole string.
    pattern = Constant("System.String", rf"\A(?:{Translation(call).of(texts[0])})\Z")
    return TextCall("({} ~ {})", (call.source, pattern), "boolean", span=call.span)


@function("replaceMatches", arguments=2)
def replace_matches(call: Invocation) -> Expr:
    texts = _constants(call)
    if texts is None:
        return Empty(span=call.span)
    if not texts[0]:
        return call.source
    translation = Translation(call)
    pattern = translation.of(texts[0])
    return Replaced(call.source, pattern, translation.substitution(texts[1]), span=call.span)
