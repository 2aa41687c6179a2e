"""Advisory locks that the layers share, one named key each.

OVERLAY_LOCK_KEY   the projector holds it shared while it applies entries, a refresh exclusive
                   while it publishes; neither sees the other's half-done work
REFRESH_LOCK_KEY   a refresher's session holds it for as long as it lives: one at a time
COMPOSED_LOCK_KEY  who changes a composed view, or a view that one may read, holds it to the commit
ANCHORS_LOCK_KEY   who pins, unpins or expires an anchor, or replaces a view, holds it to the commit
"""

from __future__ import annotations

from researchflow_runners.store.database import Session

OVERLAY_LOCK_KEY = 0x5253_4632
REFRESH_LOCK_KEY = 0x5253_4633
COMPOSED_LOCK_KEY = 0x5253_4634
ANCHORS_LOCK_KEY = 0x5253_4641


#: For `Session.transaction(first=…)`: until it ends nobody publishes. Take it before the rows of
#: `researchflow.projection`, as all do.
LOCK_OVERLAY_SHARED = f"SELECT pg_advisory_xact_lock_shared({OVERLAY_LOCK_KEY})"


async def lock_overlay_exclusive(session: Session) -> None:
    """Holds every projector off until this transaction ends."""
    await session.execute("SELECT pg_advisory_xact_lock($1)", OVERLAY_LOCK_KEY)


async def lock_composed(session: Session) -> None:
    """Holds every other change of composed views off until this transaction ends.

    Take it before touching a SQL view.
    """
    await session.execute("SELECT pg_advisory_xact_lock($1)", COMPOSED_LOCK_KEY)


async def lock_anchors(session: Session) -> None:
    """Holds every other change of which anchors are kept off until this transaction ends."""
    await session.execute("SELECT pg_advisory_xact_lock($1)", ANCHORS_LOCK_KEY)
