"""The source's clock as the looks at it left it, kept in the warehouse."""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime

from researchflow_runners.source.clock import SourceClock, looked
from researchflow_runners.store.database import Session

_READ = """
SELECT zone, looked_at, newest_at, proved_at, verdict, offset_s, changes_behind, behind_from_s,
       behind_to_s
FROM researchflow.source_clock
"""
_WRITE = """
INSERT INTO researchflow.source_clock (zone, looked_at, newest_at, proved_at, verdict, offset_s,
    changes_behind, behind_from_s, behind_to_s)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (is_only) DO UPDATE
SET zone = excluded.zone, looked_at = excluded.looked_at, newest_at = excluded.newest_at,
    proved_at = excluded.proved_at, verdict = excluded.verdict, offset_s = excluded.offset_s,
    changes_behind = excluded.changes_behind, behind_from_s = excluded.behind_from_s,
    behind_to_s = excluded.behind_to_s
"""


async def read_source_clock(session: Session) -> SourceClock | None:
    """None before the first look."""
    row = await session.fetchrow(_READ)
    return SourceClock(**dict(row)) if row else None


async def note_look(
    session: Session, *, zone: str, looked_at: datetime, newest_at: datetime | None
) -> SourceClock:
    """The clock after this look, kept for the next; inside a transaction."""
    row = await session.fetchrow(f"{_READ} FOR UPDATE")
    before = SourceClock(**dict(row)) if row else None
    clock = looked(before, zone=zone, looked_at=looked_at, newest_at=newest_at)
    await session.execute(_WRITE, *astuple(clock))
    return clock
