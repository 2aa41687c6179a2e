"""Takes a registered view away, with its rows."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_server import contract
from researchflow_server.contract import DropViewInput
from researchflow_server.runtime.views import forget_composed
from researchflow_server.tools.refresh_views import catalogue_payload, change_catalogue
from researchflow_server.tools.spec import Call, ToolSpec

DROPPED = "dropped"


async def run(call: Call, arguments: DropViewInput) -> dict[str, Any]:
    """What is gone, or the refresh that drops it."""
    if await forget_composed(call.runtime, arguments.view):
        return {"view": arguments.view, "status": DROPPED, "warnings": []}
    found, _result = await change_catalogue(call, CatalogueChange(drop=arguments.view))
    payload = catalogue_payload(arguments.view, found)
    return {**payload, "status": DROPPED} if payload["status"] == "published" else payload


DROP_VIEW = ToolSpec(
    name=contract.DROP_VIEW,
    title="Drop a view",
    description="Drops a registered view with its rows at every anchor.",
    arguments=DropViewInput,
    annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False),
    run=run,
)
