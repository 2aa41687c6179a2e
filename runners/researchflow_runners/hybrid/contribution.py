"""What the speed layer did to one answer, counted where that is cheap."""

from __future__ import annotations

from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.choice import Choice
from researchflow_runners.hybrid.facts import Facts
from researchflow_runners.hybrid.reading import Read
from researchflow_runners.hybrid.result import SpeedContribution
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.model import Query
from researchflow_runners.query.rows import Relations
from researchflow_runners.query.sql import build_count
from researchflow_runners.query.walk import nodes_of, other_of, views_of
from researchflow_runners.sql import Sql, compose, fixed, ident
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import COUNTING, SCHEMA, table_columns

#: Looking up the rows that one entry hides costs one to two microseconds.
REMOVED_ENTRIES_MAX = 250


async def contribution(
    session: Session,
    query: Query,
    choice: Choice,
    facts: Facts,
    *,
    views: AnswerableViews,
    catalogue: Catalogue,
    relations: Relations,
    read: Read,
) -> SpeedContribution:
    """The contribution to the answer read from this snapshot; see SpeedContribution."""
    if choice.freshness != "live":
        return SpeedContribution(enabled=False)
    own = views[query.view]
    added: int | None = read.page.from_speed
    removed: int | None = 0
    if not isinstance(own, PublishedView):
        added = removed = None if facts.entries else 0
    elif facts.own_entries > REMOVED_ENTRIES_MAX or not _is_of_single_rows(query, catalogue):
        removed = None
    elif facts.own_entries:
        hidden = hidden_relation(own)
        removed = await session.fetchval(build_count(query, catalogue, hidden, relations))
    return SpeedContribution(
        enabled=True,
        entries=facts.entries,
        provisional=facts.provisional,
        rows_added=added,
        rows_removed=removed,
    )


def _is_of_single_rows(query: Query, catalogue: Catalogue) -> bool:
    """Whether each row tells by itself, without rows beside it, that it is in the answer."""
    if query.latest_per or query.first_per or len(views_of(query, catalogue)) > 1:
        return False
    return all(other_of(placed.node) is None for placed in nodes_of(query))


def hidden_relation(published: PublishedView) -> Sql:
    """The rows of the current anchor that a waiting change replaces or deletes."""
    return compose(
        "(SELECT {columns} FROM researchflow.overlay_entry AS e"
        " JOIN {base} AS b ON b._res_id = e.base_res_id"
        " WHERE {counting})",
        columns=table_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
        counting=fixed(COUNTING),
    )
