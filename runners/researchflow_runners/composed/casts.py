"""Casts of computed text to dates: what is cast must be digits, for words may mean the clock.

`'today'` written out is refused where it stands. A text that becomes it only when it is computed
goes through ISO_TEXT, a domain that fails on anything but the signs of ISO 8601, on its way to the
date. A cast leaves the name of a column what it is, a function around it would not. A constant that
PostgreSQL reads as a date where nothing in the text says so is found when it is described.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_runners.composed.checked import Edit
from researchflow_runners.composed.refusal import Refusals
from researchflow_runners.composed.syntax import Syntax
from researchflow_runners.composed.vocabulary import (
    CLOCK_HINT,
    CLOCK_WORD,
    DATE_TYPES,
    DATED_FUNCTIONS,
)

#: Made by the schema's script.
ISO_TEXT = "researchflow.iso_text"
#: No text is the result of these.
_ARITHMETIC = frozenset("+-*/")
_NO_WORD_OF_TIME = "qqq"

Fields = Mapping[str, Any]


def guarded(fields: Fields, syntax: Syntax, refusals: Refusals) -> tuple[Edit, ...]:
    """What to write more at a TypeCast; nothing where no text is computed.

    ViewDefinitionError `sql_clock` for an array of dates that is computed.
    """
    kind = fields["typeName"]
    if _last(kind["names"]) not in DATE_TYPES or not _may_be_text(fields["arg"]):
        return ()
    if "arrayBounds" in kind:
        raise refusals.at(
            "an array of dates is cast from computed text",
            "sql_clock",
            fields.get("location"),
            f"Cast each element: ARRAY[a::date, b::date]. {CLOCK_HINT}",
        )
    start = syntax.place(fields["location"])
    if syntax.text.startswith("::", start):
        return (Edit(start, start, f"::{ISO_TEXT}"),)
    end = _as_of(syntax, start)
    return Edit(start, start, "CAST("), Edit(end, end, f"AS {ISO_TEXT}) ")


def clock_probe(fields: Fields, syntax: Syntax) -> tuple[Edit, ...]:
    """What stands for a constant while PostgreSQL describes the text: none of the words that would
    mean the clock where the constant is read as a date, so that it is refused there."""
    text = fields.get("sval", {}).get("sval", "")
    if not CLOCK_WORD.search(text):
        return ()
    span = syntax.span(fields["location"])
    harmless = CLOCK_WORD.sub(_NO_WORD_OF_TIME, text).replace("'", "''")
    return (Edit(span.start, span.end, f"'{harmless}'"),)


def _may_be_text(wrapped: Fields) -> bool:
    """Whether an expression may give a text that is not written out."""
    kind, fields = next(iter(wrapped.items()))
    if kind == "A_Const":
        return False
    if kind == "A_ArrayExpr":
        return any(map(_may_be_text, fields.get("elements", ())))
    if kind == "TypeCast":
        is_dated = _last(fields["typeName"]["names"]) in DATE_TYPES | {"interval"}
        return not is_dated
    if kind == "FuncCall":
        return _last(fields["funcname"]) not in DATED_FUNCTIONS
    is_arithmetic = kind == "A_Expr" and fields["kind"] == "AEXPR_OP"
    return not (is_arithmetic and _last(fields["name"]) in _ARITHMETIC)


def _as_of(syntax: Syntax, start: int) -> int:
    """Where the AS of the CAST stands that begins at a character."""
    depth = 0
    for token in syntax.tokens:
        if token.start <= start:
            continue
        word = syntax.text[token.start : token.end].lower()
        depth += (word == "(") - (word == ")")
        if depth == 1 and word == "as":
            return token.start
    raise AssertionError("a CAST without AS has no tree")


def _last(names: Sequence[Fields]) -> str:
    return str(names[-1]["String"]["sval"])
