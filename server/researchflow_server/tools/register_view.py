"""Publishes a definition as a view, built and named in one commit."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.result import RefreshResult, ViewRefresh
from researchflow_runners.compiler import compile_view
from researchflow_server import contract
from researchflow_server.contract import RegisterViewInput
from researchflow_server.tools.refresh_views import change_catalogue, run_payload
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: RegisterViewInput) -> dict[str, Any]:
    """How the build went, or that it still runs; a view that cannot be built is not registered."""
    view = compile_view(arguments.definition)
    found, result = await change_catalogue(call, CatalogueChange(register=view))
    built = _built(view.name, result)
    payload = {
        **run_payload(found),
        "view": view.name,
        "rows": built.rows_added if built else None,
        "dead_letters": built.dead_letters if built else None,
    }
    if built and built.dead_letters:
        payload["warnings"].append(
            f"{built.dead_letters} resources could not be computed and are missing"
        )
    return payload


def _built(name: str, result: RefreshResult | None) -> ViewRefresh | None:
    views = result.views if result else ()
    return next((view for view in views if view.name == name and view.built), None)


REGISTER_VIEW = ToolSpec(
    name=contract.REGISTER_VIEW,
    title="Register a view",
    description="Builds a ViewDefinition and publishes it under its name, in one commit; a "
    "registered view of that name is replaced.",
    arguments=RegisterViewInput,
    annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False),
    run=run,
)
