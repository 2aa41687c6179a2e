"""What an answer about codes stands on: the views it looks at, and the codes that the index lacks.

The index holds the codes of every materialised view as of the current anchor. What the overlay adds
and takes away is counted beside it, in the same snapshot. A view that is not counted yet, and a
composed view that is named, are counted from their rows, which takes as long as that takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from researchflow_runners.codes.coded import patient_column
from researchflow_runners.codes.counting import waiting_sql, whole_sql
from researchflow_runners.codes.index import indexed_tables
from researchflow_runners.codes.search import CodeCount, Key, counts_of
from researchflow_runners.codes.words import words_of
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.answerable import AnswerableViews, relation_of
from researchflow_runners.hybrid.choice import merged_relation
from researchflow_runners.hybrid.facts import Facts
from researchflow_runners.hybrid.materialized import MaterializedViewRunner
from researchflow_runners.query.columns import find_view
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import anchored_relation


@dataclass(frozen=True, slots=True)
class Place:
    """A view whose codes are looked at; a negative `table_id` tells that the index lacks it."""

    view: str
    table_id: int
    last_anchor: int | None
    has_patients: bool


@dataclass(slots=True)
class Move:
    """What waiting changes, or rows that are not counted yet, do to one code's counts."""

    patients: int = 0
    displays: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ground:
    """The places by their numbers, and the codes that are not, or not so, in the index.

    `facts` are those of the views; `is_live` tells that waiting changes are merged. `said` has the
    words of every display of what moved.
    """

    facts: Facts
    places: Mapping[int, Place]
    is_live: bool
    moved: Mapping[Key, Move]
    said: frozenset[tuple[Key, tuple[str, ...]]]

    @property
    def tables(self) -> list[int]:
        """The tables that the index answers for."""
        return [number for number in self.places if number > 0]

    @property
    def counted(self) -> list[str]:
        """The views that were counted from their rows."""
        return [place.view for number, place in self.places.items() if number < 0]

    @property
    def aside(self) -> list[Place]:
        """The places that are set aside, whose codes are those of an earlier anchor."""
        return [place for place in self.places.values() if place.last_anchor is not None]


async def read_ground(session: Session, runner: MaterializedViewRunner, view: str | None) -> Ground:
    """The ground of all materialised views, or of one view of any kind.

    QueryError `unknown_view`, `view_not_published`.
    """
    names, facts, views = await runner.facts(session, partial(_names, view))
    if view is not None:
        find_view(view, {name: one.columns for name, one in views.items()}, field="view")
    if facts.anchor is None or not names:
        raise _nothing_published()
    reader = _Reader(session, views, facts, runner.use_speed_layer)
    async with runner.written_by_users(session, names, views):
        places, moved = await reader.read(names)
    if runner.use_speed_layer:
        facts = facts.merged()
    said = frozenset(
        (key, _words(key, display)) for key, move in moved.items() for display in move.displays
    )
    return Ground(facts, places, runner.use_speed_layer, moved, said)


def _names(view: str | None, views: AnswerableViews) -> list[str]:
    if view is not None:
        return [view] if view in views else []
    return [name for name, one in views.items() if isinstance(one, PublishedView)]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads places and moved codes in one snapshot."""

    session: Session
    views: AnswerableViews
    facts: Facts
    is_live: bool

    async def read(self, names: Sequence[str]) -> tuple[dict[int, Place], dict[Key, Move]]:
        tables = await indexed_tables(self.session)
        places: dict[int, Place] = {}
        moved: dict[Key, Move] = {}
        for number, name in enumerate(names, start=1):
            place = self._place(name, tables, number)
            places[place.table_id] = place
            await self._note_moves(place, moved)
        return places, moved

    def _place(self, name: str, tables: Mapping[str, int], number: int) -> Place:
        view = self.views[name]
        if not isinstance(view, PublishedView):
            return Place(name, -number, None, patient_column(view.columns, None) is not None)
        patient = patient_column(view.columns, view.resource_type)
        table_id = tables.get(view.base_table, -number)
        return Place(name, table_id, view.last_anchor, patient is not None)

    async def _note_moves(self, place: Place, moved: dict[Key, Move]) -> None:
        view = self.views[place.view]
        if place.table_id < 0:
            type_ = view.resource_type if isinstance(view, PublishedView) else None
            sql = whole_sql(view.columns, type_, self._rows(place.view))
        elif self.is_live and isinstance(view, PublishedView) and self._waits(view):
            sql = waiting_sql(view)
        else:
            return
        rows = await self.session.fetch(sql) if sql else []
        for column, system, code, display, row_count, patient_count in rows:
            move = moved.setdefault((place.table_id, column, system, code), Move())
            move.patients += int(patient_count)
            if display is not None:
                move.displays[display] = int(row_count)

    def _waits(self, view: PublishedView) -> bool:
        return view.last_anchor is None and view.resource_type in self.facts.waiting_types

    def _rows(self, name: str) -> Sql:
        """The rows of a view, merged but where it is set aside."""

        def relation(view: PublishedView) -> Sql:
            if not self.is_live or view.last_anchor is not None:
                return anchored_relation(view)
            return merged_relation(view, facts=self.facts)

        columns = [column.name for column in self.views[name].columns]
        return relation_of(name, columns, self.views, relation)


async def settled(session: Session, ground: Ground, keys: Collection[Key]) -> list[CodeCount]:
    """These moved codes as they are with what the index has of them; some may be in no row."""
    before = await counts_of(session, [key for key in keys if key[0] > 0])
    found = []
    for key in keys:
        move = ground.moved[key]
        count, said = before.get(key, (None, {}))
        told = {
            one: said.get(one, 0) + move.displays.get(one, 0) for one in {**said, **move.displays}
        }
        found.append(_count(key, told, (count.patients if count else 0) + move.patients))
    return found


def _words(key: Key, display: str) -> tuple[str, ...]:
    """The words by which a code with that display is found: without one its own, if it is none of
    digits."""
    return words_of(display or (key[3] if any(map(str.isalpha, key[3])) else ""))


def _count(key: Key, displays: Mapping[str, int], patients: int) -> CodeCount:
    said = {display: rows for display, rows in displays.items() if rows > 0}
    named = sorted((display for display in said if display), key=lambda one: (-said[one], one))
    words = frozenset(word for display in said for word in _words(key, display))
    return CodeCount(*key, named[0] if named else None, sum(said.values()), patients, words)


def _nothing_published() -> QueryError:
    return QueryError(
        "no view is materialised, so no codes are known",
        code="view_not_published",
        hint="run refresh_views first",
        field="view",
    )
