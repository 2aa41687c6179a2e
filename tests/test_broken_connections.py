"""A connection breaks at any message of any tool: a retryable error, no loss, and no word of it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
import uvloop

from clinic import patient
from researchflow_runners.errors import StoreError
from researchflow_runners.store.database import Database
from researchflow_runners.store.failure import unavailable
from researchflow_server.embedded import Services
from researchflow_server.fault import keep_discreet, sole
from tool_server import ToolServer, tool_server
from wire import Cut, Wire, last_words, postgres_socket, postgres_through, wire_to

#: PostgreSQL's own words may carry a patient's data.
SAID = "Xaver Unterhuber"
WORDS = last_words(f"terminating connection of {SAID}", state="57P01")
MESSAGES_MAX = 500
HANG_S = 5
BREAK_S = 0.1
CHUNKS = 5_000
#: Tool → every so many-th of its messages is broken.
STRIDES = {
    "list_views": 1,
    "describe_view": 1,
    "query_view": 1,
    "cache_resources": 1,
    "refresh_views": 19,
    "register_view": 31,
}
RETRYABLE = {"postgres_unavailable", "source_unavailable"}


@dataclass
class Hospital:
    """A server whose warehouse and source are each at the end of a wire."""

    server: ToolServer
    warehouse: Wire
    source: Wire
    numbers: count[int]

    async def arguments(self, tool: str) -> dict[str, Any]:
        """New arguments for one more call of the tool; there is always something to do."""
        number = next(self.numbers)
        match tool:
            case "describe_view" | "query_view":
                return {"view": "patient_simple"}
            case "cache_resources":
                return {"resources": [patient(f"p{number}"), patient(f"q{number}")]}
            case "refresh_views":
                await self.server.put(patient(f"s{number}"))
                return {}
            case "register_view":
                return {"definition": view(f"v{number}")}
        return {}


def view(column: str) -> dict[str, Any]:
    columns = [{"name": "id", "path": "getResourceKey()"}, {"name": column, "path": "gender"}]
    return {
        "resourceType": "ViewDefinition",
        "name": "families",
        "status": "active",
        "resource": "Patient",
        "select": [{"column": columns}],
    }


@pytest_asyncio.fixture
async def hospital(
    services: Services, postgres_dsn: str, source_dsn: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Hospital]:
    socket = postgres_socket(services.postgres_dsn)
    async with wire_to(socket) as warehouse, wire_to(socket) as source:
        dsn = postgres_through(warehouse, postgres_dsn)
        source_url = postgres_through(source, source_dsn)
        async with tool_server(dsn, redis_url, tmp_path, source_url=source_url) as server:
            await server.put(patient("ada"))
            await server.call("refresh_views")
            yield Hospital(server, warehouse, source, count())


@pytest.fixture
def unsaid(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("tool", STRIDES)
@pytest.mark.failure("postgres-session-cut")
async def test_a_break_at_any_message_is_a_retryable_error(
    hospital: Hospital, unsaid: pytest.LogCaptureFixture, tool: str
) -> None:
    for first, (end, how) in enumerate(product(("warehouse", "source"), get_args(Cut))):
        await sweep(hospital, tool, end=end, how=how, first=1 + first % STRIDES[tool])
    gc.collect()
    said = [record.getMessage() + str(record.exc_text) for record in unsaid.records]
    assert not [text for text in said if SAID in text or "never retrieved" in text]


async def sweep(hospital: Hospital, tool: str, *, end: str, how: Cut, first: int) -> None:
    """Breaks one message of a call after the other, until a call ends before the break."""
    wire: Wire = getattr(hospital, end)
    for number in range(first, MESSAGES_MAX, STRIDES[tool]):
        arguments = await hospital.arguments(tool)
        wire.cut_at(number, how, words=WORDS if how == "shut" else b"")
        result = await hospital.server.result(tool, **arguments)
        is_broken = not wire.mend()
        if result.is_error:
            assert result.structured_content is not None
            error = result.structured_content["error"]
            assert error["code"] in RETRYABLE, (end, how, number, error)
            assert error["retryable"] is True
        # A pooled connection that broke after its last answer is noticed by who uses it next.
        again = await hospital.server.result(tool, **arguments)
        if again.is_error and how == "answered":
            again = await hospital.server.result(tool, **arguments)
        assert not again.is_error, (end, how, number, again.structured_content)
        if not is_broken:
            return
    pytest.fail("the tool never ended without a break")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("is_full", [False, True], ids=["idle", "waiting to write"])
@pytest.mark.failure("copy-breaks")
def test_a_copy_whose_connection_breaks_ends_at_once(
    services: Services,
    unsaid: pytest.LogCaptureFixture,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    is_full: bool,
) -> None:
    async def copy() -> None:
        keep_discreet(asyncio.get_running_loop())
        async with (
            wire_to(postgres_socket(services.postgres_dsn)) as wire,
            asyncio.timeout(HANG_S),
        ):
            database = await Database.connect(postgres_through(wire, services.postgres_dsn))
            async with database.session() as session:
                await session.execute("CREATE TEMP TABLE t (x text)")
                source = chunks(wire, is_full=is_full)
                with pytest.raises(StoreError) as broken:
                    await session.copy_in("t", columns=["x"], source=source)
            assert broken.value.code == "postgres_unavailable"
            await database.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(copy())
        gc.collect()
    assert "never retrieved" not in unsaid.text


async def chunks(wire: Wire, *, is_full: bool) -> AsyncIterator[bytes]:
    """Much more than the buffers on the way hold; the connection breaks in the middle."""
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    if is_full:
        wire.hold()
        asyncio.get_running_loop().call_later(BREAK_S, wire.cut_all)
    for number in range(CHUNKS):
        if number == CHUNKS // 2 and not is_full:
            wire.cut_all()
            await asyncio.sleep(BREAK_S)
        yield b"\0\1\0\0\x03\xe8" + b"x" * 1000


async def test_what_task_groups_wrap_is_told_as_itself() -> None:
    lost = unavailable()
    assert sole(ExceptionGroup("", [ExceptionGroup("", [lost])])) is lost
    assert sole(ExceptionGroup("", [lost, ValueError()])) is None
