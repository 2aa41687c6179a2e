"""Which views exist, what they hold and how fresh they are."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_server import contract
from researchflow_server.contract import ListViewsInput
from researchflow_server.tools.spec import Call, ToolSpec

COLUMNS = (
    "view",
    "resource",
    "description",
    "columns",
    "materialized",
    "data_as_of",
    "pending",
    "dead_letters",
)


async def run(call: Call, arguments: ListViewsInput) -> dict[str, Any]:
    """One row per view, by name."""
    views = await call.runtime.known_views()
    if arguments.resource is not None:
        _check_resource(arguments.resource, sorted({view.resource for view in views.values()}))
    states = await call.runtime.view_states()
    rows = []
    for view in views.values():
        if arguments.resource not in (None, view.resource):
            continue
        state = states.get(view.name)
        rows.append(
            [
                view.name,
                view.resource,
                view.definition.get("description") or view.definition.get("title"),
                len(view.columns),
                state is not None,
                state.data_as_of if state else None,
                state.pending if state else None,
                state.dead_letters if state else None,
            ]
        )
    warnings = [] if states else ["no view is materialised yet: refresh_views does it"]
    return {"columns": list(COLUMNS), "rows": rows, "row_count": len(rows), "warnings": warnings}


def _check_resource(resource: str, allowed: list[str]) -> None:
    if resource in allowed:
        return
    guess = nearest(resource, allowed)
    raise QueryError(
        f'no view is made of "{resource[:64]}"',
        code="unknown_resource_type",
        field="resource",
        allowed=allowed,
        did_you_mean=guess,
        hint=f'use "{guess}"' if guess else "leave resource out to see all views",
    )


LIST_VIEWS = ToolSpec(
    name=contract.LIST_VIEWS,
    title="List views",
    description="The views that can be asked, with resource type, description and freshness.",
    arguments=ListViewsInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
