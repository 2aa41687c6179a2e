"""SQL text as tokens and as PostgreSQL's own parse tree; the one place that knows the parser.

Everything here keeps places: masked text has the length of the original, so a place in a tree is
a place in the text that somebody wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse, scan
from postgast.pg_query_pb2 import Token as TokenKind

from researchflow_runners.composed.dialects import parse_hint
from researchflow_runners.errors import Span, ViewDefinitionError
from researchflow_runners.naming import nearest

SQL_CHARS_MAX = 20_000
TOKENS_MAX = 5_000
#: Texts of which the relations are remembered.
TEXTS_KEPT = 256
_PARAMETER_HINT = (
    'query_sql takes the value of :name as "parameters": {"name": …}, a definition its type:'
    ' {"name": "date"}.'
)
_COMMENTS = ("SQL_COMMENT", "C_COMMENT")
_COLON = "ASCII_58"
_PARAMETER = "PARAM"
#: Before a colon that divides the bounds of an array slice: a value, or `[`.
_BEFORE_SLICE = frozenset({"IDENT", "ICONST", "ASCII_41", "ASCII_91", "ASCII_93"})
#: What stands for a named parameter while the tree is made; its place tells which one it is.
_PLACEHOLDER = "$1"


@dataclass(frozen=True, slots=True)
class Token:
    """One word, sign or constant of the text; `kind` is the lexer's name for it."""

    start: int
    end: int
    kind: str

    @property
    def span(self) -> Span:
        """Where it stands."""
        return Span(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Syntax:
    """A text that parses, without its comments.

    `masked` is the text with comments as blanks and `$1` for each parameter, of which
    `parameters` tells the name by place. `statements` are wrapped nodes of the parse tree.
    """

    text: str
    masked: str
    tokens: tuple[Token, ...]
    parameters: Mapping[int, str]
    statements: tuple[Mapping[str, Any], ...]
    places: tuple[int, ...] | None

    def place(self, location: int) -> int:
        """The character at which a node's `location`, which counts bytes, begins."""
        return location if self.places is None else self.places[location]

    def span(self, location: int, words: int = 1) -> Span:
        """The token at a node's `location`, or the dotted name of so many words."""
        start = self.place(location)
        following = [token for token in self.tokens if token.end > start][: 2 * words - 1]
        return Span(start, following[-1].end if following else len(self.text))

    def find(self, word: str) -> Span | None:
        """The first place of a word."""
        found = (t for t in self.tokens if self.text[t.start : t.end].lower() == word.lower())
        return next((token.span for token in found), None)


def read_sql(text: str, *, parameters: Collection[str], field: str) -> Syntax:
    """The text as tokens and tree.

    `:name` is a parameter, but for the colon of an array slice.
    Raises ViewDefinitionError `sql_too_large`, `sql_syntax` or `unknown_parameter`.
    """
    if "\x00" in text:
        raise refused("the SQL holds a NUL character", "sql_syntax", field, None, "Remove it.")
    if len(text) > SQL_CHARS_MAX:
        raise too_large(f"{SQL_CHARS_MAX} characters", field)
    everything = _scanned(text, field)
    tokens = tuple(token for token in everything if token.kind not in _COMMENTS)
    if len(tokens) > TOKENS_MAX:
        raise too_large(f"{TOKENS_MAX} words", field)
    named = _parameters(text, tokens, parameters, field)
    masked = _masked(text, everything, named)
    return Syntax(
        text=text,
        masked=masked,
        tokens=tokens,
        parameters={start: text[start + 1 : end] for start, end in named},
        statements=_statements(masked, text, tokens, field),
        places=None if text.isascii() else _places(masked),
    )


@lru_cache(maxsize=TEXTS_KEPT)
def relations_named(
    text: str, parameters: frozenset[str], *, field: str
) -> tuple[frozenset[str], frozenset[str]]:
    """The names after FROM and JOIN, and those among them that no WITH query has; as read_sql."""
    statements = read_sql(text, parameters=parameters, field=field).statements
    found: dict[str, set[str]] = {"RangeVar": set(), "CommonTableExpr": set()}
    pending: list[Any] = list(statements)
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for kind, name in (("RangeVar", "relname"), ("CommonTableExpr", "ctename")):
                if kind in node:
                    found[kind].add(node[kind].get(name, ""))
            pending.extend(node.values())
    read = frozenset(found["RangeVar"])
    return read, read - found["CommonTableExpr"]


def _scanned(text: str, field: str) -> tuple[Token, ...]:
    """Every token, comments too."""
    try:
        found = scan(text).tokens
    except PgQueryError as error:
        raise _unparsed(error, text, (), field) from error
    places = _places(text)
    return tuple(
        Token(places[one.start], places[one.end], TokenKind.Name(one.token)) for one in found
    )


def too_large(most: str, field: str) -> ViewDefinitionError:
    """The refusal of a text beyond its bounds."""
    return refused(
        f"the SQL has more than {most}",
        "sql_too_large",
        field,
        None,
        "Split it into several composed views.",
    )


def _parameters(
    text: str, tokens: tuple[Token, ...], declared: Collection[str], field: str
) -> list[tuple[int, int]]:
    """Where named parameters stand, the colon included."""
    found: list[tuple[int, int]] = []
    for number, token in enumerate(tokens):
        if token.kind == _PARAMETER:
            raise refused(
                f"the parameter '{text[token.start : token.end]}' has a number",
                "unknown_parameter",
                field,
                token.span,
                f"Write it by name. {_PARAMETER_HINT}",
            )
        if token.kind != _COLON or number + 1 == len(tokens):
            continue
        word = tokens[number + 1]
        name = text[word.start : word.end]
        if word.start != token.end or not name.isidentifier():
            continue
        if number and tokens[number - 1].kind in _BEFORE_SLICE:
            continue
        if name in declared:
            found.append((token.start, word.end))
        else:
            raise refused(
                f"no parameter '{name}' is declared",
                "unknown_parameter",
                field,
                Span(token.start, word.end),
                _PARAMETER_HINT,
                allowed=sorted(declared),
                did_you_mean=nearest(name, declared),
            )
    return found


def _masked(text: str, tokens: tuple[Token, ...], named: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    position = 0
    blanks = [(t.start, t.end, _blank(text[t.start : t.end])) for t in tokens if _is_comment(t)]
    marks = [(start, end, _PLACEHOLDER.ljust(end - start)) for start, end in named]
    for start, end, instead in sorted(blanks + marks):
        parts += [text[position:start], instead]
        position = end
    return "".join([*parts, text[position:]])


def _is_comment(token: Token) -> bool:
    return token.kind in _COMMENTS


def _blank(comment: str) -> str:
    """Blanks as wide as the comment; line ends stay, they join constants."""
    return "".join(sign if sign in "\r\n" else " " for sign in comment)


def _statements(
    masked: str, text: str, tokens: tuple[Token, ...], field: str
) -> tuple[Mapping[str, Any], ...]:
    try:
        parsed = MessageToDict(parse(masked))
    except PgQueryError as error:
        raise _unparsed(error, text, tokens, field) from error
    except DecodeError as error:
        raise too_large("some forty levels", field) from error
    return tuple(statement["stmt"] for statement in parsed.get("stmts", ()))


def _places(text: str) -> tuple[int, ...]:
    """The character of each byte of the UTF-8 text, and of its end."""
    places = [number for number, sign in enumerate(text) for _byte in sign.encode()]
    return (*places, len(text))


def _unparsed(
    error: PgQueryError, text: str, tokens: tuple[Token, ...], field: str
) -> ViewDefinitionError:
    start = error.cursorpos - 1
    span, near = None, "its end"
    if 0 <= start < len(text):
        token = next((one for one in tokens if one.start <= start < one.end), None)
        span = token.span if token else Span(start, len(text))
        near = f"'{text[span.start : span.end][:40]}'"
    return refused(
        f"the SQL is not a statement of PostgreSQL near {near}",
        "sql_syntax",
        field,
        span,
        parse_hint(text),
    )


def refused(
    message: str,
    code: str,
    field: str,
    span: Span | None,
    hint: str,
    *,
    allowed: Collection[str] = (),
    did_you_mean: str | None = None,
) -> ViewDefinitionError:
    """The error about a text that stands at `field`, at a place of it."""
    return ViewDefinitionError(
        message,
        code=code,
        field=field,
        span=span,
        hint=hint,
        allowed=tuple(allowed),
        did_you_mean=did_you_mean,
    )
