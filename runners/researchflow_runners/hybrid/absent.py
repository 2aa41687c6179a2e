"""Filters that no row meets: why an answer of nothing, or of everything, may be a mistake.

An answer of nothing is looked into then and there, so one with rows costs nothing more. What it
hides is asked of it all the same: a branch that matches nothing while others do, an exclusion that
excludes nobody. Such a branch is looked at once for each anchor and remembered while it matches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Sequence
from datetime import date
from typing import TypeVar

from researchflow_runners.errors import QueryError, StoreError
from researchflow_runners.hybrid.occurring import told
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import filter_truth
from researchflow_runners.query.model import (
    AnyOf,
    AtLeast,
    Compare,
    Filter,
    InQuery,
    Not,
    Query,
)
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.query.statement import Page
from researchflow_runners.query.walk import Placed, filters_of, other_of, parts_of
from researchflow_runners.sql import Sql, compose, join
from researchflow_runners.store.database import Session

PROBES_MAX = 12
WARNINGS_MAX = 4
#: For one look beside an answer.
LOOK_MS = 500
UNKNOWN_WHY = "which filter no row meets takes too long to tell: ask about them one at a time"
#: Branches that are settled; beyond this many, all are looked at anew.
HELD_MAX = 10_000

T = TypeVar("T")

_EXISTS = "EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {holds})"


def is_nothing(page: Page, *, is_one_row: bool) -> bool:
    """Whether the page is an answer of nothing: no rows, or counts that are all 0.

    `is_one_row` says that there is one row whatever the question finds.
    """
    if is_one_row:
        return all(value in (0, None) for row in page.rows for value in row)
    return not page.rows


class Absent:
    """Says which filters no row meets; remembers the branches that some row meets, and those of
    which that takes too long to tell."""

    def __init__(self) -> None:
        self._settled: set[str] = set()

    async def warnings(
        self,
        session: Session,
        query: Query,
        page: Page,
        catalogue: Catalogue,
        relations: Relations,
        *,
        state: str | None,
        on: date,
    ) -> tuple[str, ...]:
        """A sentence for each, on the day `on`; `state` tells the anchor and the definitions that
        are read, None where they are not the same twice."""
        filters = filters_of(query)
        if not filters or query.cursor is not None:
            return ()
        look = Look(session, catalogue, relations, on)
        is_one_row = bool(query.aggregates) and not query.group_by
        if is_nothing(page, is_one_row=is_one_row):
            needed = [one for own in filters for one in _needed(query.view, own)]
            said = await in_time(session, look.into(needed))
            return (UNKNOWN_WHY,) if said is None else said
        keys = {
            f"{state} {placed.view} {placed.node.model_dump_json()}": placed
            for own in filters
            for placed in _hidden(query.view, own)
        }
        unknown = [key for key in keys if key not in self._settled][:PROBES_MAX]
        if not unknown:
            return ()
        branches = [keys[key] for key in unknown]
        found = await in_time(session, look.into_empty(branches))
        empty, said = ([], ()) if found is None else found
        if state is not None:
            self._settle(key for key in unknown if keys[key] not in empty)
        return said

    def _settle(self, keys: Iterable[str]) -> None:
        if len(self._settled) > HELD_MAX:
            self._settled.clear()
        self._settled.update(keys)


async def in_time(session: Session, look: Awaitable[T]) -> T | None:
    """What a look finds; None when a statement of it takes too long to be asked beside an answer.

    A composed view is computed anew for each.
    """
    try:
        async with session.undone(settings=f"SET LOCAL statement_timeout = {LOOK_MS}"):
            return await look
    except StoreError as error:
        if error.code != "statement_timeout":
            raise
        return None


async def absent_among(
    session: Session, placed: Sequence[Placed], catalogue: Catalogue, relations: Relations
) -> tuple[str, ...]:
    """A sentence for each comparison of a SQL text that no row of its view meets.

    One that a filter could not make is left out; what FHIR excludes is told in FHIR's words.
    """
    said: dict[str, None] = {}
    possible = []
    for one in placed:
        scope = FilterScope(catalogue, relations)
        try:
            filter_truth(one.node, scope.rows(one.view, at="view"), scope, at="sql", depth=1)
        except QueryError as error:
            if error.code == "value_never_matches":
                said[f"{error.message}: {error.hint}"] = None
        else:
            possible.append(one)
    look = Look(session, catalogue, relations)
    told_of = await in_time(session, look.into(possible)) if possible else ()
    return (*said, *(told_of or ()))


class Look:
    """Probes into one snapshot."""

    def __init__(
        self,
        session: Session,
        catalogue: Catalogue,
        relations: Relations,
        on: date | None = None,
    ) -> None:
        """`on` is the day of ages, where a filter may tell some."""
        self._on = on
        self._session = session
        self._catalogue = catalogue
        self._relations = relations

    async def into(self, needed: Sequence[Placed]) -> tuple[str, ...]:
        """A sentence for each of the first of these filters that no row of its view meets."""
        looked_at = needed[:PROBES_MAX]
        found: dict[str, None] = {}
        explained: set[str] = set()
        for placed, is_met in zip(looked_at, await self.matches(looked_at), strict=True):
            if is_met:
                continue
            if isinstance(placed.node, Compare):
                found[await self._told(placed.view, placed.node)] = None
            elif placed.view not in explained:
                said = f'no row of view "{placed.view}" meets all that is asked of it together'
                found[said] = None
            explained.add(placed.view)
        return tuple(found)[:WARNINGS_MAX]

    async def into_empty(
        self, branches: Sequence[Placed]
    ) -> tuple[Sequence[Placed], tuple[str, ...]]:
        """Those that no row meets, and a sentence for each reason."""
        met = await self.matches(branches)
        empty = [one for one, is_met in zip(branches, met, strict=True) if not is_met]
        return empty, await self.into([part for one in empty for part in _needed_whole(*one)])

    async def matches(self, placed: Sequence[Placed]) -> list[bool]:
        """Whether some row of its view meets each."""
        if not placed:
            return []
        scope = FilterScope(self._catalogue, self._relations, on=self._on)
        probes = join(", ", [_exists(one, scope) for one in placed])
        row = await self._session.fetchrow(compose("{}SELECT {}", scope.with_sql(), probes))
        assert row is not None
        return list(row)

    async def _told(self, view: str, compare: Compare) -> str:
        scope = FilterScope(self._catalogue, self._relations, on=self._on)
        return await told(self._session, compare, scope.rows(view, at="view"), scope)


def _exists(placed: Placed, scope: FilterScope) -> Sql:
    # Each is a question of its own, that the bound on filters has let pass.
    scope.nodes = 0
    rows = scope.rows(placed.view, at="view")
    holds = filter_truth(placed.node, rows, scope, at="where", depth=1).holds
    return compose(_EXISTS, relation=rows.relation(scope), alias=rows.alias, holds=holds)


def _needed(view: str, node: Filter) -> Iterator[Placed]:
    """What some row must meet for one to be found: comparisons, and filters of other views."""
    if isinstance(node, Compare):
        yield Placed(view, node)
    elif not isinstance(node, Not):
        for part in parts_of(node):
            yield from _needed(view, part)
        yield from _needed_elsewhere(node)


def _needed_elsewhere(node: Filter) -> Iterator[Placed]:
    other = other_of(node)
    excludes = isinstance(node, InQuery) and node.op == "not_in"
    if other is not None and not excludes:
        for where in filters_of(other):
            yield from _needed_whole(other.view, where)


def _needed_whole(view: str, where: Filter) -> Iterator[Placed]:
    """The parts of a filter that must be met, then all of it."""
    yield from _needed(view, where)
    if not isinstance(where, Compare):
        yield Placed(view, where)


def _hidden(view: str, node: Filter, *, is_shown: bool = True) -> Iterator[Placed]:
    """The branches of which an answer with rows does not show that they match nothing.

    `is_shown` tells that the answer would have no row if the node matched none.
    """
    if isinstance(node, Not):
        is_shown = False
    elif isinstance(node, AnyOf | AtLeast):
        parts = parts_of(node)
        is_shown = is_shown and len(parts) == 1
        if isinstance(node, AtLeast):
            yield from (Placed(view, part) for part in parts if not isinstance(part, Not))
    for part in parts_of(node):
        yield from _hidden(view, part, is_shown=is_shown)
    other = other_of(node)
    if other is None:
        return
    excludes = isinstance(node, InQuery) and node.op == "not_in"
    for where in filters_of(other):
        if excludes or not is_shown:
            yield Placed(other.view, where)
        yield from _hidden(other.view, where)
