"""What the outbox holds beyond a position: every change since, also of transactions that were
open then and have committed meanwhile.

A row belongs to the changes when its transaction is not visible in the position's snapshot and
is in the reader's own, which is what the reader's REPEATABLE READ transaction sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from researchflow_runners.feed.position import FeedPosition, read_position
from researchflow_runners.feed.state import FeedState, Reason, look_at_feed
from researchflow_runners.sql import EMPTY, Sql, compose, param
from researchflow_runners.store.database import Database, Session

CHANNEL = "researchflow_outbox"
#: Rows that are pruned in one go.
PRUNE_ROWS_MAX = 50_000
#: A tail that has read nothing for so long follows no more.
UNFOLLOWED_AFTER = timedelta(hours=1)

#: What is not visible in a snapshot began after it or was in progress: both by index, however
#: long the oldest transaction has been open.
_AFTER = """(SELECT c.res_id, c.at, c.xid FROM researchflow_outbox.change AS c
 WHERE (c.xid >= pg_snapshot_xmax({snapshot}::pg_snapshot)
        OR c.xid = ANY (ARRAY(SELECT pg_snapshot_xip({snapshot}::pg_snapshot)))){unseen})"""
_UNSEEN = " AND NOT pg_visible_in_snapshot(c.xid, {}::pg_snapshot)"
_CHECK = """
SELECT pg_snapshot_xmax({read}::pg_snapshot) > pg_snapshot_xmax({now}::pg_snapshot) AS older,
       NOT EXISTS (SELECT FROM researchflow_outbox.change
                   WHERE xid = {xid}::xid8 AND seq = {seq} AND at = {at}) AS lost,
       EXISTS (SELECT FROM {changes} AS c WHERE c.res_id IS NULL) AS emptied
"""
_PRUNE = """
WITH read AS (SELECT $1::text::pg_snapshot AS refresh, $2::text::pg_snapshot AS tail)
DELETE FROM researchflow_outbox.change WHERE (xid, seq) IN (
    SELECT c.xid, c.seq FROM read AS r JOIN researchflow_outbox.change AS c
        ON c.xid < least(pg_snapshot_xmax(r.refresh), pg_snapshot_xmax(r.tail))
    WHERE pg_visible_in_snapshot(c.xid, r.refresh) AND pg_visible_in_snapshot(c.xid, r.tail)
      AND concat_ws(' ', c.xid, c.seq) <> ALL ($3::text[])
    ORDER BY c.xid, c.seq LIMIT $4)
"""

_IS_FOLLOWED = """
SELECT EXISTS (SELECT FROM researchflow.feed_position
               WHERE reader = 'tail' AND seen_at > now() - $1::interval)
"""


@dataclass(frozen=True, slots=True)
class Continued:
    """Whether the outbox tells all changes since a position; `reason` when it does not."""

    changes: Sql | None
    reason: Reason | None


async def continue_from(
    session: Session, state: FeedState, position: FeedPosition | None
) -> Continued:
    """The changes after the position as a relation of (res_id, at, xid), or why only a comparison
    finds them. `session` is the source's, in the transaction of `state`."""
    if state.identity is None:
        return Continued(None, state.reason)
    if position is None or position.snapshot is None or position.identity is None:
        return Continued(None, "first_read")
    changes = changes_after(position.snapshot)
    reason = state.identity.differs(position.identity)
    if reason is None:
        reason = await _lost(session, state, position, changes)
    return Continued(changes if reason is None else None, reason)


def changes_after(snapshot: str, *, unseen_in: str | None = None) -> Sql:
    """The rows that are not visible in the snapshot, nor in `unseen_in`, as a relation of
    (res_id, at, xid)."""
    unseen = compose(_UNSEEN, param(unseen_in, "text")) if unseen_in else EMPTY
    return compose(_AFTER, snapshot=param(snapshot, "text"), unseen=unseen)


async def prune_outbox(session: Session, refresh: FeedPosition, tail: FeedPosition) -> int:
    """Drops rows that both readers have read, but for the newest each remembers; gives how many.

    At most PRUNE_ROWS_MAX, so that a long outbox is let go of little by little.
    """
    witnesses = [one.witness.rsplit(" ", 1)[0] for one in (refresh, tail) if one.witness]
    return await session.execute(_PRUNE, refresh.snapshot, tail.snapshot, witnesses, PRUNE_ROWS_MAX)


async def prune_unfollowed(warehouse: Database, source: Database) -> int:
    """Drops what refreshes have read where no tail reads on and would; gives how many rows.

    A tail that comes back lacks nothing: it passes over what an anchor has.
    """
    async with warehouse.session() as held:
        is_followed = await held.fetchval(_IS_FOLLOWED, UNFOLLOWED_AFTER)
        refresh, tail = await read_position(held, "refresh"), await read_position(held, "tail")
    if is_followed or refresh is None or refresh.identity is None:
        return 0
    as_far = replace(tail, snapshot=refresh.snapshot) if tail else refresh
    pruned = 0
    while True:
        async with source.transaction() as session:
            now = await look_at_feed(session)
            # Another source's numbers would say of unread rows that they were read.
            if now.identity is None or now.identity.differs(refresh.identity):
                return pruned
            last = await prune_outbox(session, refresh, as_far)
        pruned += last
        if last < PRUNE_ROWS_MAX:
            return pruned


async def _lost(
    session: Session, state: FeedState, position: FeedPosition, changes: Sql
) -> Reason | None:
    """Whether the outbox lacks something: in a copy from before the position, or by TRUNCATE."""
    if position.witness is None:
        return "changes_missing"
    xid, seq, at = position.witness.split(" ")
    checked = compose(
        _CHECK,
        read=param(position.snapshot, "text"),
        now=param(state.snapshot, "text"),
        xid=param(xid, "text"),
        seq=param(int(seq), "bigint"),
        at=param(datetime.fromisoformat(at), "timestamptz"),
        changes=changes,
    )
    row = await session.fetchrow(checked)
    assert row is not None
    if row["older"]:
        return "source_older"
    if row["lost"]:
        return "changes_missing"
    return "table_emptied" if row["emptied"] else None
