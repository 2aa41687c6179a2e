"""`researchflow status`: how fresh the views are, and whether the stores answer."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from researchflow_server.cli.console import console, show_json, table
from researchflow_server.cli.outcome import OK, UNREACHABLE
from researchflow_server.cli.parser import with_example
from researchflow_server.metrics.snapshot import Snapshot
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    with_example(parser, "researchflow status", "researchflow status --json | jq .views")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Looks once, at the source too; exit code 3 when a store does not answer."""
    async with open_runtime(read_settings(), background=False) as runtime:
        await runtime.check_source()
        snapshot = await runtime.fresh_snapshot()
    if arguments.json:
        show_json(asdict(snapshot))
    else:
        _show(snapshot)
    return OK if snapshot.warehouse_up and snapshot.redis_up else UNREACHABLE


def _show(snapshot: Snapshot) -> None:
    out = console()
    up = {True: "up", False: "down"}
    out.print(f"warehouse {up[snapshot.warehouse_up]}, redis {up[snapshot.redis_up]}")
    if not snapshot.views:
        out.print("no view is materialised yet; run `researchflow refresh`")
        return
    newest = snapshot.views[0]
    out.print(f"anchor {newest.anchor}, data as of {newest.data_as_of:%Y-%m-%d %H:%M:%S} UTC")
    rows = [
        [
            state.view,
            state.resource_type,
            state.pending,
            state.staleness_s(snapshot.taken_at),
            state.dead_letters,
        ]
        for state in snapshot.views
    ]
    out.print(table(["view", "resource", "pending", "staleness s", "dead letters"], rows))
    waiting = sum(part.entries for part in snapshot.overlay)
    out.print(f"{waiting:,} changes wait in the speed layer")
