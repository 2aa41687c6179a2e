"""A primary and a replica that streams from it, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from postgres_versions import installation
from researchflow_runners.store.database import Database
from researchflow_server.embedded import PostgresServer, postgres
from researchflow_server.embedded.placement import cluster_directory, prepared
from researchflow_server.embedded.process import run_program

REPLICATING = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
REPLAY_TIMEOUT_S = 20.0
COPY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Pair:
    """A primary with HAPI's tables and its replica."""

    primary: Database
    replica: Database

    async def caught_up(self) -> None:
        """Returns when the replica shows everything that the primary has committed."""
        async with self.primary.session() as session:
            lsn = await session.fetchval("SELECT pg_current_wal_lsn()::text")
        with anyio.fail_after(REPLAY_TIMEOUT_S):
            async with self.replica.session() as session:
                while not await session.fetchval(
                    "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn
                ):
                    await session.execute("SELECT pg_sleep(0.01)")

    async def pause(self) -> None:
        """The replica replays nothing more until `resume`."""
        async with self.replica.session() as session:
            await session.execute("SELECT pg_wal_replay_pause()")
            with anyio.fail_after(REPLAY_TIMEOUT_S):
                while await session.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":
                    await session.execute("SELECT pg_sleep(0.01)")

    async def resume(self) -> None:
        """The replica replays again."""
        async with self.replica.session() as session:
            await session.execute("SELECT pg_wal_replay_resume()")


@asynccontextmanager
async def replicated(directory: Path, prepare: str) -> AsyncIterator[Pair]:
    """Both running, `prepare` executed in the primary before it was copied."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in REPLICATING.items():
            patch.setitem(postgres.CONFIGURATION, name, value)
        primary = PostgresServer(directory / "p", volatile=True)
        await primary.start()
        replica = PostgresServer(directory / "r", volatile=True)
        try:
            opened = await Database.connect(primary.dsn)
            async with opened.session() as session:
                await session.execute(prepare)
            await _copy(primary, replica)
            await replica.start()
            standby = await Database.connect(replica.dsn)
            try:
                yield Pair(opened, standby)
            finally:
                await standby.close()
                await opened.close()
        finally:
            await replica.stop()
            await primary.stop()


async def _copy(primary: PostgresServer, replica: PostgresServer) -> None:
    prepared(replica.directory)
    cluster = cluster_directory(replica.directory, replica.account)
    found = installation(primary.major)
    assert found is not None
    sockets = primary.dsn.partition("host=")[2]
    await run_program(
        [
            found / "bin/pg_basebackup", "-h", sockets, "-U", "postgres", "-D", cluster,
            "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        ],
        account=replica.account,
        timeout_s=COPY_TIMEOUT_S,
    )  # fmt: skip
