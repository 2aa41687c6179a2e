"""`researchflow restore`: brings a backup into an empty warehouse, and rebuilds the rest."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from researchflow_runners.backup.restore import Restored, restore_backup
from researchflow_runners.backup.target import Target, open_target
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import ResearchFlowError, StoreError
from researchflow_server.cli.backup import TARGET_HELP, summary
from researchflow_server.cli.outcome import FAILED, OK
from researchflow_server.cli.parser import with_example
from researchflow_server.console import show_json, show_text
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.runtime.views import keep_composed
from researchflow_server.settings import read_settings


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("target", metavar="TARGET", help=TARGET_HELP)
    parser.add_argument("--json", action="store_true", help="print what was restored as JSON")
    with_example(
        parser,
        "researchflow restore /backups/2026-11-29",
        "researchflow restore s3://backups/researchflow/2026-11-29 --json",
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Restores, refreshes and registers the views again; fails when one cannot be."""
    target = open_target(arguments.target)
    async with open_runtime(read_settings(), background=False) as runtime:
        restored, refused = await restore(runtime, target)
    if arguments.json:
        views = [{"view": name, "error": error.as_dict()} for name, error in refused]
        show_json({**asdict(restored.saved), "saved_at": restored.saved_at, "refused": views})
    else:
        show_text(f"restored from {target.name}: {summary(restored.saved)}")
        for name, error in refused:
            show_text(f'the view "{name}" could not be registered again: {error.message}')
    return FAILED if refused else OK


async def restore(
    runtime: Runtime, target: Target
) -> tuple[Restored, list[tuple[str, ResearchFlowError]]]:
    """Restores into the empty warehouse and rebuilds the rest; gives the views that are refused.

    BackupError, or StoreError `source_unavailable`; then nothing was restored.
    """
    await runtime.require_source()
    restored = await restore_backup(runtime.stores.warehouse, target)
    await runtime.refresher.refresh()
    return restored, await _register(runtime, restored)


async def _register(runtime: Runtime, restored: Restored) -> list[tuple[str, ResearchFlowError]]:
    """Defines the registered and then the composed views; gives those that are refused now.

    A composed view may read one that was registered after it, so those refused are tried again.
    """
    refused = []
    for definition in restored.registered:
        try:
            change = CatalogueChange(register=compile_view(definition))
            await runtime.refresher.refresh(change=change)
        except StoreError:
            raise
        except ResearchFlowError as error:
            refused.append((_name(definition), error))
    pending = list(restored.composed)
    while pending:
        failed = [one for one in [await _compose(runtime, each) for each in pending] if one]
        if len(failed) == len(pending):
            return [*refused, *((_name(definition), error) for definition, error in failed)]
        pending = [definition for definition, _error in failed]
    return refused


async def _compose(
    runtime: Runtime, definition: dict[str, Any]
) -> tuple[dict[str, Any], ResearchFlowError] | None:
    """None when the view is kept."""
    try:
        await keep_composed(runtime, definition)
    except StoreError:
        raise
    except ResearchFlowError as error:
        return definition, error
    return None


def _name(definition: Mapping[str, Any]) -> str:
    return str(definition.get("name"))
