"""The source with its layout probed now and then, not for every snapshot."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.reader import HapiSource, SourceSnapshot
from researchflow_runners.store.database import Session

#: A server that is upgraded while we run gains columns, seldom.
PROBE_INTERVAL_S = 60.0


class ProbedSource:
    """One source; keep it for as long as it is followed."""

    def __init__(self, source: HapiSource) -> None:
        self.source = source
        self._layout: HapiLayout | None = None
        self._probe_at = 0.0

    @asynccontextmanager
    async def snapshot(self, session: Session) -> AsyncIterator[SourceSnapshot]:
        """As `HapiSource.attach`, in a read-only transaction of the session; what is unpacked for
        one snapshot is unpacked for each."""
        now, layout = time.monotonic(), self._layout
        if layout is not None and not layout.has_large_objects and now < self._probe_at:
            async with session.transaction(isolation="repeatable read", readonly=True):
                yield SourceSnapshot(session, layout)
            return
        async with session.transaction(isolation="repeatable read", readonly=None):
            attached = await self.source.attach(session)
            self._layout, self._probe_at = attached.layout, now + PROBE_INTERVAL_S
            await session.execute("SET TRANSACTION READ ONLY")
            yield attached
