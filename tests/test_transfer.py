"""Rows cross between two databases whole, in bounded memory, and every failure has its name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
import pytest_asyncio

from researchflow_runners.batch.transfer import ByteChannel, copy_across
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.sql import fixed
from researchflow_runners.store.database import Database, Session

ROWS = 40
ROW_BYTES = 3_000_000
WIDE = f"SELECT n::bigint AS n, repeat('x', {ROW_BYTES}) AS t FROM generate_series(1, {ROWS}) AS n"
LATE_FAILURE = "SELECT n, (1 / (n - 20000))::text FROM generate_series(1::bigint, 40000) AS n"


@pytest_asyncio.fixture
async def sessions(postgres_dsn: str, source_dsn: str) -> AsyncIterator[tuple[Session, Session]]:
    source = await Database.connect(source_dsn)
    target = await Database.connect(postgres_dsn)
    async with source.session() as one, target.dedicated(statement_timeout_s=60) as other:
        await other.execute("CREATE TEMP TABLE arrived (n bigint, t text)")
        yield one, other
    await source.close()
    await target.close()


async def test_wide_rows_cross_whole(sessions: tuple[Session, Session]) -> None:
    source, target = sessions
    assert await copy_across(source, fixed(WIDE), target, "arrived", ("n", "t")) == ROWS
    found = await target.fetch("SELECT sum(n) AS n, sum(length(t)) AS t FROM arrived")
    assert tuple(found[0]) == (ROWS * (ROWS + 1) // 2, ROWS * ROW_BYTES)


async def test_sender_waits_while_as_much_is_held_as_may_be() -> None:
    channel = ByteChannel(bytes_max=1_000)
    held: list[int] = []

    async def produce() -> None:
        for _ in range(100):
            await channel.send(b"x" * 300)
            held.append(channel.held_bytes)
        await channel.close()

    received = 0
    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert channel.held_bytes == 1_200
        async for chunk in channel.chunks():
            received += len(chunk)
    assert received == 30_000
    assert max(held) == 1_200


async def test_chunk_larger_than_the_bound_still_crosses() -> None:
    channel = ByteChannel(bytes_max=10)
    await channel.send(b"x" * 1_000)
    await channel.close()
    assert [len(chunk) async for chunk in channel.chunks()] == [1_000]


@pytest.mark.parametrize(
    ("statement", "table", "code"),
    [
        (LATE_FAILURE, "arrived", "statement_rejected"),
        ("SELECT 1::bigint, 'x'", "not_there", "relation_missing"),
        (WIDE, "not_there", "relation_missing"),
    ],
)
async def test_failure_of_either_side_is_an_error_of_ours(
    sessions: tuple[Session, Session], statement: str, table: str, code: str
) -> None:
    source, target = sessions
    with pytest.raises(ResearchFlowError) as caught, anyio.fail_after(20):
        await copy_across(source, fixed(statement), target, table, ("n", "t"))
    assert caught.value.code == code
    await target.execute("SELECT 1")


async def test_lost_connection_is_told_as_such(sessions: tuple[Session, Session]) -> None:
    source, target = sessions
    ending = "SELECT 1::bigint, pg_terminate_backend(pg_backend_pid())::text"
    with pytest.raises(ResearchFlowError) as caught:
        await copy_across(source, fixed(ending), target, "arrived", ("n", "t"))
    assert caught.value.code == "postgres_unavailable"
