"""The most memory that a build takes: of this process and of the largest of PostgreSQL's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from researchflow_runners.store.database import Database, Session

INTERVAL_S = 0.25
KB_PER_MB = 1024
_PROCESSES = "SELECT pid FROM pg_stat_activity"


@dataclass
class Memory:
    """The peaks seen so far, looked at every INTERVAL_S; shared buffers are not counted."""

    own_mb: float = 0.0
    postgres_mb: float = 0.0


@asynccontextmanager
async def watched(database: Database) -> AsyncIterator[Memory]:
    """The peaks while the block runs; PostgreSQL is on this machine."""
    memory = Memory()
    async with database.session() as session:
        watching = asyncio.create_task(_watch(session, memory))
        try:
            yield memory
        finally:
            if watching.done():
                watching.result()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(session: Session, memory: Memory) -> None:
    while True:
        pids = [row[0] for row in await session.fetch(_PROCESSES)]
        memory.own_mb = max(memory.own_mb, _private_mb("self"))
        memory.postgres_mb = max(memory.postgres_mb, *(_private_mb(pid) for pid in pids))
        await asyncio.sleep(INTERVAL_S)


def _private_mb(pid: int | str) -> float:
    """What the process holds that is no file and not shared; 0 for one that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields.get("RssAnon", "0 kB").split()[0]) / KB_PER_MB
