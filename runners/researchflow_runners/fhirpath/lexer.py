"""Text to tokens, each with its span."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.fhirpath.calendar import exists

EXPRESSION_LENGTH_MAX = 10_000

TokenKind = Literal[
    "name", "quoted_name", "string", "number", "date", "dateTime", "time", "external", "special",
    "symbol", "end",
]  # fmt: skip

TOKEN = re.compile(
    r"""
      (?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<dateTime>@\d{4}(?:-\d\d(?:-\d\d)?)?T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?
        (?:Z|[+-]\d\d:\d\d)?)?)
    | (?P<time>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
    | (?P<date>@\d{4}(?:-\d\d(?:-\d\d)?)?)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<external>%(?:[A-Za-z_][A-Za-z0-9_]*|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'))
    | (?P<special>\$[a-z]+)
    | (?P<quoted_name>`(?:[^`\\]|\\.)*`)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<symbol><=|>=|!=|!~|[=~<>+\-*/|&.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(
    r"\\(u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)", re.DOTALL
)
SURROGATES = re.compile("[\ud800-\udfff]")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is unquoted and unescaped, without `@`, `%` and backquotes."""

    kind: TokenKind
    text: str
    span: Span


def tokenize(text: str) -> list[Token]:
    """The tokens of an expression, an `end` token last.

    Raises FhirPathError `syntax` at the first character that starts no token.
    """
    if len(text) > EXPRESSION_LENGTH_MAX:
        raise FhirPathError(
            f"the expression has more than {EXPRESSION_LENGTH_MAX} characters",
            code="expression_too_long",
            hint="Split the expression over several columns or selects.",
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise unexpected_character(text, position)
        if match.lastgroup != "skip":
            tokens.append(_token(match))
        position = match.end()
    tokens.append(Token("end", "", Span(len(text), len(text))))
    return tokens


def unexpected_character(text: str, position: int) -> FhirPathError:
    """The error for a character that starts no token."""
    return FhirPathError(
        f"unexpected character '{text[position]}' at position {position}",
        code="syntax",
        hint="Check quotes and escapes; strings take single quotes.",
        span=Span(position, position + 1),
    )


def _token(match: re.Match[str]) -> Token:
    kind: TokenKind = match.lastgroup  # type: ignore[assignment]  # group names are the kinds
    raw = match.group()
    if kind == "string" or kind == "quoted_name":
        text = unescape(raw[1:-1])
    elif kind == "external":
        text = unescape(raw[2:-1]) if raw[1] in "`'" else raw[1:]
    elif kind in ("date", "dateTime"):
        text = raw[1:]
    elif kind == "time":
        text = raw[2:]
    else:
        text = raw
    span = Span(match.start(), match.end())
    _check_characters(text, span)
    if kind in ("date", "dateTime", "time") and not exists(kind, text):
        raise FhirPathError(
            f"there is no {kind} '{raw}'",
            code="syntax",
            hint="Correct the month, day, hour, minute or offset.",
            span=span,
        )
    return Token(kind, text, span)


def _check_characters(text: str, span: Span) -> None:
    """Refuses half of a character, which is no text."""
    if SURROGATES.search(text):
        raise FhirPathError(
            "a string holds half of a character",
            code="syntax",
            hint="Write a character beyond U+FFFF itself, or as its two \\u escapes together.",
            span=span,
        )


def unescape(text: str) -> str:
    """The text that FHIRPath escapes such as `\\n` and `\\u00e9` stand for.

    Two escaped halves one after the other are one character beyond U+FFFF.
    """

    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if len(code) == 1:
            return ESCAPES.get(code, code)
        halves = (int(half, 16).to_bytes(2, "big") for half in code[1:].split("\\u"))
        return b"".join(halves).decode("utf-16-be", "surrogatepass")

    return ESCAPE.sub(one, text)
