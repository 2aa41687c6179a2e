"""How far a replica is: what happened at the primary since then may not be there yet."""

from __future__ import annotations

from datetime import datetime, timedelta

from researchflow_runners.store.database import Session

#: A replica's instant is its primary's clock, an entry's is Redis'; they may differ by so much.
CLOCKS_APART_MAX = timedelta(seconds=60)

_REPLAYED = "SELECT pg_is_in_recovery() AS is_replica, pg_last_xact_replay_timestamp() AS at"
#: A replica that replayed no commit since it started has replayed its last checkpoint. Asked only
#: then: not every primary lets everybody call it.
_CHECKPOINT = "SELECT checkpoint_time FROM pg_control_checkpoint()"


async def replayed_at(session: Session) -> datetime | None:
    """What was committed up to here, the snapshots opened from now on show; None for a primary.

    By the primary's clock. A primary where nothing is committed moves it no further, so that it
    may lie long before what the replica knows, and never after.
    """
    row = await session.fetchrow(_REPLAYED)
    assert row is not None
    if not row["is_replica"]:
        return None
    instant: datetime = row["at"] or await session.fetchval(_CHECKPOINT)
    return instant


def known_before(replayed_at: datetime | None) -> datetime | None:
    """What was received before this instant, the source knows; None when it knows everything."""
    return replayed_at - CLOCKS_APART_MAX if replayed_at else None
