"""Brings the views up to the source."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.result import Progress, RefreshResult
from researchflow_server import contract
from researchflow_server.contract import RefreshViewsInput
from researchflow_server.runtime.refreshes import RefreshRun, Watcher
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: RefreshViewsInput) -> dict[str, Any]:
    """How the refresh went, or that it still runs."""
    refreshes = call.runtime.refreshes
    if arguments.cancel:
        found = await refreshes.cancel(arguments.run_id)
    elif arguments.run_id is not None:
        found = await refreshes.look(arguments.run_id, wait_s=arguments.wait_s)
    else:
        found = await refreshes.start(wait_s=arguments.wait_s, watcher=told_to(call))
    await call.runtime.fresh_snapshot()
    return _payload(found)


async def change_catalogue(
    call: Call, change: CatalogueChange
) -> tuple[RefreshRun, RefreshResult | None]:
    """The refresh that registers or drops a view, and its result when it ended in time."""
    found = await call.runtime.refreshes.change(
        change, wait_s=contract.REFRESH_WAIT_DEFAULT_S, watcher=told_to(call)
    )
    await call.runtime.fresh_snapshot()
    return found


def told_to(call: Call) -> Watcher:
    """Reports a refresh's progress to the call."""

    async def tell(progress: Progress) -> None:
        about = f"{progress.phase} {progress.view}" if progress.view else progress.phase
        await call.progress(progress.done, progress.total, about)

    return tell


def catalogue_payload(view: str, found: RefreshRun) -> dict[str, Any]:
    """What contract.RegisterViewOutput and contract.DropViewOutput share."""
    return {
        "view": view,
        "status": "published" if found.status == "unchanged" else found.status,
        "run_id": found.run_id,
        "anchor": found.anchor,
        "warnings": _warnings(found),
    }


def _payload(found: RefreshRun) -> dict[str, Any]:
    return {
        **asdict(found),
        "duration_s": round(found.duration_s, 3),
        "warnings": _warnings(found),
    }


def _warnings(found: RefreshRun) -> list[str]:
    running = f"still running: ask refresh_views again with run_id {found.run_id}"
    return [running] if found.status == "running" else []


REFRESH_VIEWS = ToolSpec(
    name=contract.REFRESH_VIEWS,
    title="Refresh views",
    description="Publishes a new anchor if the source changed. A long refresh answers running: "
    "ask again with its run_id, or cancel.",
    arguments=RefreshViewsInput,
    annotations=ToolAnnotations(
        destructive_hint=False, idempotent_hint=True, open_world_hint=False
    ),
    run=run,
)
