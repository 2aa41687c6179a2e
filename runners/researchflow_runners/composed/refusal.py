"""Refusals of SQL text: what, where, and what would be allowed."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from researchflow_runners.composed.grammar import CONSTRUCTS
from researchflow_runners.composed.syntax import Syntax, refused
from researchflow_runners.errors import Span, ViewDefinitionError
from researchflow_runners.naming import nearest

#: The word by which a refused construct is found, where its name is not what is written.
_FOUND_BY = {
    "SelectStmt.intoClause": "into",
    "SelectStmt.lockingClause": "for",
    "WithClause.recursive": "recursive",
}
_SELECT_HINT = (
    "Write one SELECT over the declared views: joins, subqueries, WITH, UNION, GROUP BY and windows"
    " may be used."
)
_HINTS = {
    "RangeVar.schemaname": "Write the view's name alone.",
    **dict.fromkeys(
        ("DeleteStmt", "InsertStmt", "UpdateStmt", "MergeStmt"),
        "Views are only read; cache_resources shows changes of resources. Write one SELECT.",
    ),
}
#: A longer list is no help: the nearest names are shown then, and how many more there are.
ALLOWED_SHOWN_MAX = 20
NEAREST_SHOWN = 3


class Refusals:
    """Makes the errors about one text; `field` is where the text stands."""

    def __init__(self, syntax: Syntax, field: str) -> None:
        self.field = field
        self._syntax = syntax

    def statements(self) -> ViewDefinitionError:
        """Not exactly one statement."""
        return self.make(
            f"the SQL holds {len(self._syntax.statements)} statements",
            "sql_statement",
            self._syntax.find(";") if self._syntax.statements else None,
            "Write exactly one SELECT.",
        )

    def construct(self, key: str, location: int | None) -> ViewDefinitionError:
        """A node, or a field of one, that no view may have."""
        name = CONSTRUCTS.get(key) or key.partition(".")[0].removesuffix("Stmt").upper()
        span = self._syntax.find(_FOUND_BY.get(key, name.lower()))
        return self.make(
            f"'{name}' is not allowed in SQL over views",
            "sql_construct",
            span or self._span(location),
            _HINTS.get(key, _SELECT_HINT),
        )

    def word(
        self,
        what: str,
        name: str,
        code: str,
        location: int | None,
        allowed: Collection[str],
        *,
        hint: str | None = None,
        words: int = 1,
        unguessed: Collection[str] = (),
    ) -> ViewDefinitionError:
        """A name, of so many words, that is not among those allowed.

        `unguessed` are those of which a name like theirs says nothing.
        """
        shown, more = _shown(name, allowed)
        guess = nearest(name, allowed)
        return self.make(
            f"{what} '{name}' is not allowed in SQL over views"
            if code.startswith("sql_")
            else f"there is no {what} '{name}' here",
            code,
            self._span(location, words),
            hint or f"Use one of the allowed names{more}.",
            allowed=shown,
            did_you_mean=None if guess in unguessed else guess,
        )

    def instead(
        self, function: str, location: int | None, hint: str, *, words: int = 1
    ) -> ViewDefinitionError:
        """A function of another dialect: what PostgreSQL has is told, and no name is guessed."""
        return self.make(
            f"the function '{function}' is not allowed in SQL over views",
            "sql_function",
            self._span(location, words),
            hint,
        )

    def at(
        self, message: str, code: str, place: int | str | None, hint: str
    ) -> ViewDefinitionError:
        """Any other refusal, at a node's location or at a word."""
        if isinstance(place, str):
            return self.make(message, code, self._syntax.find(place), hint)
        return self.make(message, code, self._span(place), hint)

    def make(
        self,
        message: str,
        code: str,
        span: Span | None,
        hint: str,
        *,
        allowed: Collection[str] = (),
        did_you_mean: str | None = None,
    ) -> ViewDefinitionError:
        """The error, at a place of the text."""
        return refused(
            message, code, self.field, span, hint, allowed=allowed, did_you_mean=did_you_mean
        )

    def quoted_hint(self, location: int | None) -> str | None:
        """What to do about a name in double quotes that is none: it was meant as a text."""
        span = self._span(location)
        written = self._syntax.text[span.start : span.end] if span else ""
        if not written.startswith('"'):
            return None
        return f"Write a text in single quotes: {written.replace(chr(34), chr(39))[:60]}."

    def _span(self, location: int | None, words: int = 1) -> Span | None:
        """The place; a node that the parser made up has none, or a negative one."""
        return None if location is None or location < 0 else self._syntax.span(location, words)


def _shown(name: str, allowed: Collection[str]) -> tuple[list[str], str]:
    """The names to show for this one, and what to say of those that are not."""
    if len(allowed) <= ALLOWED_SHOWN_MAX:
        return sorted(allowed), ""
    shown = get_close_matches(name.lower(), sorted(allowed), n=NEAREST_SHOWN, cutoff=0.0)
    return shown, f" or one of {len(allowed) - len(shown)} others"
