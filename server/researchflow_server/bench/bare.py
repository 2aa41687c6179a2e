"""A server of the bare MCP SDK with one tool that does nothing: the protocol's floor under ours.

Runs as a process, as ours does, and prints its address.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from mcp.server.mcpserver import MCPServer

from researchflow_server.http import MCP_PATH, Listener, serve_until_stopped

TOOL = "nothing"
START_TIMEOUT_S = 30.0


@asynccontextmanager
async def bare_process() -> AsyncIterator[str]:
    """The address of such a process, which ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        process.terminate()
        await process.wait()


async def nothing() -> str:
    """Does nothing."""
    return ""


async def serve() -> None:
    """Serves until a signal comes."""
    server: MCPServer[None] = MCPServer("bare", log_level="WARNING")
    server.add_tool(nothing, name=TOOL)
    app = server.streamable_http_app(streamable_http_path=MCP_PATH, stateless_http=True)
    with Listener(app, host="127.0.0.1", port=0, variable="port") as listener:
        url = f"http://127.0.0.1:{listener.port}{MCP_PATH}"
        await serve_until_stopped([listener], lambda: _say(url))


def _say(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
