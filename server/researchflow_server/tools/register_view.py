"""Publishes a definition as a view, built and named in one commit."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.result import RefreshResult, ViewRefresh
from researchflow_runners.compiler import compile_view
from researchflow_runners.composed.definition import is_library
from researchflow_runners.composed.plain import fields_of
from researchflow_runners.errors import QueryError, StoreError
from researchflow_runners.naming import unlisted_name
from researchflow_server import contract
from researchflow_server.contract import RegisterViewInput
from researchflow_server.runtime.samples import tried
from researchflow_server.runtime.views import (
    askable_states,
    askable_views,
    keep_composed,
    written_out,
)
from researchflow_server.tools.refresh_views import catalogue_payload, change_catalogue
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: RegisterViewInput) -> dict[str, Any]:
    """What was published; a definition that cannot be honoured leaves all views as they are."""
    with fields_of(arguments.definition):
        definition = await written_out(call.runtime, arguments.definition)
        if is_library(definition):
            return await _compose(call, definition, arguments)
    _check_kept(arguments)
    view = compile_view(definition)
    found, result = await change_catalogue(call, CatalogueChange(register=view))
    built = _built(view.name, result)
    payload = {
        **catalogue_payload(view.name, found),
        "data_as_of": found.data_as_of,
        "rows": built.rows_added if built else None,
        "dead_letters": built.dead_letters if built else None,
    }
    if built and built.dead_letters:
        payload["warnings"].append(
            f"{built.dead_letters} resources could not be computed and are missing"
        )
    return payload


def _check_kept(arguments: RegisterViewInput) -> None:
    """Refuses what only SQL over views can be: a view with rows is a table for everyone."""
    for name, is_asked in (
        ("expires_in_s", arguments.expires_in_s is not None),
        ("private", arguments.private),
    ):
        if is_asked:
            raise QueryError(
                f'"{name}" is for SQL over views, which keeps no rows of its own',
                code="invalid_argument",
                field=name,
                hint='leave it out, or write {"name": .., "sql": "SELECT .. FROM a view"}',
            )


async def _compose(
    call: Call, definition: dict[str, Any], arguments: RegisterViewInput
) -> dict[str, Any]:
    """A composed view has no rows of its own: it is there when its definition is."""
    if arguments.private:
        definition = {**definition, "name": unlisted_name(str(definition.get("name")))}
    view = await keep_composed(call.runtime, definition, expires_in_s=arguments.expires_in_s)
    warnings = []
    state = None
    try:
        states = await askable_states(call.runtime, await askable_views(call.runtime))
        state = states.get(view.name)
    except StoreError as error:
        warnings.append(f"its anchor cannot be told now: {error.code}")
    warnings += (await tried(call.runtime, view)).reasons
    return {
        "view": view.name,
        "status": "published",
        "anchor": state.anchor if state else None,
        "data_as_of": state.data_as_of if state else None,
        **({"expires_at": view.expires_at} if view.expires_at else {}),
        "warnings": warnings,
    }


def _built(name: str, result: RefreshResult | None) -> ViewRefresh | None:
    views = result.views if result else ()
    return next((view for view in views if view.name == name and view.built), None)


REGISTER_VIEW = ToolSpec(
    name=contract.REGISTER_VIEW,
    title="Register a view",
    description="Publishes a view under its name, in place of a registered one. private: under a "
    "name that only the answer tells.",
    arguments=RegisterViewInput,
    annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False),
    run=run,
)
