"""The views as MCP resources: an index, and each view with its definition and freshness."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, Resource, ResourceTemplate

from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.naming import nearest
from researchflow_server.metrics.snapshot import ViewState
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.views import (
    View,
    askable_states,
    askable_views,
    description_of,
    listed,
    resource_of,
)
from researchflow_server.tools.describe_view import COLUMNS, column_rows
from researchflow_server.tools.result import dumped, error_parts

VIEWS_URI = "researchflow://views"
MIME_TYPE = "application/json"
VIEW_TEMPLATE = ResourceTemplate(
    name="view",
    title="A view",
    uri_template=VIEWS_URI + "/{name}",
    description="ViewDefinition, columns and freshness of one view",
    mime_type=MIME_TYPE,
)


async def listed_views(runtime: Runtime) -> list[Resource]:
    """The index, then each view by name; MCPError with our code when the warehouse is away."""
    index = Resource(
        name="views",
        title="All views",
        uri=VIEWS_URI,
        description="Which views exist, with resource type and freshness",
        mime_type=MIME_TYPE,
    )
    try:
        views = listed(await askable_views(runtime))
    except ResearchFlowError as error:
        raise _refused(VIEWS_URI, error) from error
    return [index, *(_listed(view) for view in views.values())]


async def read_view(runtime: Runtime, uri: str) -> ReadResourceContents:
    """What is at the address, as JSON; MCPError names the nearest view, or says what is down."""
    try:
        views = await askable_views(runtime)
        states = await askable_states(runtime, views)
    except ResearchFlowError as error:
        raise _refused(uri, error) from error
    if uri == VIEWS_URI:
        rows = [_summary(view, states.get(view.name)) for view in listed(views).values()]
        return ReadResourceContents(content=dumped({"views": rows}).decode(), mime_type=MIME_TYPE)
    name = _name(uri, views)
    return ReadResourceContents(
        content=dumped(_described(views[name], states.get(name))).decode(), mime_type=MIME_TYPE
    )


async def require_views(runtime: Runtime, uris: Sequence[str]) -> None:
    """Returns where a view is at each address; MCPError as `read_view`."""
    if not uris:
        return
    try:
        views = await askable_views(runtime)
    except ResearchFlowError as error:
        raise _refused(uris[0], error) from error
    for uri in uris:
        _name(uri, views)


def _name(uri: str, views: Collection[str]) -> str:
    """The name of the view at the address; MCPError names the nearest."""
    name = uri.removeprefix(f"{VIEWS_URI}/")
    if name not in views:
        guess = nearest(name, views)
        hint = f'; did you mean "{VIEWS_URI}/{guess}"?' if guess else ""
        raise MCPError(code=INVALID_PARAMS, message=f'there is no view at "{uri[:200]}"{hint}')
    return name


def _listed(view: View) -> Resource:
    return Resource(
        name=view.name,
        title=view.definition.get("title"),
        uri=f"{VIEWS_URI}/{view.name}",
        description=view.definition.get("description"),
        mime_type=MIME_TYPE,
    )


def _summary(view: View, state: ViewState | None) -> dict[str, Any]:
    return {
        "view": view.name,
        "resource": resource_of(view),
        "description": description_of(view),
        "materialized": state is not None,
        "anchor": state.anchor if state else None,
        "data_as_of": state.data_as_of if state else None,
        "pending": state.pending if state else None,
        "dead_letters": state.dead_letters if state else None,
    }


def _described(view: View, state: ViewState | None) -> dict[str, Any]:
    columns = [dict(zip(COLUMNS, row, strict=True)) for row in column_rows(view)]
    return {**_summary(view, state), "columns": columns, "definition": dict(view.definition)}


def _refused(uri: str, error: ResearchFlowError) -> MCPError:
    return MCPError(
        code=INTERNAL_ERROR, message=error.message, data={"uri": uri, "error": error_parts(error)}
    )
