"""Our server with the fixtures of MCP's conformance suite, to run the suite against by hand:

.venv/bin/python tests/mcp_conformance_app.py --port 8731
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from mcp_fixtures import add_fixtures
from researchflow_server.demo.stage import fresh_home
from researchflow_server.http import MCP_PATH, Listener, mcp_app, serve_until_stopped
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import Settings


def conformance_listener(runtime: Runtime) -> Listener:
    """The application that `researchflow serve --http` serves, with the fixtures added."""
    server = ResearchFlowServer(runtime)
    add_fixtures(server)
    settings = runtime.settings
    return Listener(
        mcp_app(server, settings),
        host=settings.http_host,
        port=settings.http_port,
        variable="RESEARCHFLOW_HTTP_PORT",
        on_stop=server.notices.end,
    )


async def main(home: Path, port: int) -> None:
    """Serves until a signal comes, on embedded services of its own."""
    settings = Settings(home=home, http_port=port)
    async with open_runtime(settings, background=False) as runtime:
        with conformance_listener(runtime) as listener:
            url = f"http://127.0.0.1:{listener.port}{MCP_PATH}\n"
            await serve_until_stopped([listener], lambda: sys.stdout.write(url))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=8731)
    with fresh_home(keep=False) as directory:
        asyncio.run(main(directory, arguments.parse_args().port))
