"""How a refresh learns what has changed: from the outbox, or by comparing every key.

The outbox must tell everything since the last anchor; whatever speaks against that leads to the
comparison, and its reason is kept beside the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.batch.counts import counts_differ
from researchflow_runners.batch.plan import Plan
from researchflow_runners.batch.staging import Staging
from researchflow_runners.feed.outbox import continue_from
from researchflow_runners.feed.position import read_position, store_position
from researchflow_runners.feed.state import FeedState, Reason, look_at_feed
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Session


@dataclass(frozen=True, slots=True)
class RefreshFeed:
    """`changes` is None when everything is compared, for `reason`."""

    state: FeedState
    changes: Sql | None
    reason: Reason | None


async def read_feed(session: Session, staging: Staging, plan: Plan) -> RefreshFeed:
    """The changes since the last anchor; a view that is built anew needs every key anyway."""
    told = await told_changes(session, staging, plan.types)
    if told.reason is not None:
        return told
    if plan.is_read_anew:
        return RefreshFeed(told.state, None, "read_anew")
    if await counts_differ(session):
        return RefreshFeed(told.state, None, "reconciliation")
    return RefreshFeed(told.state, None, "view_built") if plan.built else told


async def told_changes(session: Session, staging: Staging, types: Sequence[str]) -> RefreshFeed:
    """The changes of these types that the batch layer lacks, if the outbox tells all of them."""
    source = staging.source.session
    state = await look_at_feed(source)
    position = await read_position(session, "refresh")
    if position is not None and not set(types) <= set(position.types):
        return RefreshFeed(state, None, "view_built")
    continued = await continue_from(source, state, position)
    return RefreshFeed(state, continued.changes, continued.reason)


async def publish_feed(session: Session, feed: RefreshFeed, plan: Plan, staging: Staging) -> None:
    """Moves the position in the commit of the anchor."""
    await store_position(
        session,
        "refresh",
        feed.state,
        reason=feed.reason,
        types=plan.types,
        seen_at=staging.data_as_of,
    )
