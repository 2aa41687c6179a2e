"""Telling how far a refresh is, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from researchflow_runners.batch.result import Phase, Progress, ProgressCallback


class Steps:
    """Counts the steps of one refresh for whoever watches."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._done = 0
        self.total = 1
        self.seconds: dict[Phase, float] = {}

    async def done(self, phase: Phase, view: str | None = None) -> None:
        """One more step is done."""
        self._done += 1
        if self._progress is not None:
            await self._progress(Progress(phase, self._done, self.total, view))

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Times what runs inside."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - started
