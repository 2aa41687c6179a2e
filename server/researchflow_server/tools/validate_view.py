"""Says whether a definition can be honoured, and what it would give."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.batch.catalogue import check_registrable
from researchflow_runners.compiler import compile_view
from researchflow_runners.store.definitions import as_stored, registered_names
from researchflow_runners.store.published import published_views
from researchflow_server import contract
from researchflow_server.contract import ValidateViewInput
from researchflow_server.tools.describe_view import COLUMNS, column_rows, rows_per_resource
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: ValidateViewInput) -> dict[str, Any]:
    """The view's columns; the error that registering it would give, without storing anything."""
    view = compile_view(arguments.definition)
    async with call.runtime.stores.warehouse.session() as session:
        registered = await registered_names(session)
        check_registrable(view, call.runtime.shipped, registered)
        published = (await published_views(session)).get(view.name)
        digest = (await as_stored(session, view)).digest
    return {
        "view": view.name,
        "resource": view.resource,
        "rows_per_resource": rows_per_resource(view),
        "replaces": view.name in registered,
        "unchanged": published is not None and published.digest == digest,
        "columns": list(COLUMNS),
        "rows": column_rows(view),
    }


VALIDATE_VIEW = ToolSpec(
    name=contract.VALIDATE_VIEW,
    title="Validate a view",
    description="Checks a ViewDefinition before it is registered and shows the columns it gives.",
    arguments=ValidateViewInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
