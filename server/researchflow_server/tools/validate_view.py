"""Says whether a definition can be honoured, and what it would give."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_server import contract
from researchflow_server.contract import ValidateViewInput
from researchflow_server.runtime.views import checked_definition, resource_of
from researchflow_server.tools.describe_view import COLUMNS, column_rows, rows_per_resource
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: ValidateViewInput) -> dict[str, Any]:
    """The view's columns; the error that registering it would give, without storing anything."""
    view, known = await checked_definition(call.runtime, arguments.definition)
    return {
        "view": view.name,
        "resource": resource_of(view),
        "rows_per_resource": rows_per_resource(view),
        "replaces": known is not None,
        "unchanged": known == view.digest,
        "columns": list(COLUMNS),
        "rows": column_rows(view),
    }


VALIDATE_VIEW = ToolSpec(
    name=contract.VALIDATE_VIEW,
    title="Validate a view",
    description="Checks a definition as register_view would; shows its columns.",
    arguments=ValidateViewInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
