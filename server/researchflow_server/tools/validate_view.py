"""Says whether a definition can be honoured, what it would give, and on how much data it fails."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.composed.plain import fields_of
from researchflow_server import contract
from researchflow_server.contract import ValidateViewInput
from researchflow_server.runtime.samples import tried
from researchflow_server.runtime.views import checked_definition, resource_of, written_out
from researchflow_server.tools.describe_view import COLUMNS, column_rows, rows_per_resource
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: ValidateViewInput) -> dict[str, Any]:
    """The view's columns; the error that registering it would give, without storing anything."""
    with fields_of(arguments.definition):
        definition = await written_out(call.runtime, arguments.definition)
        view, known = await checked_definition(call.runtime, definition)
    sample = await tried(call.runtime, view)
    return {
        "view": view.name,
        "resource": resource_of(view),
        "rows_per_resource": rows_per_resource(view),
        "replaces": known is not None,
        "unchanged": known == view.digest,
        "columns": list(COLUMNS),
        "rows": column_rows(view),
        "tried": sample.tried,
        "failing": sample.failing,
        "warnings": list(sample.reasons),
    }


VALIDATE_VIEW = ToolSpec(
    name=contract.VALIDATE_VIEW,
    title="Validate a view",
    description="Checks a definition for register_view, tried over some data.",
    arguments=ValidateViewInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
