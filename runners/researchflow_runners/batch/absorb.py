"""Overlay entries that a refresh makes superfluous."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.store.database import Session

#: Before the source's snapshot was opened these entries were there, and the source had confirmed
#: them; so the snapshot holds their version, a later one, or knows that the resource was expunged.
_SEEN_TABLE = """
CREATE TEMP TABLE rf_seen AS
SELECT entry_id, stream_id FROM researchflow.overlay_entry WHERE origin = 'source'
"""
#: Versions compare within one incarnation only, and an entry leaves with its own.
_DROP_COVERED = """
DELETE FROM researchflow.overlay_entry AS e
WHERE e.res_type = ANY ($1::text[]) AND (
    EXISTS (SELECT FROM researchflow.ledger AS l
            WHERE l.res_type = e.res_type AND l.id = e.id AND e.version <= l.res_ver
              AND (e.origin = 'provisional' OR coalesce(e.incarnation, l.res_id) = l.res_id))
    OR EXISTS (SELECT FROM rf_seen AS s
               WHERE s.entry_id = e.entry_id AND s.stream_id = e.stream_id)
    OR e.base_res_id = coalesce(e.incarnation, e.base_res_id) AND NOT EXISTS (
            SELECT FROM researchflow.ledger AS l
            WHERE l.res_id = e.base_res_id AND l.res_type = e.res_type AND l.id = e.id))
"""
_REBASE = """
UPDATE researchflow.overlay_entry AS e SET base_res_id = l.res_id
FROM researchflow.ledger AS l
WHERE l.res_type = e.res_type AND l.id = e.id AND e.base_res_id IS DISTINCT FROM l.res_id
"""
#: A source entry waits for the expiry of the provisional one above it; without one it counts.
_UNCOVER = """
UPDATE researchflow.overlay_entry AS e SET valid_from = '-infinity'
WHERE e.origin = 'source' AND e.valid_from <> '-infinity' AND NOT EXISTS (
    SELECT FROM researchflow.overlay_entry AS p
    WHERE p.res_type = e.res_type AND p.id = e.id AND p.origin = 'provisional')
"""


async def note_entries(session: Session) -> None:
    """Remembers the source's entries; call it before the source's snapshot is opened."""
    await session.execute(_SEEN_TABLE)


async def absorb_entries(session: Session, types: Sequence[str]) -> int:
    """Drops the overlay entries that the new ledger covers; gives how many."""
    dropped = await session.execute(_DROP_COVERED, list(types))
    await session.execute(_REBASE)
    await session.execute(_UNCOVER)
    return dropped
