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
from researchflow_runners.query.model import (
    AllOf,
    AnyOf,
    Compare,
    Filter,
    InQuery,
    Not,
    Query,
)
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
            *_filtered(query.view, query.where),
            *((query.view, order.column) for order in query.order_by),
        ]
    )
    for view_name, column_name in names:
        view = views.get(view_name)
        column = view.column(column_name) if isinstance(view, PublishedView) else None
        if column is not None and column.has_range and column.fhir_type in TIMED_TYPES:
            assert isinstance(view, PublishedView)
            yield view, column_name


def _filtered(view: str, where: Filter | None) -> Iterator[tuple[str, str]]:
    match where:
        case Compare():
            yield view, where.column
        case InQuery():
            yield from _filtered(where.query.view, where.query.where)
        case AnyOf():
            for one in where.any_of:
                yield from _filtered(view, one)
        case AllOf():
            for one in where.all_of:
                yield from _filtered(view, one)
        case Not():
            yield from _filtered(view, where.not_)
