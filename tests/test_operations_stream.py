"""Answers in motion: bounded, cancelled when nobody listens, never taken for whole when cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from clinic import patient
from operations_server import (
    SQL_RUN,
    OperationServer,
    error_of,
    named,
    operation_server,
    parameters_of,
    subject,
    view,
)
from prometheus_server import until
from researchflow_runners.store.database import Database
from researchflow_runners.store.stream import RowStream
from researchflow_server.embedded import Services
from researchflow_server.operations import answer, endpoint, rows, runs
from researchflow_server.operations.formats import parquet_rows
from tool_server import module_stores, tool_server

WAIT_S = 20
BATCH = 20
PATIENTS = 10
NAMES = 100
#: Far more than what the sockets between server and client hold.
TEXT_CHARS = 40_000
LEFT_OPEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""
#: A thousand rows, each with a long text.
LARGE = {
    **view(("id", "id"), ("long", "text.div")),
    "select": [
        {
            "column": [{"name": "id", "path": "id"}, {"name": "long", "path": "text.div"}],
            "select": [{"forEach": "name.given", "column": [{"name": "g", "path": "$this"}]}],
        }
    ],
}


def crowd() -> list[dict[str, Any]]:
    text = {"status": "generated", "div": f"<div>{'x' * TEXT_CHARS}</div>"}
    given = [{"given": [f"g{number}" for number in range(NAMES)]}]
    return [{**patient(f"p{n}", text=text), "name": given} for n in range(PATIENTS)]


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    async with (
        module_stores(services, number=15) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        await tools.put(*crowd())
        await tools.call("refresh_views")
        yield opened


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were fetched, each at most BATCH."""
    fetched: list[int] = []
    real = RowStream.next

    async def counted(self: RowStream, rows_max: int) -> list[Any]:
        found = await real(self, rows_max)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(RowStream, "next", counted)
    monkeypatch.setattr(answer, "BATCH_ROWS", BATCH)
    return fetched


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[asyncio.Semaphore, asyncio.Event]]:
    """Rows that do not come: a permit for each run that waits for them, and what lets them come."""
    waiting, go_on = asyncio.Semaphore(0), asyncio.Event()
    real = rows.OpenRows.next

    async def late(self: rows.OpenRows, rows_max: int) -> list[Any]:
        waiting.release()
        await go_on.wait()
        return await real(self, rows_max)

    monkeypatch.setattr(rows.OpenRows, "next", late)
    yield waiting, go_on
    go_on.set()


async def nothing_open(database: Database) -> bool:
    async with database.session() as session:
        return bool(await session.fetchval(LEFT_OPEN) == 0)


@asynccontextmanager
async def large_answer(server: OperationServer, chosen: str) -> AsyncIterator[httpx2.Response]:
    headers = {"content-type": "application/json"}
    body = parameters_of([subject(LARGE), {"name": "_format", "valueCode": chosen}])
    async with server.http.stream("POST", SQL_RUN, json=body, headers=headers) as response:
        assert response.status_code == 200
        yield response


async def read_on_after(
    server: OperationServer, chosen: str, happening: Callable[[], Awaitable[object]]
) -> None:
    """Reads a large answer to its end; something happens after its first bytes."""
    async with large_answer(server, chosen) as response:
        parts = response.aiter_bytes()
        await anext(parts)
        await happening()
        async for _part in parts:
            pass


async def test_a_large_answer_comes_in_batches_and_is_whole(
    server: OperationServer, batches: list[int]
) -> None:
    lines = 0
    async with large_answer(server, "ndjson") as response:
        async for part in response.aiter_bytes():
            lines += part.count(b"\n")
    assert lines == PATIENTS * NAMES
    assert sum(batches) == PATIENTS * NAMES
    assert max(batches) == BATCH
    assert await nothing_open(server.tools.runtime.stores.warehouse)


@pytest.mark.parametrize("chosen", ["ndjson", "parquet"])
async def test_few_rows_are_held_where_they_are_large(
    server: OperationServer, batches: list[int], monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setattr(answer, "CHUNK_BYTES", 4 * TEXT_CHARS)
    monkeypatch.setattr(parquet_rows, "GROUP_BYTES", 10 * TEXT_CHARS)
    content = b""
    async with large_answer(server, chosen) as response:
        async for part in response.aiter_bytes():
            content += part
    assert sum(batches) == PATIENTS * NAMES
    assert set(batches[1:-1]) == {3}
    if chosen == "parquet":
        groups = pq.ParquetFile(pa.BufferReader(content)).metadata
        assert groups.num_rows == PATIENTS * NAMES
        assert groups.num_row_groups > PATIENTS


async def test_a_client_that_leaves_ends_the_answer(
    server: OperationServer, batches: list[int]
) -> None:
    async with large_answer(server, "ndjson") as response:
        await anext(response.aiter_bytes())
    warehouse = server.tools.runtime.stores.warehouse
    assert await until(lambda: nothing_open(warehouse), timeout_s=WAIT_S)
    assert sum(batches) < PATIENTS * NAMES


async def test_a_client_that_leaves_before_the_first_row_ends_the_work(
    server: OperationServer, stuck: tuple[asyncio.Semaphore, asyncio.Event]
) -> None:
    waiting, _go_on = stuck
    asking = asyncio.create_task(server.run(named("patient_simple")))
    async with asyncio.timeout(WAIT_S):
        await waiting.acquire()
    asking.cancel()
    warehouse = server.tools.runtime.stores.warehouse
    assert await until(lambda: nothing_open(warehouse), timeout_s=WAIT_S)


@pytest.mark.parametrize("chosen", ["ndjson", "json", "csv", "parquet", "fhir"])
async def test_an_answer_that_is_cut_does_not_look_whole(
    server: OperationServer,
    batches: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
) -> None:
    monkeypatch.setattr(parquet_rows, "GROUP_ROWS", BATCH)
    connection = await asyncpg.connect(server.tools.runtime.settings.database_url)
    with caplog.at_level(logging.WARNING), pytest.raises(httpx2.RemoteProtocolError):
        await read_on_after(server, chosen, lambda: connection.fetch(CUT))
    await connection.close()
    assert "broken off: postgres_unavailable" in caplog.text
    assert "xxxx" not in caplog.text


async def test_data_that_do_not_fit_after_the_first_rows_break_the_answer_off(
    server: OperationServer, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "BATCH_ROWS", 1)
    definition = view(("n", "name.given.where($this = 'g1' or %resource.id = 'p9')"))
    with pytest.raises(httpx2.RemoteProtocolError):
        await server.run(subject(definition))
    monkeypatch.setattr(answer, "BATCH_ROWS", 100)
    response = await server.run(subject(definition))
    assert error_of(response)[:3] == (422, "processing", "resource_not_computable")


async def test_more_runs_than_the_bound_are_told_to_come_back(
    server: OperationServer, stuck: tuple[asyncio.Semaphore, asyncio.Event]
) -> None:
    waiting, go_on = stuck
    asked = [
        asyncio.create_task(server.run(named("patient_simple")))
        for _number in range(runs.RUNNING_MAX)
    ]
    async with asyncio.timeout(WAIT_S):
        for _run in asked:
            await waiting.acquire()
    busy = await server.run(named("patient_simple"))
    assert error_of(busy)[:3] == (429, "throttled", "too_many_requests")
    assert int(busy.headers["retry-after"]) > 0
    tool = await server.tools.call("query_view", view="patient_simple", limit=1)
    assert tool["row_count"] == 1
    go_on.set()
    assert [(await one).status_code for one in asked] == [200] * runs.RUNNING_MAX
    assert (await server.run(named("patient_simple"))).status_code == 200


async def test_an_answer_that_takes_too_long_ends(
    server: OperationServer,
    stuck: tuple[asyncio.Semaphore, asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "ANSWER_TIMEOUT_S", 0.1)
    response = await server.run(named("patient_simple"))
    assert error_of(response)[:3] == (504, "timeout", "operation_timeout")
    assert await nothing_open(server.tools.runtime.stores.warehouse)


async def test_postgres_stopped_in_the_middle_cuts_the_answer_and_the_next_is_retryable(
    own_services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "BATCH_ROWS", BATCH)
    stores = (own_services.postgres_dsn, own_services.redis_url)
    async with tool_server(*stores, tmp_path) as tools, operation_server(tools) as server:
        await tools.put(*crowd())
        await tools.call("refresh_views")
        with pytest.raises(httpx2.RemoteProtocolError):
            await read_on_after(server, "csv", own_services.postgres.kill)
        gone = await server.run(named("patient_simple"))
        assert error_of(gone)[:3] == (503, "transient", "postgres_unavailable")
        assert int(gone.headers["retry-after"]) > 0
        await own_services.redis.kill()
        await own_services.postgres.start()

        async def answers() -> bool:
            return (await server.run(named("patient_simple"))).status_code == 200

        assert await until(answers, timeout_s=WAIT_S)
        degraded = await server.run(named("patient_simple"))
        assert degraded.headers["x-researchflow-degradations"] == "redis_unavailable"
