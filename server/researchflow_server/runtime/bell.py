"""A bell that says: look at the source now. It may be rung more often than anyone looks."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Wakes who waits, and who waits later for what was rung meanwhile."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.times = 0

    def ring(self) -> None:
        """Says that something may have changed at the source."""
        self.times += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, heard: int, timeout_s: float) -> int:
        """How often it was rung, as soon as that is more than `heard` or the time is over."""
        if self.times == heard:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), timeout_s)
        return self.times
