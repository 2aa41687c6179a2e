"""Backends that did not obey: their statements go on though nobody waits for them any more.

PostgreSQL looks for a cancellation between rows and not within a function, and for the word to end
in the same places; so a backend is asked to end once, and counts until it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from researchflow_runners.errors import ResearchFlowError

if TYPE_CHECKING:
    from researchflow_runners.store.database import Session

logger = logging.getLogger(__name__)

LOOK_S = 1.0
#: Another backend may have the number by now: only one that works for us, and since before.
_END = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = ANY ($1::int[]) AND pid <> pg_backend_pid() AND datname = current_database()
  AND usename = session_user AND application_name = current_setting('application_name')
  AND state = 'active' AND query_start < clock_timestamp() - make_interval(secs => $2)
"""

Connect = Callable[[], AbstractAsyncContextManager["Session"]]


class Lingering:
    """The backends of one database that were cut and still work."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._since: dict[int, float] = {}
        self._watch: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._since)

    def add(self, pid: int) -> None:
        """Has the backend end, and counts it until it has; for who has just cut its connection."""
        self._since[pid] = asyncio.get_running_loop().time()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._see_off())

    async def close(self) -> None:
        """Looks no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _see_off(self) -> None:
        """Looks until all have ended; a database that does not answer is asked again."""
        while self._since:
            try:
                await self._look()
            except ResearchFlowError as error:
                logger.info("backends that were cut cannot be looked for: %s", error.code)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        asked = dict(self._since)
        waited_s = asyncio.get_running_loop().time() - max(asked.values())
        async with self._connect() as session:
            working = {row[0] for row in await session.fetch(_END, list(asked), waited_s)}
        if working:
            logger.warning("%d backends work on after their deadline; asked to end", len(working))
        for pid in asked.keys() - working:
            del self._since[pid]
