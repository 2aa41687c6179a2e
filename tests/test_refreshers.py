"""Refreshers that meet, stop, die or are told to stop: one publishes, the others leave nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from prometheus_server import until
from researchflow_runners.batch import run as run_module
from researchflow_runners.batch.counts import counts_are_missing
from researchflow_runners.batch.result import Progress
from researchflow_runners.batch.run import cancel_run
from researchflow_runners.batch.schedule import read_state
from researchflow_runners.errors import RefreshError, StoreError
from researchflow_runners.store import database
from researchflow_runners.store.database import Session
from researchflow_runners.store.locks import REFRESH_LOCK_KEY
from warehouse import DEFINITIONS, PEOPLE, Warehouse, open_warehouse, patient

RUNS = "SELECT outcome, error_code FROM researchflow.refresh_run ORDER BY run_id"
TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'researchflow'::regnamespace AND relname ~ '_[0-9a-f]{8}_[0-9]+$'
  AND relkind = 'r'
"""
LOCKED = f"""
FROM pg_locks WHERE locktype = 'advisory' AND objid = {REFRESH_LOCK_KEY} AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
CUT_REFRESHER = f"SELECT count(pg_terminate_backend(pid)) {LOCKED}"
FAILING = """
CREATE FUNCTION researchflow.fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22012'; END $$;
CREATE TRIGGER failing BEFORE INSERT ON researchflow.source_count
    EXECUTE FUNCTION researchflow.fail()
"""
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""
WITHIN_S = 30


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as opened:
        await opened.put(patient("a"))
        await opened.refresh([PEOPLE])
        await opened.put(patient("b"))
        yield opened


@asynccontextmanager
async def refresher(dsn: str, phase: str, stop: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A refresher in another process, stopped or dead by the signal; killed at the end."""
    script = Path(__file__).with_name("refresher_process.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), dsn, phase, stop, stdout=asyncio.subprocess.PIPE
    )
    try:

        async def is_still() -> bool:
            return process.returncode is not None or _is_stopped(process.pid)

        assert await until(is_still, timeout_s=WITHIN_S)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _is_stopped(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] == "T"


async def goes_on(process: asyncio.subprocess.Process) -> str:
    """What the refresher says once it is let go."""
    process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(WITHIN_S):
        output, _errors = await process.communicate()
    return output.decode().strip()


async def until_published(house: Warehouse) -> int:
    """The anchor of a refresh, tried until the lock of the one before is free."""
    anchors = []

    async def is_published() -> bool:
        with suppress(RefreshError):
            anchors.append((await house.refresh(DEFINITIONS)).anchor)
        return bool(anchors)

    assert await until(is_published, timeout_s=WITHIN_S)
    return anchors[0]


async def expect_whole(house: Warehouse, anchor: int) -> None:
    """Rows of every resource, one anchor more than before, and no table too many."""
    assert await house.fetch("SELECT max(anchor) FROM researchflow.anchor") == [(anchor,)]
    assert [row[0] for row in await house.rows()] == ["a", "b"]
    assert len(await house.fetch(TABLES)) == 3 * len(DEFINITIONS)


@pytest.mark.parametrize("phase", ["compare", "build", "compute"])
async def test_killed_refresher_leaves_nothing_to_the_next(
    house: Warehouse, postgres_dsn: str, phase: str
) -> None:
    async with refresher(postgres_dsn, phase, "SIGKILL"):
        assert await until_published(house) == 2
    await expect_whole(house, 2)
    assert (await house.fetch(RUNS))[1:] == [("failed", "refresher_died"), ("published", None)]


@pytest.mark.parametrize("phase", ["compare", "build", "compute"])
async def test_schedule_waits_for_a_refresher_that_lives_and_for_no_dead_one(
    house: Warehouse, postgres_dsn: str, phase: str
) -> None:
    async def is_running() -> bool:
        async with house.database.session() as session:
            return (await read_state(session)).running

    async def is_free() -> bool:
        return not await is_running()

    async with refresher(postgres_dsn, phase, "SIGSTOP") as other:
        assert await is_running()
        other.kill()
        await other.wait()
        assert await until(is_free, timeout_s=WITHIN_S)


async def test_refresher_killed_after_its_commit_has_published(
    house: Warehouse, postgres_dsn: str
) -> None:
    async with refresher(postgres_dsn, "publish", "SIGKILL"):
        assert await until_published(house) == 2
    await expect_whole(house, 2)
    assert [row[0] for row in await house.fetch(RUNS)] == ["published", "published", "unchanged"]


async def test_two_refreshers_at_once_publish_one_anchor(
    house: Warehouse, postgres_dsn: str
) -> None:
    async with refresher(postgres_dsn, "compare", "SIGSTOP") as other:
        with pytest.raises(RefreshError) as caught:
            await house.refresh()
        assert caught.value.code == "refresh_running"
        assert await goes_on(other) == "anchor 2"
    await expect_whole(house, 2)


@pytest.mark.failure("refresher-paused")
async def test_paused_refresher_that_lost_its_lock_publishes_nothing(
    house: Warehouse, postgres_dsn: str
) -> None:
    async with refresher(postgres_dsn, "compute", "SIGSTOP") as zombie:
        await house.fetch(CUT_REFRESHER)
        assert await until_published(house) == 2
        await house.put(patient("a", gender="male"))
        assert await goes_on(zombie) == "refresh_superseded"
    await expect_whole(house, 2)
    assert (await house.rows())[0] == ("a", "female", None)


@pytest.mark.failure("refresher-paused")
async def test_paused_refresher_is_replaced_when_its_lease_is_over(
    house: Warehouse, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refresher(postgres_dsn, "compute", "SIGSTOP") as zombie:
        monkeypatch.setattr(run_module, "LEASE_S", 0.0)
        assert (await house.refresh(DEFINITIONS)).anchor == 2
        assert await goes_on(zombie) == "refresh_superseded"
    await expect_whole(house, 2)
    assert (await house.fetch(RUNS))[1:] == [("failed", "refresher_stalled"), ("published", None)]


async def test_refresher_that_is_alive_keeps_its_place(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "HEARTBEAT_S", 0.01)
    seen = "SELECT max(seen_at) > max(started_at) FROM researchflow.refresh_run"

    async def is_seen() -> bool:
        return await house.fetch(seen) == [(True,)]

    async def watch(step: Progress) -> None:
        if step.phase == "compare":
            assert await until(is_seen, timeout_s=WITHIN_S)
            monkeypatch.setattr(run_module, "LEASE_S", 5.0)
            with pytest.raises(RefreshError) as caught:
                await house.refresh()
            assert caught.value.code == "refresh_running"

    assert (await house.refresh(progress=watch)).published


async def test_refresher_whose_run_was_closed_cannot_publish_with_its_lock(
    house: Warehouse,
) -> None:
    async def lose(step: Progress) -> None:
        if step.phase == "compute":
            await house.fetch("UPDATE researchflow.refresh_run SET outcome = 'failed'")

    with pytest.raises(RefreshError) as caught:
        await house.refresh([PEOPLE], progress=lose)
    assert caught.value.code == "refresh_superseded"
    assert await house.fetch("SELECT max(anchor) FROM researchflow.anchor") == [(1,)]


@pytest.mark.failure("refresh-cancelled")
async def test_cancelled_refresh_leaves_nothing_behind(house: Warehouse) -> None:
    tables = await house.fetch(TABLES)
    cancelled: list[int | None] = []

    async def cancel(step: Progress) -> None:
        if step.phase == "build":
            cancelled.append(await cancel_run(house.database))

    with pytest.raises(RefreshError) as caught:
        await house.refresh(progress=cancel)
    assert caught.value.code == "refresh_cancelled"
    assert 2 in cancelled
    assert await house.fetch(TABLES) == tables
    assert await house.fetch(RUNS) == [("published", None), ("cancelled", "refresh_cancelled")]
    assert await until_published(house) == 2


@pytest.mark.failure("refresh-cancelled")
async def test_interrupted_refresh_leaves_nothing_behind(house: Warehouse) -> None:
    tables = await house.fetch(TABLES)
    reached = asyncio.Event()

    async def wait(step: Progress) -> None:
        if step.phase == "build":
            reached.set()
            await asyncio.Event().wait()

    refreshing = asyncio.create_task(house.refresh(progress=wait))
    async with asyncio.timeout(WITHIN_S):
        await reached.wait()
        refreshing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refreshing
    assert await house.fetch(TABLES) == tables
    assert await house.fetch(RUNS) == [("published", None), ("cancelled", "interrupted")]
    assert (await house.refresh()).anchor == 2


async def test_only_the_run_of_that_number_is_cancelled(house: Warehouse) -> None:
    async def cancel(step: Progress) -> None:
        if step.phase == "compare":
            assert await cancel_run(house.database, 1) is None

    assert (await house.refresh(progress=cancel)).published
    assert await cancel_run(house.database) is None


async def test_lost_backend_is_cleaned_up_by_its_own_refresher(house: Warehouse) -> None:
    tables = await house.fetch(TABLES)

    async def cut(step: Progress) -> None:
        if step.phase == "build":
            await house.fetch(CUT_REFRESHER)

    with pytest.raises(StoreError) as caught:
        await house.refresh(progress=cut)
    assert caught.value.code == "postgres_unavailable"
    assert await house.fetch(TABLES) == tables


async def test_lock_is_free_before_the_session_of_a_refresh_ends(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = database._closed
    held = []

    async def look(connection: Any) -> None:
        held.append(await house.fetch(f"SELECT count(*) {LOCKED}"))
        await close(connection)

    monkeypatch.setattr(database, "_closed", look)
    await house.refresh()
    assert held[-1] == [(0,)]


@pytest.mark.failure("comparison-missing")
async def test_refresh_whose_comparison_fails_after_the_commit_has_published(
    house: Warehouse,
) -> None:
    async with house.database.session() as session:
        await session.execute(FAILING)
    result = await house.refresh()
    assert (result.published, result.anchor, result.counts) == (True, 2, ())
    assert result.counts_error == "statement_rejected"
    assert (await house.fetch(RUNS))[-1] == ("published", None)
    async with house.database.session() as session:
        assert await counts_are_missing(session)
        await session.execute("DROP TRIGGER failing ON researchflow.source_count")
        assert (await house.refresh()).counts_error is None
        assert not await counts_are_missing(session)


async def test_refresh_whose_connection_breaks_over_the_commit_has_published(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Session.execute
    broken = []

    async def commit(self: Session, statement: Any, *args: Any) -> int:
        done = await execute(self, statement, *args)
        if statement == "COMMIT" and not broken and await is_published():
            broken.append(await house.fetch(CUT_REFRESHER))
            await execute(self, "SELECT")
        return done

    async def is_published() -> bool:
        return await house.fetch("SELECT max(anchor) FROM researchflow.anchor") == [(2,)]

    monkeypatch.setattr(Session, "execute", commit)
    result = await house.refresh()
    assert broken == [[(1,)]]
    assert (result.published, result.anchor, result.counts_error) == (
        True, 2, "postgres_unavailable",
    )  # fmt: skip
    await expect_whole(house, 2)
    assert (await house.fetch(RUNS))[-1] == ("published", None)


async def test_look_at_the_source_and_a_publishing_refresh_never_wait_for_each_other(
    house: Warehouse,
) -> None:
    async with house.database.transaction() as look:
        # As a look at the source begins, and later goes on.
        await look.execute("SELECT FROM researchflow.source_clock FOR UPDATE")
        refresh = asyncio.create_task(house.refresh())

        async def is_waiting() -> bool:
            return refresh.done() or bool(await house.fetch(WAITING))

        assert await until(is_waiting, timeout_s=WITHIN_S)
        await look.execute("UPDATE researchflow.source_check SET pending = pending")
    assert (await refresh).published
