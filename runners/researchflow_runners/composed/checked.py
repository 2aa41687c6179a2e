"""A SQL text that passed the check, ready to stand in a statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from researchflow_runners.composed.syntax import Syntax
from researchflow_runners.errors import Span
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param


@dataclass(frozen=True, slots=True)
class Edit:
    """Other text for the characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class CheckedSql:
    """`labels` gives the declared label by the name it is read as; `columns_read` are the names of
    all columns it reads, None when that may be every one.

    `edits` are what runs instead of some characters, in order; `probes` what stands for constants
    that would mean the clock if they were read as dates, when PostgreSQL describes the text.
    """

    syntax: Syntax
    tree: Mapping[str, Any]
    labels: Mapping[str, str]
    columns_read: frozenset[str] | None
    parameter_types: Mapping[str, str]
    edits: tuple[Edit, ...]
    probes: tuple[Edit, ...]

    def sql(self, values: Mapping[str, Any] | None = None) -> Sql:
        """The SELECT, with a value for each parameter it uses; KeyError when one lacks.

        The one place where text that a user wrote becomes SQL: it is the text that was checked,
        without comments and semicolons.
        """
        return join("", (piece for _place, piece in self._pieces(values or {}, self.edits)))

    def probe(self, values: Mapping[str, Any] | None = None) -> Sql:
        """The SELECT to be described, never run: no constant of it names a day or the moment."""
        return join("", (piece for _place, piece in self._pieces(values or {}, self._probing)))

    def over_nulls(self) -> CheckedSql:
        """The text with a null of its type for each parameter: what it is made of, not its rows."""
        nulls = [
            Edit(start, start + len(name) + 1, f"NULL::{self.parameter_types[name]}")
            for start, name in self.syntax.parameters.items()
        ]
        return replace(
            self,
            syntax=replace(self.syntax, parameters={}),
            edits=tuple(sorted((*self.edits, *nulls), key=lambda one: one.start)),
        )

    def span_at(self, position: int, values: Mapping[str, Any] | None = None) -> Span | None:
        """The token of the text that stands at a character of the rendered `probe(values)`."""
        before, done = 0, EMPTY
        for place, piece in self._pieces(values or {}, self._probing):
            done = compose("{}{}", done, piece)
            after = len(done.render()[0])
            if position < after:
                return self._token_at(place + position - before, place)
            before = after
        return None

    def _token_at(self, *places: int) -> Span | None:
        """The token at the first of the places that has one."""
        for place in places:
            for token in self.syntax.tokens:
                if token.start <= place < token.end:
                    return token.span
        return None

    @property
    def _probing(self) -> tuple[Edit, ...]:
        return self.edits + self.probes

    def _pieces(
        self, values: Mapping[str, Any], edits: Sequence[Edit]
    ) -> Iterator[tuple[int, Sql]]:
        """The SELECT in parts, each with the character of the text where it begins."""
        position = 0
        for start, end, instead in self._replacements(edits):
            yield position, fixed(self.syntax.masked[position:start])
            yield start, self._parameter(start, values) if instead is None else fixed(instead)
            position = end
        yield position, fixed(self.syntax.masked[position:])

    def _replacements(self, edits: Sequence[Edit]) -> list[tuple[int, int, str | None]]:
        """Edits, semicolons and parameters (None) in order of their places."""
        signs = [
            (token.start, token.end, " ")
            for token in self.syntax.tokens
            if token.kind == "ASCII_59"
        ]
        texts = [(edit.start, edit.end, edit.text) for edit in edits]
        named = [
            (start, start + len(name) + 1, None) for start, name in self.syntax.parameters.items()
        ]
        return sorted([*signs, *texts, *named], key=lambda one: one[0])

    def _parameter(self, start: int, values: Mapping[str, Any]) -> Sql:
        name = self.syntax.parameters[start]
        return param(values[name], self.parameter_types[name])
