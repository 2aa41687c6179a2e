"""`researchflow serve` as a process: it ends when it is told to, and stdout is the protocol's."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from researchflow_server.cli.outcome import INTERRUPTED, OK
from researchflow_server.settings import Settings, child_environment, read_settings

TIMEOUT_S = 30
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def settings(postgres_dsn: str, redis_url: str, tmp_path: Path) -> Settings:
    return read_settings(
        {},
        home=tmp_path,
        database_url=postgres_dsn,
        redis_url=redis_url,
        http_port=0,
        metrics_port=0,
    )


@asynccontextmanager
async def serving(settings: Settings, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process; killed when the test leaves it running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "researchflow_server", "serve", *flags),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(settings),
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def greeted(process: asyncio.subprocess.Process) -> dict[str, object]:
    """The first line on stdout, after a client has introduced itself."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    await process.stdin.drain()
    answer: dict[str, object] = json.loads(await process.stdout.readline())
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_stdio_server_that_waits_for_its_client(
    settings: Settings, number: signal.Signals
) -> None:
    async with serving(settings) as process:
        assert (await greeted(process))["id"] == 1
        process.send_signal(number)
        assert await process.wait() == INTERRUPTED


async def test_a_stdio_server_ends_with_its_client(settings: Settings) -> None:
    async with serving(settings) as process:
        await greeted(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == OK


async def test_an_http_server_prints_where_it_is_and_ends_on_sigterm(settings: Settings) -> None:
    async with serving(settings, "--http") as process:
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _line in range(7)]
        shown = b"".join(lines).decode()
        assert "MCP endpoint   http://127.0.0.1:" in shown
        assert "page           http://127.0.0.1:" in shown
        assert "/fhir/metadata" in shown
        assert "claude mcp add --transport http researchflow http://127.0.0.1:" in shown
        process.terminate()
        assert await process.wait() == OK
