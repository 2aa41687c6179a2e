"""Whether Redis answers, asked beside an answer so that it costs no time of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from researchflow_runners.errors import StoreError
from researchflow_runners.speed.redis_client import RedisClient

PROBE_TIMEOUT_S = 0.5
#: A Redis that stalls would otherwise slow every answer by the timeout.
DOWN_REMEMBERED_S = 0.5


class RedisProbe:
    """Tells whether Redis answers; without a client there is nothing to miss."""

    def __init__(self, client: RedisClient | None) -> None:
        self._client = client
        self._down_until = 0.0

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[asyncio.Task[bool]]:
        """A running probe; await it for whether Redis answers."""
        task = asyncio.create_task(self.is_up())
        try:
            yield task
        finally:
            task.cancel()

    async def is_up(self) -> bool:
        """Whether Redis answers now, or is not used at all."""
        if self._client is None:
            return True
        if time.monotonic() < self._down_until:
            return False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._client.connection.pipeline([("PING",)])
        except (StoreError, TimeoutError):
            self._down_until = time.monotonic() + DOWN_REMEMBERED_S
            return False
        return True
