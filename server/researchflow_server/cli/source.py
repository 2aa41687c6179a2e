"""`researchflow source prepare`: the outbox in the FHIR server's database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Literal

from researchflow_runners.feed.prepare import (
    check_outbox,
    install_outbox,
    remove_outbox,
    show_outbox,
)
from researchflow_runners.feed.state import FeedState
from researchflow_server.cli.outcome import FAILED, OK
from researchflow_server.cli.parser import with_example
from researchflow_server.console import show_json, show_text
from researchflow_server.runtime import open_runtime
from researchflow_server.runtime.feed import REASONS
from researchflow_server.settings import read_settings

Step = Literal["show", "install", "check", "remove"]


def register(parser: ArgumentParser) -> None:
    """Adds the subcommand."""
    with_example(parser, "researchflow source prepare --check")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prepare = actions.add_parser("prepare", help="a table of changed keys, filled by triggers")
    steps = prepare.add_mutually_exclusive_group()
    for name, text in {
        "show": "print the DDL, for the owner of HAPI's tables to run (default)",
        "install": "run it, or what is missing of it",
        "check": "say what the reading role finds; exit code 1 when it cannot read",
        "remove": "drop it, triggers included",
    }.items():
        steps.add_argument(f"--{name}", dest="step", action="store_const", const=name, help=text)
    prepare.add_argument("--role", help="the role that reads, to be granted what it needs")
    prepare.add_argument("--json", action="store_true", help="print what was found as JSON")
    with_example(
        prepare,
        "researchflow source prepare --show --role reader | psql -d hapi",
        "researchflow source prepare --check",
    )
    prepare.set_defaults(run=run, step="show")


async def run(arguments: Namespace) -> int:
    """Works on the database of RESEARCHFLOW_SOURCE_URL, with that role's rights."""
    step: Step = arguments.step
    async with open_runtime(read_settings(), background=False) as runtime:
        await runtime.require_source()
        source = runtime.stores.source
        if step == "show":
            show_text(await show_outbox(source, role=arguments.role))
            return OK
        if step == "remove":
            await remove_outbox(source)
        if step == "install":
            await install_outbox(source, role=arguments.role)
        state = await check_outbox(source)
    _tell(state, as_json=arguments.json)
    return OK if step == "remove" or state.kind == "outbox" else FAILED


def _tell(state: FeedState, *, as_json: bool) -> None:
    if as_json:
        show_json({"feed": state.kind, **asdict(state)})
        return
    if state.reason is None:
        show_text("feed: outbox")
        return
    show_text(f"feed: scan, because {REASONS[state.reason]}")
    if state.missing and state.reason == "triggers_missing":
        show_text("missing or switched off: " + ", ".join(state.missing))
