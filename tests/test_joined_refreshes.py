"""What a call is told of a refresh: of the one that it asked for, and whether that one lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from clinic import patient
from composed import sql_view
from prometheus_server import until
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.result import Progress
from researchflow_runners.errors import QueryError, RefreshError, StoreError
from researchflow_runners.speed.change import Change
from researchflow_runners.store.locks import OVERLAY_LOCK_KEY
from researchflow_server.metrics.tally import RefreshTally
from researchflow_server.runtime.refreshes import Refreshes
from researchflow_server.tools import register_view
from tool_server import ToolServer, tool_server

NOBODY = CatalogueChange(drop="nobody")
SET_ASIDE = """
INSERT INTO researchflow.set_aside (view_name, resource_type, digest, code, reason, retry_at)
SELECT view_name, resource_type, digest, 'view_fails', 'failed', now() + interval '1 hour'
FROM researchflow.view_catalogue WHERE view_name = 'patient_simple'
"""
ASIDE = "SELECT count(*) FROM researchflow.set_aside"
#: A refresher of so long ago that it cannot live, and no lock of it.
DEAD = """
INSERT INTO researchflow.refresh_run (started_at, seen_at, backend_pid)
VALUES (now() - interval '90 s', now() - interval '60 s', pg_backend_pid()) RETURNING run_id
"""
WAITING = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
"""
WITHIN_S = 30


@pytest_asyncio.fixture
async def tools(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        yield server


async def untold(_progress: Progress) -> None:
    """Nobody watches."""


async def execute(tools: ToolServer, statement: str) -> int:
    async with tools.runtime.stores.warehouse.session() as session:
        return int(await session.fetchval(statement) or 0)


async def test_a_refresh_does_not_end_as_the_drop_it_waited_for(tools: ToolServer) -> None:
    await tools.put(patient("bea"))
    refreshes = tools.runtime.refreshes
    dropped, refreshed = await asyncio.gather(
        refreshes.change(NOBODY, wait_s=WITHIN_S, watcher=untold),
        refreshes.start(wait_s=WITHIN_S, watcher=untold),
        return_exceptions=True,
    )
    assert isinstance(dropped, QueryError)
    assert not isinstance(refreshed, BaseException)
    assert (refreshed.status, refreshed.changed) == ("published", 1)


async def test_a_refresh_says_that_a_change_of_views_outlasts_its_time(tools: ToolServer) -> None:
    refreshes = tools.runtime.refreshes
    changing = asyncio.create_task(refreshes.change(NOBODY, wait_s=WITHIN_S, watcher=untold))
    await asyncio.sleep(0)
    with pytest.raises(RefreshError) as caught:
        await refreshes.start(wait_s=0, watcher=untold)
    assert caught.value.code == "refresh_running"
    with pytest.raises(QueryError):
        await changing


async def test_a_refresh_that_is_asked_for_tries_what_the_schedule_leaves_aside(
    tools: ToolServer,
) -> None:
    await execute(tools, f"{SET_ASIDE} RETURNING 1")
    refreshes = tools.runtime.refreshes
    async with tools.runtime.stores.warehouse.transaction() as session:
        await session.execute("SELECT pg_advisory_xact_lock($1)", OVERLAY_LOCK_KEY)
        by_itself = await refreshes.start(wait_s=0, watcher=untold, retry_all=False)
        joined = await refreshes.start(wait_s=0, watcher=untold)
        assert (joined.run_id, joined.status) == (by_itself.run_id, "running")
    assert (await refreshes.start(wait_s=WITHIN_S, watcher=untold)).run_id == by_itself.run_id + 1
    assert await execute(tools, ASIDE) == 0


async def test_a_refresh_has_what_was_there_when_it_was_asked_for(tools: ToolServer) -> None:
    refreshes = tools.runtime.refreshes
    async with tools.runtime.stores.warehouse.transaction() as session:
        await session.execute("SELECT pg_advisory_xact_lock($1)", OVERLAY_LOCK_KEY)
        earlier = await refreshes.start(wait_s=0, watcher=untold)

        async def is_publishing() -> bool:
            return bool(await session.fetchval(WAITING))

        assert await until(is_publishing, timeout_s=WITHIN_S)
        await tools.put(patient("bea"))
        asked = [
            asyncio.create_task(refreshes.start(wait_s=WITHIN_S, watcher=untold)) for _ in range(3)
        ]
        await asyncio.sleep(0)
    ended = [await one for one in asked]
    assert {one.run_id for one in ended} == {earlier.run_id + 1}
    assert [one.changed for one in ended] == [1, 1, 1]


async def test_a_refresh_that_published_is_told_though_the_warehouse_is_lost_since(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_asked: object, **_more: object) -> None:
        raise StoreError("away", code="postgres_unavailable", hint="-")

    await tools.put(patient("bea"))
    refreshes = tools.runtime.refreshes
    running = refreshes.start(wait_s=WITHIN_S, watcher=untold)
    monkeypatch.setattr(Refreshes, "look", lost)
    assert (await running).status == "published"


async def test_dead_refresher_is_told_as_failed_before_the_next_one_buries_it(
    tools: ToolServer,
) -> None:
    async with tools.runtime.stores.warehouse.session() as session:
        tally = RefreshTally()
        failed = (await tally.look(session)).outcomes["failed"]
        run_id = int(await session.fetchval(DEAD))
        state = await tally.look(session)
        assert state.outcomes["failed"] == failed + 1
    told = await tools.call("refresh_views", run_id=run_id, wait_s=5)
    assert (told["status"], told["error_code"]) == ("failed", "refresher_died")
    assert told["duration_s"] == pytest.approx(30, abs=1)
    await tools.call("refresh_views")
    async with tools.runtime.stores.warehouse.session() as session:
        assert (await tally.look(session)).outcomes["failed"] == failed + 1


async def test_report_of_a_type_no_view_reads_waits_for_no_dead_refresher(
    tools: ToolServer,
) -> None:
    await execute(tools, DEAD)
    account = {"resourceType": "Account", "id": "x", "status": "active"}
    await tools.put(account)
    (heard,) = await tools.runtime.writer.hear([Change(account)], provenance="test")
    assert heard.outcome == "ignored"


async def test_run_under_way_is_its_own_and_not_that_of_a_dead_refresher(
    tools: ToolServer,
) -> None:
    dead = await execute(tools, DEAD)
    refreshes = tools.runtime.refreshes
    begun = await refreshes.start(wait_s=0, watcher=untold)
    assert begun.run_id == dead + 1

    async def has_ended() -> bool:
        return (await refreshes.look(begun.run_id, wait_s=0)).status != "running"

    assert await until(has_ended, timeout_s=WITHIN_S)


async def test_sql_view_that_is_registered_is_told_so_though_its_state_cannot_be(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_asked: object) -> None:
        raise StoreError("away", code="postgres_unavailable", hint="-")

    monkeypatch.setattr(register_view, "askable_states", lost)
    told = await tools.call(
        "register_view", definition=sql_view("keys", "SELECT id FROM p", p="patient_simple")
    )
    assert (told["status"], told["warnings"]) == (
        "published", ["its anchor cannot be told now: postgres_unavailable"],
    )  # fmt: skip
    monkeypatch.undo()
    listed = await tools.call("list_views")
    assert "keys" in {row[0] for row in listed["rows"]}
