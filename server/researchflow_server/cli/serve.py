"""`researchflow serve`: the tools over stdio, or over HTTP with metrics beside them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from functools import partial

from researchflow_server.cli.outcome import INTERRUPTED, OK
from researchflow_server.cli.parser import with_example
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.http import (
    MCP_PATH,
    Listener,
    guarded_metrics,
    http_app,
    serve_until_stopped,
)
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.metrics.endpoint import metrics_app
from researchflow_server.operations.routes import FHIR_PATH
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import Settings, read_settings, settings_help

EMPTY = """
No view is materialised yet: `researchflow load PATH` (or --synthetic), then `researchflow refresh`.
"""


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--http", action="store_true", help="serve HTTP instead of stdio")
    parser.add_argument("--host", help="address of the MCP endpoint")
    parser.add_argument("--port", type=int, help="its port; 0 takes any free one")
    parser.add_argument("--metrics-port", type=int, help="port of /metrics and /healthz")
    with_example(
        parser,
        "researchflow serve                 for a desktop client that starts it",
        "researchflow serve --http          for clients that connect",
    )
    parser.epilog = f"{parser.epilog}\n\nenvironment of every command:\n{settings_help()}"
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Serves until the client leaves or a signal comes."""
    settings = read_settings(
        http_host=arguments.host,
        http_port=arguments.port,
        metrics_port=arguments.metrics_port,
    )
    # stdout belongs to the protocol on stdio; logs go to stderr on both transports.
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    interrupted = False
    async with open_runtime(settings, background=True) as runtime:
        server = ResearchFlowServer(runtime)
        if arguments.http:
            await _serve_http(server, runtime)
        else:
            interrupted = await _serve_stdio(server)
    if interrupted:
        # Everything is closed, but a thread still waits for a line on stdin and cannot be woken.
        os._exit(INTERRUPTED)
    return OK


async def _serve_stdio(server: ResearchFlowServer) -> bool:
    """Serves until the client closes stdin; whether a signal came first."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled.set)
    serving = asyncio.create_task(server.run_stdio_async())
    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not serving.done():
        return True
    await serving
    return False


async def _serve_http(server: ResearchFlowServer, runtime: Runtime) -> None:
    settings = runtime.settings
    metrics = metrics_app(runtime.metrics.registry, lambda: runtime.metrics.snapshot)
    with ExitStack() as open_ports:
        tools = open_ports.enter_context(
            Listener(
                http_app(server, runtime),
                host=settings.http_host,
                port=settings.http_port,
                variable="RESEARCHFLOW_HTTP_PORT",
                on_stop=server.notices.end,
            )
        )
        beside = open_ports.enter_context(
            Listener(
                guarded_metrics(metrics, settings),
                host=settings.metrics_host,
                port=settings.metrics_port,
                variable="RESEARCHFLOW_METRICS_PORT",
            )
        )
        words = greeting(settings, tools_port=tools.port, metrics_port=beside.port)
        if not (await runtime.fresh_snapshot()).views:
            words += EMPTY
        await serve_until_stopped([tools, beside], partial(_say, words))


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


def greeting(settings: Settings, *, tools_port: int, metrics_port: int) -> str:
    """Where the server is and how clients are told about it."""
    authority = _authority(settings.http_host, tools_port)
    url = f"http://{authority}{MCP_PATH}"
    metrics_url = f"http://{_authority(settings.metrics_host, metrics_port)}/metrics"
    desktop = {
        "mcpServers": {
            "researchflow": {
                "command": _command(),
                "args": ["serve"],
                "env": {"RESEARCHFLOW_HOME": str(settings.home)},
            }
        }
    }
    lines = [
        f"MCP endpoint   {url}",
        f"page           http://{authority}/",
        f"FHIR           http://{authority}{FHIR_PATH}/metadata",
        f"metrics        {metrics_url}",
        *([f"subscriptions  http://{authority}{FEED_PATH}"] if settings.webhook_secret else []),
        "",
        "Claude Code:",
        f"  claude mcp add --transport http researchflow {url}",
        "",
        "Claude Desktop (claude_desktop_config.json), starts a server of its own on the same data:",
        *("  " + line for line in json.dumps(desktop, indent=2).splitlines()),
    ]
    if settings.http_host not in ("127.0.0.1", "localhost", "::1"):
        lines += ["", "warning: anyone who reaches this address can read all views."]
    return "\n".join(lines) + "\n"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _command() -> str:
    """The command as a client that knows no PATH of ours must call it."""
    return sys.argv[0] if sys.argv[0].startswith("/") else "researchflow"
