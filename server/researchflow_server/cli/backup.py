"""`researchflow backup`: saves what cannot be rebuilt from the source."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from researchflow_runners.backup.save import Saved, save_backup
from researchflow_runners.backup.target import open_target
from researchflow_server.cli.outcome import OK
from researchflow_server.cli.parser import with_example
from researchflow_server.console import show_json, show_text
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings

TARGET_HELP = "a folder, or s3://bucket/prefix with AWS_* set (extra `s3`)"


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("target", metavar="TARGET", help=TARGET_HELP)
    parser.add_argument("--json", action="store_true", help="print what was saved as JSON")
    with_example(
        parser,
        "researchflow backup /backups/2026-11-29",
        "researchflow backup s3://backups/researchflow/2026-11-29",
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Saves pinned anchors, registered views and provisional changes, as of one instant."""
    target = open_target(arguments.target)
    async with open_runtime(read_settings(), background=False) as runtime:
        saved = await save_backup(runtime.stores.warehouse, target)
    if arguments.json:
        show_json(asdict(saved))
    else:
        show_text(f"saved to {target.name}: {summary(saved)}")
    return OK


def summary(saved: Saved) -> str:
    """What a backup holds, in words."""
    return (
        f"{saved.anchors:,} pinned anchors with {saved.rows:,} rows,"
        f" {saved.registered + saved.composed:,} registered views,"
        f" {saved.provisional:,} provisional changes; {saved.size_bytes:,} bytes"
    )
