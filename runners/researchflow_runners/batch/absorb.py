"""Overlay entries that a refresh makes superfluous."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from researchflow_runners.source.replay import known_before
from researchflow_runners.speed.overlay_entry import alternate_waiting
from researchflow_runners.store.database import Session

#: Before the source's snapshot was opened these entries were there. What the source had confirmed,
#: the snapshot holds in that version or a later one, or it knows that the resource was expunged;
#: what somebody reported of the source, it holds or it was not so.
_SEEN_TABLE = """
CREATE TEMP TABLE rf_seen AS
SELECT entry_id, stream_id, origin, received_at FROM researchflow.overlay_entry
WHERE origin IN ('source', 'reported')
"""
#: What the tail read leaves when the refresh's snapshot shows the same changes.
#: Versions compare within one incarnation only, and an entry leaves with its own. A type that no
#: view reads is in no ledger: the batch layer will not cover what waits of it.
_DROP_COVERED = """
DELETE FROM researchflow.overlay_entry AS e
WHERE EXISTS (SELECT FROM rf_seen AS s
              WHERE s.entry_id = e.entry_id AND s.stream_id = e.stream_id
                AND (s.origin = 'source' OR $2::timestamptz IS NULL OR s.received_at < $2))
   OR e.read_xids IS NOT NULL
      AND NOT EXISTS (SELECT FROM unnest(e.read_xids) AS x (xid)
                      WHERE NOT pg_visible_in_snapshot(x.xid, $3::text::pg_snapshot))
   OR e.res_type = ANY ($1::text[]) AND (
    EXISTS (SELECT FROM researchflow.ledger AS l
            WHERE l.res_type = e.res_type AND l.id = e.id AND e.version <= l.res_ver
              AND e.read_xids IS NULL
              AND (e.origin <> 'source' OR coalesce(e.incarnation, l.res_id) = l.res_id))
    OR e.base_res_id = coalesce(e.incarnation, e.base_res_id) AND NOT EXISTS (
            SELECT FROM researchflow.ledger AS l
            WHERE l.res_id = e.base_res_id AND l.res_type = e.res_type AND l.id = e.id))
"""
_REBASE = """
UPDATE researchflow.overlay_entry AS e SET base_res_id = l.res_id
FROM researchflow.ledger AS l
WHERE l.res_type = e.res_type AND l.id = e.id AND e.base_res_id IS DISTINCT FROM l.res_id
"""


async def note_entries(session: Session) -> None:
    """Remembers what tells of the source; call it before the source's snapshot is opened."""
    await session.execute(_SEEN_TABLE)


async def absorb_entries(
    session: Session, types: Sequence[str], *, snapshot: str, replayed_at: datetime | None
) -> int:
    """Drops the overlay entries that the new ledger covers or refutes; gives how many.

    `snapshot` is the source's, as the ledger shows it. `replayed_at` is the instant that a replica
    shows, None for a primary: of what was reported later a replica may know nothing yet.
    """
    before = known_before(replayed_at)
    dropped = await session.execute(_DROP_COVERED, list(types), before, snapshot)
    await session.execute(_REBASE)
    await alternate_waiting(session)
    return dropped
