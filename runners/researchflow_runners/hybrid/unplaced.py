"""Times without an offset among the dates that a question filters, sorts, groups or counts by.

FHIR forbids such times, servers hold them. All of these read them as UTC, which may be wrong
by up to fourteen hours; the answer says how many there are. They are counted once for each anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from researchflow_runners.compiler.periods import without_offset
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.choice import Choice
from researchflow_runners.query.columns import event_dates
from researchflow_runners.query.group_model import AgeGroup, Bucket
from researchflow_runners.query.model import Compare, InQuery, Query, SubQuery, Within
from researchflow_runners.query.reach import place_of
from researchflow_runners.query.walk import OF_COLUMN, nodes_of
from researchflow_runners.sql import compose, ident
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import anchored_relation

#: FHIR types that have a time of day.
TIMED_TYPES = frozenset({"dateTime", "instant"})
COUNT = "SELECT count(*) FROM {} AS r WHERE {}"
HELD_MAX = 1_000
#: Aggregates of the values that come first or last by date, and those that compare dates.
BY_DATE = frozenset({"first", "last", "change"})
OF_DATES = OF_COLUMN | {"span_days"}


@dataclass
class UnplacedTimes:
    """Counts such times, and remembers the counts of anchors."""

    _held: dict[tuple[str, int, str], int] = field(default_factory=dict)

    async def warnings(
        self, session: Session, query: Query, choice: Choice, views: AnswerableViews
    ) -> tuple[str, ...]:
        """A sentence for each column whose times have to be placed, if it has such times."""
        found = []
        for view, column in _asked(query, views):
            count = await self._count(session, view, column, choice)
            if count:
                found.append(
                    f'"{column}" of view "{view.name}" has times without an offset, {count:,} at '
                    "this anchor; filters, sorts and groups read them as UTC"
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
    """The columns with times that a query has to place, each once."""
    names = dict.fromkeys(
        [
            *_filtered(query, views),
            *((query.view, order.column) for order in query.order_by),
            *((query.view, column) for column in _grouped(query)),
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


def _grouped(query: Query) -> Iterator[str]:
    """The dates that groups are made of: buckets, and those at which an age is told."""
    for group in query.group_by:
        if isinstance(group, Bucket):
            yield group.column
        elif isinstance(group, AgeGroup) and group.age_at is not None:
            yield group.age_at


def _chosen_by(asked: Query | SubQuery, views: AnswerableViews) -> Iterator[tuple[str, str]]:
    """The dates by which rows are chosen, or computed with."""
    for one in asked.aggregates:
        if one.fn in BY_DATE:
            for column in _dates(asked.view, one.by, views):
                yield asked.view, column
        dated = one.age_at or (one.column if one.fn in OF_DATES else None)
        if dated is not None:
            yield asked.view, dated
    for latest in (asked.latest_per, asked.first_per):
        if latest is not None:
            for column in _dates(asked.view, latest.by, views):
                yield asked.view, column


def _dates(view: str, name: str | None, views: AnswerableViews) -> list[str]:
    """The columns of a date in a window; names that there are not are refused later."""
    if name is not None:
        return [name]
    return [column.name for column in event_dates(views[view].columns)] if view in views else []
