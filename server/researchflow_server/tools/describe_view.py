"""A view's columns: names, types, meaning and code systems."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.composed.definition import parse_library
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import find_view
from researchflow_runners.sql import fixed
from researchflow_server import contract
from researchflow_server.contract import DescribeViewInput
from researchflow_server.contract.base import Detail
from researchflow_server.runtime.views import (
    View,
    askable_states,
    askable_views,
    description_of,
    resource_of,
)
from researchflow_server.tools.result import dumped
from researchflow_server.tools.spec import Call, ToolSpec
from researchflow_server.tools.view_profile import profile_payload

COLUMNS = ("column", "type", "sql_type", "list", "description", "system")
#: Of each column in a concise answer, and what else goes without saying there.
TOLD = ("column", "type", "description", "system")
USUAL: dict[str, tuple[Any, ...]] = {
    "materialized": (True,),
    "data_as_of": (),
    "pending": (0, None),
    "dead_letters": (0, None),
}
#: Room for what a full profile tells of its view.
HEADING_BYTES = 200
#: Where the shown SQL reads its resources; the layers put their own relation there.
SHOWN_SOURCE = fixed("resources")


async def run(call: Call, arguments: DescribeViewInput) -> dict[str, Any]:
    """The description; QueryError `unknown_view` names the nearest view."""
    views = await askable_views(call.runtime)
    find_view(arguments.view, {name: view.columns for name, view in views.items()}, field="view")
    view = views[arguments.view]
    if arguments.show == "profile":
        return await _profiled(call, view, arguments.detail)
    state = (await askable_states(call.runtime, views)).get(view.name)
    payload = {
        "view": view.name,
        "resource": resource_of(view),
        "reads": sorted(set(view.depends_on.values())) if isinstance(view, ComposedView) else None,
        "description": description_of(view),
        "expires_at": view.expires_at if isinstance(view, ComposedView) else None,
        "parameters": view.takes if isinstance(view, ComposedView) else None,
        "rows_per_resource": rows_per_resource(view),
        "columns": list(COLUMNS),
        "rows": column_rows(view),
        "materialized": state is not None,
        "anchor": state.anchor if state else None,
        "data_as_of": state.data_as_of if state else None,
        "pending": state.pending if state else None,
        "dead_letters": state.dead_letters if state else None,
        **_shown(view, arguments.show),
    }
    if arguments.detail == "concise":
        payload = _concise(payload)
    _check_size(payload, call.bytes_max)
    return payload


async def _profiled(call: Call, view: View, detail: Detail) -> dict[str, Any]:
    profile = await call.runtime.hybrid.profiles.profile(view.name)
    payload = profile_payload(profile, call.bytes_max - HEADING_BYTES)
    if detail == "concise":
        return payload
    return {
        "resource": resource_of(view),
        "rows_per_resource": rows_per_resource(view),
        "materialized": True,
        **payload,
    }


def _concise(payload: dict[str, Any]) -> dict[str, Any]:
    """The description without what goes without saying."""
    rows = [
        [name, f"{kind}[]" if is_list else kind, meaning, system]
        for name, kind, _sql_type, is_list, meaning, system in payload["rows"]
    ]
    used = [number for number in range(len(TOLD)) if any(row[number] for row in rows)]
    kept = {name: part for name, part in payload.items() if part not in USUAL.get(name, (None,))}
    return {
        **kept,
        "columns": [TOLD[number] for number in used],
        "rows": [[row[number] for number in used] for row in rows],
    }


def column_rows(view: View) -> list[list[Any]]:
    """One row per column of the view, in the shape of COLUMNS."""
    return [
        [
            column.name,
            column.fhir_type,
            column.pg_type,
            column.collection,
            column.description,
            column.system,
        ]
        for column in view.columns
    ]


def rows_per_resource(view: View) -> str | None:
    """`many` when a resource may have several rows, else `one`; None for a composed view."""
    if isinstance(view, ComposedView):
        return None
    return "many" if view.fans_out else "one"


def _shown(view: View, show: str) -> dict[str, Any]:
    if show == "definition":
        return {"definition": dict(view.definition)}
    if show == "sql" and isinstance(view, ComposedView):
        return {"sql": parse_library(view.definition).sql, "parameters": view.takes or []}
    if show == "sql" and isinstance(view, CompiledView):
        text, values = view.select(SHOWN_SOURCE).render()
        return {"sql": text, "parameters": values}
    return {}


def _check_size(payload: dict[str, Any], bytes_max: int) -> None:
    if len(dumped(payload)) > bytes_max:
        raise QueryError(
            f'what "show" asks of view "{payload["view"]}" is larger than a tool result may be',
            code="result_too_large",
            field="show",
            hint="use `researchflow view compile` on the command line",
        )


DESCRIBE_VIEW = ToolSpec(
    name=contract.DESCRIBE_VIEW,
    title="Describe a view",
    description="A view's columns: types, meaning, code system.",
    arguments=DescribeViewInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
