"""Rows of one database copied into a table of another, in PostgreSQL's own binary form.

Held between the two are at most COPY_BYTES_MAX and one row, whatever is copied: a source that is
faster than the warehouse waits. One connection reads: PostgreSQL reads a whole type with several
processes by itself, and two connections in one exported snapshot were no faster (200,000
resources of 800 bytes on two cores: 1.3 to 2.2 s with one, 1.4 to 2.0 s with two). Where nothing
has to be copied, two connections build views (staging.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence

import anyio

from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Session

COPY_BYTES_MAX = 16 * 1024 * 1024


class ByteChannel:
    """Chunks from one task to another; `send` waits while `bytes_max` or more are held."""

    def __init__(self, bytes_max: int = COPY_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._chunks: deque[bytes] = deque()
        self._changed = anyio.Condition()
        self._is_closed = False
        self.held_bytes = 0

    async def send(self, chunk: bytes) -> None:
        """Hands the chunk over."""
        async with self._changed:
            while self.held_bytes >= self._bytes_max:
                await self._changed.wait()
            self._chunks.append(chunk)
            self.held_bytes += len(chunk)
            self._changed.notify_all()

    async def close(self) -> None:
        """No more chunks will come."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks in their order."""
        while True:
            async with self._changed:
                while not self._chunks and not self._is_closed:
                    await self._changed.wait()
                if not self._chunks:
                    return
                chunk = self._chunks.popleft()
            yield chunk
            async with self._changed:
                self.held_bytes -= len(chunk)
                self._changed.notify_all()


async def copy_across(
    source: Session, statement: Sql, target: Session, table: str, columns: Sequence[str]
) -> int:
    """Fills the target's table with the statement's rows; gives their number.

    What failed in the source is raised before what failed in the target. A source that fails ends
    the copy, and the target's statement with it: the driver waits long for one that is cancelled.
    """
    channel = ByteChannel()
    failed: list[ResearchFlowError] = []
    rows = 0

    async def produce() -> None:
        try:
            await source.copy_out(statement, channel.send)
        except ResearchFlowError as error:
            failed.append(error)
        await channel.close()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            rows = await target.copy_in(table, columns=list(columns), source=channel.chunks())
    except BaseExceptionGroup as failures:
        known = failed or _known(failures)
        if not known:
            raise
        raise known[0] from failures
    if failed:
        raise failed[0]
    return rows


def _known(failures: BaseExceptionGroup[BaseException]) -> list[ResearchFlowError]:
    """The errors of ours in the group and in groups within it."""
    found: list[ResearchFlowError] = []
    for failure in failures.exceptions:
        if isinstance(failure, ResearchFlowError):
            found.append(failure)
        elif isinstance(failure, BaseExceptionGroup):
            found += _known(failure)
    return found
