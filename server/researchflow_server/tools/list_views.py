"""Which views exist, what they hold and how fresh they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import is_unlisted, nearest
from researchflow_server import contract
from researchflow_server.contract import ListViewsInput
from researchflow_server.metrics.snapshot import ViewState
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.views import (
    View,
    askable_states,
    askable_views,
    description_of,
    resource_of,
)
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
    "set_aside",
    "parameters",
)


#: Of each view in a concise answer, and what goes without saying there.
TOLD = ("view", "resource", "description")
USUAL: dict[str, Any] = {
    "materialized": True,
    "pending": 0,
    "dead_letters": 0,
    "set_aside": None,
    "parameters": None,
}


async def run(call: Call, arguments: ListViewsInput) -> dict[str, Any]:
    """One row per view, by name."""
    every = await view_rows(call.runtime, arguments.resource)
    rows = [row for row in every if not is_unlisted(row[0])]
    warnings = []
    if not any(row[COLUMNS.index("materialized")] for row in rows):
        warnings.append("none of them is materialised yet: refresh_views does it")
    payload = {"columns": list(COLUMNS), "rows": rows, "row_count": len(rows), "warnings": warnings}
    return payload if arguments.detail == "full" else _concise(payload)


def _concise(payload: dict[str, Any]) -> dict[str, Any]:
    """What a row of each view is, the date most of them share, and the exceptions."""
    views = [dict(zip(COLUMNS, row, strict=True)) for row in payload["rows"]]
    dates = Counter(view["data_as_of"] for view in views if view["materialized"])
    shared = max(dates, key=lambda date: (dates[date], date)) if dates else None
    usual = {**USUAL, "data_as_of": shared}
    unusual = {
        view["view"]: {name: view[name] for name in usual if view[name] != usual[name]}
        for view in views
    }
    return {
        "columns": list(TOLD),
        "rows": [[view["view"], view["resource"], _first_sentence(view)] for view in views],
        "row_count": payload["row_count"],
        "data_as_of": shared,
        **_given("unusual", {name: parts for name, parts in unusual.items() if parts}),
        **_given("warnings", payload["warnings"]),
    }


def _first_sentence(view: dict[str, Any]) -> str | None:
    """What a row of it is; describe_view tells the rest."""
    description: str | None = view["description"]
    return description and description.partition(". ")[0]


def _given(name: str, part: Collection[Any]) -> dict[str, Any]:
    return {name: part} if part else {}


async def view_rows(runtime: Runtime, resource: str | None = None) -> list[list[Any]]:
    """The views, or those made of one resource type, in the shape of COLUMNS.

    QueryError `unknown_resource_type` when no view is made of it.
    """
    views = await askable_views(runtime)
    if resource is not None:
        _check_resource(resource, sorted(filter(None, map(resource_of, views.values()))))
    states = await askable_states(runtime, views)
    return [
        _row(view, states.get(view.name))
        for view in views.values()
        if resource in (None, resource_of(view))
    ]


def _row(view: View, state: ViewState | None) -> list[Any]:
    return [
        view.name,
        resource_of(view),
        description_of(view),
        len(view.columns),
        state is not None,
        state.data_as_of if state else None,
        state.pending if state else None,
        state.dead_letters if state else None,
        state.set_aside if state else None,
        view.takes if isinstance(view, ComposedView) else None,
    ]


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
    description="The views, what their rows are, and how fresh they are.",
    arguments=ListViewsInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
