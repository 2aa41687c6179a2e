"""The source with its layout probed now and then, not for every snapshot."""

from __future__ import annotations

import time

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

    async def attach(self, session: Session) -> SourceSnapshot:
        """As `HapiSource.attach`; what is unpacked for one snapshot is unpacked for each."""
        now = time.monotonic()
        if self._layout is None or self._layout.has_large_objects or now >= self._probe_at:
            attached = await self.source.attach(session)
            self._layout, self._probe_at = attached.layout, now + PROBE_INTERVAL_S
            return attached
        return SourceSnapshot(session, self._layout)
