"""A store that hangs holds no call beyond its deadline, and no command beyond connecting."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from prometheus_server import until
from researchflow_runners.errors import StoreError
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.store import connect, database
from researchflow_runners.store.database import Database
from researchflow_runners.store.url import parse_url
from researchflow_server.embedded import Services, embedded_services
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings
from researchflow_server.tools import door
from stopped import stopped
from tool_server import ToolServer, tool_server
from wire import Wire, postgres_socket, postgres_through, wire_to

CONNECT_S = 1.0
UNDO_S = 0.5
CALL_S = 4.0
SLACK_S = 1.5
RECOVERY_S = 20
VIEW = {
    "resourceType": "ViewDefinition",
    "name": "families",
    "status": "active",
    "resource": "Patient",
    "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}],
}
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("list_views", {}),
    ("describe_view", {"view": "patient_simple"}),
    ("query_view", {"view": "patient_simple"}),
    ("query_view", {"view": "patient_simple", "max_staleness_s": 1}),
    ("cache_resources", {"resources": [patient("bea")]}),
    ("get_statistics", {}),
    ("refresh_views", {}),
    ("register_view", {"definition": VIEW}),
    ("validate_view", {"definition": VIEW}),
)


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT_S", CONNECT_S)
    monkeypatch.setattr(database, "UNDO_TIMEOUT_S", UNDO_S)
    monkeypatch.setattr(database, "CLIENT_GRACE_S", UNDO_S)
    monkeypatch.setattr(door, "UNDO_TIMEOUT_S", UNDO_S)
    monkeypatch.setattr(door, "CALL_TIMEOUT_S", CALL_S)


@pytest.fixture
def source_directory(own_directory: Path) -> Iterator[Path]:
    directory = own_directory / "source"
    directory.mkdir()
    directory.chmod(0o711)
    return directory


@pytest_asyncio.fixture
async def source(source_directory: Path) -> AsyncIterator[Services]:
    async with embedded_services(source_directory, volatile=True) as started:
        made = await Database.connect(started.postgres_dsn)
        await create_hapi_tables(made)
        await made.close()
        yield started


async def told(server: ToolServer, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The error of a call, or its answer, and how long it took."""
    started = time.monotonic()
    result = await server.result(tool, **arguments)
    assert result.structured_content is not None
    took_s = time.monotonic() - started
    assert took_s <= CALL_S + SLACK_S, (tool, took_s)
    return {"tool": tool, **(result.structured_content)}


async def tell_all(server: ToolServer) -> dict[str, dict[str, Any]]:
    """What became of every tool, all called at once."""
    answers = await asyncio.gather(*(told(server, *call) for call in CALLS))
    return {answer.pop("tool"): answer for answer in answers}


def codes(answers: dict[str, dict[str, Any]]) -> set[str]:
    errors = [answer["error"] for answer in answers.values() if "error" in answer]
    final = {error["code"] for error in errors if not error["retryable"]}
    assert final <= {"staleness_exceeded"}
    return {error["code"] for error in errors}


@pytest_asyncio.fixture
async def server(
    own_services: Services, source: Services, tmp_path: Path
) -> AsyncIterator[ToolServer]:
    stores = (own_services.postgres_dsn, own_services.redis_url)
    async with tool_server(*stores, tmp_path, source_url=source.postgres_dsn) as opened:
        await opened.put(patient("ada"))
        await opened.runtime.refresher.refresh()
        yield opened


async def recovered(server: ToolServer) -> bool:
    """Whether reading and writing go well again."""
    read = await server.result("query_view", view="patient_simple")
    written = await server.result("cache_resources", resources=[patient("bea")])
    return not read.is_error and not written.is_error


@pytest.mark.failure("postgres-hangs")
async def test_a_postgres_that_hangs_holds_no_call_beyond_its_deadline(
    server: ToolServer, own_services: Services
) -> None:
    with stopped(own_services.postgres.pid()):
        answers = await tell_all(server)
        assert codes(answers) <= {"call_timeout", "postgres_unavailable", "statement_timeout"}
    assert await until(lambda: recovered(server), timeout_s=RECOVERY_S)


@pytest.mark.failure("source-hangs")
async def test_a_source_that_hangs_leaves_answers_of_kept_views_alone(
    server: ToolServer, source: Services
) -> None:
    with stopped(source.postgres.pid()):
        answers = await tell_all(server)
        assert codes(answers) <= {"call_timeout", "source_unavailable", "staleness_exceeded"}
        assert "error" not in await told(server, "query_view", {"view": "patient_simple"})
        assert "error" in answers["cache_resources"]
    assert await until(lambda: recovered(server), timeout_s=RECOVERY_S)


@pytest.mark.failure("redis-hangs")
async def test_a_redis_that_hangs_degrades_answers_and_refuses_changes(
    server: ToolServer, own_services: Services
) -> None:
    with stopped(own_services.redis.pid()):
        answers = await tell_all(server)
        assert codes(answers) <= {"call_timeout", "redis_unavailable", "staleness_exceeded"}
        assert "error" in answers["cache_resources"]
        answer = await server.call("query_view", view="patient_simple")
        assert [one["code"] for one in answer["degradations"]] == ["redis_unavailable"]
    assert await until(lambda: recovered(server), timeout_s=RECOVERY_S)


async def test_a_command_gives_up_connecting_within_seconds(
    own_services: Services, tmp_path: Path
) -> None:
    urls = {"database_url": own_services.postgres_dsn, "redis_url": own_services.redis_url}
    settings = read_settings({}, home=tmp_path, **urls)
    with stopped(own_services.postgres.pid()), pytest.raises(StoreError) as given_up:
        async with asyncio.timeout(CONNECT_S + SLACK_S), open_runtime(settings, background=False):
            pass
    assert given_up.value.code == "postgres_unavailable"


@pytest.mark.failure("far-end-vanished")
async def test_a_connection_over_the_network_notices_a_far_end_that_vanished(
    postgres_dsn: str,
) -> None:
    async with wire_to(postgres_socket(postgres_dsn)) as wire:
        address = parse_url(postgres_through(wire, postgres_dsn))
        connection = await connect.connect(address.dsn, **connect.options(address, 60))
        far_end = connection._transport.get_extra_info("socket")
        assert far_end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        quiet_s = far_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        interval_s = far_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        probes = far_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        assert quiet_s + interval_s * probes == connect.UNHEARD_S
        unheard_ms = far_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert unheard_ms == connect.UNHEARD_S * 1000
        await connection.close()


async def asked_in_vain(opened: Database, wire: Wire) -> None:
    async with opened.transaction(statement_timeout_s=0.1) as session:
        wire.hold()
        await session.fetchval("SELECT 1")


@pytest.mark.failure("far-end-vanished")
async def test_a_wire_that_goes_dead_ends_a_statement_at_its_deadline(postgres_dsn: str) -> None:
    async with wire_to(postgres_socket(postgres_dsn)) as wire:
        opened = await Database.connect(postgres_through(wire, postgres_dsn))
        async with asyncio.timeout(CALL_S + SLACK_S):
            with pytest.raises(StoreError) as unheard:
                await asked_in_vain(opened, wire)
        assert unheard.value.code == "statement_timeout"
        wire.let_go()
        async with opened.session() as session:
            assert await session.fetchval("SELECT 1") == 1
        await opened.close()
