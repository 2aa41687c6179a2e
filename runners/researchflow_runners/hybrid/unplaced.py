"""Times without an offset among the dates that a question filters or sorts by.

FHIR forbids such times, servers hold them. Filters and sorts read them as UTC, which may be wrong
by up to fourteen hours; the answer says how many there are. They are counted once for each anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from researchflow_runners.compiler.periods import without_offset
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.choice import Choice
from researchflow_runners.query.columns import event_dates
from researchflow_runners.query.model import Compare, InQuery, Query, SubQuery, Within
from researchflow_runners.query.reach import place_of
from researchflow_runners.query.walk import nodes_of
from researchflow_runners.sql import compose, ident
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import anchored_relation

#: FHIR types that have a time of day.
TIMED_TYPES = frozenset({"dateTime", "instant"})
COUNT = "SELECT count(*) FROM {} AS r WHERE {}"
HELD_MAX = 1_000


@dataclass
class UnplacedTimes:
    """Counts such times, and remembers the counts of anchors."""

    _held: dict[tuple[str, int, str], int] = field(default_factory=dict)

    async def warnings(
        self, session: Session, query: Query, choice: Choice, views: AnswerableViews
    ) -> tuple[str, ...]:
        """A sentence for each column that is filtered or sorted by and has such times."""
        found = []
        for view, column in _asked(query, views):
            count = await self._count(session, view, column, choice)
            if count:
                found.append(
                    f'"{column}" of view "{view.name}" has times without an offset, {count:,} at '
                    "this anchor; filters and sorts read them as UTC"
                )
        return tuple(found)

    async def _count(
        self, session: Session, view: PublishedView, column: str, choice: Choice
    ) -> int:
        key = (view.digest, choice.anchor, column)
        if key not in self._held:
            relation = choice.relation if choice.freshness != "live" else anchored_relation
            met = without_offset(ident("r", column))
            found = await session.fetchval(compose(COUNT, relation(view), met))
            if len(self._held) >= HELD_MAX:
                self._held.clear()
            self._held[key] = int(found)
        return self._held[key]


def _asked(query: Query, views: AnswerableViews) -> Iterator[tuple[PublishedView, str]]:
    """The columns with times that a query filters or sorts by, each once."""
    names = dict.fromkeys(
        [
            *_filtered(query, views),
            *((query.view, order.column) for order in query.order_by),
        ]
    )
    catalogue = {name: view.columns for name, view in views.items()}
    places = (place_of(view, column, catalogue) for view, column in names)
    for view_name, column_name in dict.fromkeys(places):
        view = views.get(view_name)
        column = view.column(column_name) if isinstance(view, PublishedView) else None
        if column is not None and column.has_range and column.fhir_type in TIMED_TYPES:
            assert isinstance(view, PublishedView)
            yield view, column_name


def _filtered(query: Query, views: AnswerableViews) -> Iterator[tuple[str, str]]:
    """The columns that filters compare and rows are chosen by, those of windows included."""
    yield from _chosen_by(query, views)
    for view, node in nodes_of(query):
        if isinstance(node, Compare):
            yield view, node.column
        elif isinstance(node, InQuery):
            yield from _chosen_by(node.query, views)
        elif isinstance(node, Within):
            window = node.within
            for name, dated in ((view, window.date), (window.of.view, window.of.date)):
                yield from ((name, column) for column in _dates(name, dated, views))


def _chosen_by(asked: Query | SubQuery, views: AnswerableViews) -> Iterator[tuple[str, str]]:
    for latest in (asked.latest_per, asked.first_per):
        if latest is not None:
            for column in _dates(asked.view, latest.by, views):
                yield asked.view, column


def _dates(view: str, name: str | None, views: AnswerableViews) -> list[str]:
    """The columns of a date in a window; names that there are not are refused later."""
    if name is not None:
        return [name]
    return [column.name for column in event_dates(views[view].columns)] if view in views else []
