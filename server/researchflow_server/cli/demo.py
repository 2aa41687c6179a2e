"""`researchflow demo`: shows the main job from an empty directory, and checks every step of it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from pathlib import Path

from mcp import Client

from researchflow_runners.feed.prepare import install_outbox
from researchflow_server.cli.outcome import OK
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, progress_bar
from researchflow_server.contract import RefreshViewsOutput
from researchflow_server.demo.agents import Agents
from researchflow_server.demo.client import Asker, Watch
from researchflow_server.demo.show import Screen
from researchflow_server.demo.stage import (
    demo_settings,
    fill,
    fresh_home,
    materialise,
    server_process,
)
from researchflow_server.demo.story import Story
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import Settings

CALL_TIMEOUT_S = 120.0


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="FHIR NDJSON instead of the synthetic hospital"
    )
    parser.add_argument("--keep", action="store_true", help="keep its directory afterwards")
    with_example(parser, "researchflow demo", "researchflow demo --data ./export")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Fails when any shown number is not what it must be."""
    began_s = time.monotonic()
    screen = Screen(console())
    with fresh_home(keep=arguments.keep) as home:
        settings = demo_settings(home)
        screen.step("A FHIR server's database is filled and the views are materialised")
        with progress_bar() as bar:
            starting = bar.add_task("starting PostgreSQL and Redis", total=1)
            async with open_runtime(settings, background=False) as runtime:
                bar.update(starting, completed=1)
                resources = await fill(runtime.stores.source, arguments.data, bar)
                await install_outbox(runtime.stores.source)
                anchor = await materialise(runtime, bar)
                bar.stop()
                screen.say(
                    f"{resources:,} resources, {len(anchor.views)} views built in "
                    f"{anchor.duration_s:.1f} s, anchor {anchor.anchor}"
                )
                await _tell(settings, runtime, screen)
        if arguments.keep:
            screen.say(f"kept: {home}")
    screen.done(f"every answer was checked; {time.monotonic() - began_s:.0f} s")
    return OK


async def _tell(settings: Settings, runtime: Runtime, screen: Screen) -> None:
    async with (
        server_process(settings) as server,
        Client(server.url, read_timeout_seconds=CALL_TIMEOUT_S) as client,
    ):
        screen.say(f"the server runs as a process of its own at {server.url}")
        asker = Asker(client, server.metrics_url)
        agents = Agents(server.url, settings.home / "extract")
        await Story(asker, agents, screen, runtime.stores.source).tell(_refresh_with_bar)


async def _refresh_with_bar(
    call: Callable[[Watch], Awaitable[RefreshViewsOutput]],
) -> RefreshViewsOutput:
    with progress_bar() as bar:
        task = bar.add_task("refreshing", total=None)

        async def watch(progress: float, total: float | None, message: str | None) -> None:
            words = message or "refreshing"
            bar.update(task, completed=progress, total=total, description=words)

        return await call(watch)
