"""The comparisons of a question by column, each with what else is asked of the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import filter_truth
from researchflow_runners.query.model import Compare, Filter, Query
from researchflow_runners.query.rows import FilterScope, Relations, Rows
from researchflow_runners.query.walk import Conjunct, conjuncts_of
from researchflow_runners.sql import EMPTY, Sql, compose, join

#: What is remembered of states; beyond this many, all is looked at anew.
HELD_MAX = 10_000
_PRESENCE = ("is_null", "not_null")

T = TypeVar("T")


class Remembered(Generic[T]):
    """What was found of a state, by key."""

    def __init__(self) -> None:
        self._held: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        """None for what is not known."""
        return self._held.get(key)

    def keep(self, key: str, found: T) -> None:
        """Forgets all others where they are too many."""
        if len(self._held) >= HELD_MAX:
            self._held.clear()
        self._held[key] = found


@dataclass(frozen=True)
class Compared:
    """What is asked of a column, in one conjunction, and what else its rows must meet.

    `apart` are columns of which rows with different values are never put together.
    """

    view: str
    column: Column
    own: tuple[Compare, ...]
    beside: tuple[Filter, ...]
    apart: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """What tells it from others of a state."""
        asked = sorted(one.model_dump_json() for one in (*self.own, *self.beside))
        return f"{self.view} {self.column.name} {asked} {self.apart}"

    def rows(self, scope: FilterScope) -> Rows:
        """Rows of its view, for a statement of its own."""
        scope.nodes = 0
        return scope.rows(self.view, at="view")

    def beside_sql(self, rows: Rows, scope: FilterScope) -> Sql:
        """` AND …` of what else is asked, empty for nothing."""
        others = [filter_truth(one, rows, scope, at="where", depth=1).holds for one in self.beside]
        return compose(" AND {}", join(" AND ", others)) if others else EMPTY


def compared_in(query: Query, catalogue: Catalogue, relations: Relations) -> list[Compared]:
    """Each once; what only asks whether there is a value is left out."""
    scope = FilterScope(catalogue, relations)
    found = {one.key: one for one in _compared(conjuncts_of(query), scope)}
    return list(found.values())


def _compared(conjuncts: Iterator[Conjunct], scope: FilterScope) -> Iterator[Compared]:
    for view, node, beside in conjuncts:
        if isinstance(node, Compare) and node.op not in _PRESENCE:
            column = scope.rows(view, at="view").column(node.column, at="where")
            own = [one for one in beside if isinstance(one, Compare) and _is_of(one, node)]
            others = [one for one in beside if one not in own]
            yield Compared(view, column, (node, *own), tuple(others))


def _is_of(one: Compare, node: Compare) -> bool:
    return one.column == node.column and one.op not in _PRESENCE
