"""The views whose overlay tables an entry of a resource type goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StoreError
from researchflow_runners.store.database import Session
from researchflow_runners.store.definitions import published_definition

_PUBLISHED = """
SELECT resource_type, view_name, digest, overlay_table FROM researchflow.view_catalogue
WHERE resource_type = ANY ($1::text[]) ORDER BY view_name
"""


async def overlay_views(
    session: Session, resource_types: Sequence[str], views: Mapping[str, CompiledView]
) -> dict[str, list[tuple[CompiledView, str]]]:
    """By type each published view of it and its overlay table; `views` are those of this process.

    Every type is there. Call it under the overlay lock: nobody publishes until that is let go.
    StoreError `view_definition_differs`.
    """
    found: dict[str, list[tuple[CompiledView, str]]] = {name: [] for name in resource_types}
    for row in await session.fetch(_PUBLISHED, list(resource_types)):
        view = await _compiled(session, row["view_name"], row["digest"], views)
        found[row["resource_type"]].append((view, row["overlay_table"]))
    return found


async def _compiled(
    session: Session, name: str, digest: str, views: Mapping[str, CompiledView]
) -> CompiledView:
    """The published view: one of this process', or made from the catalogue's definition."""
    view = views.get(name)
    if view is not None and view.digest == digest:
        return view
    found = await published_definition(session, name, digest)
    if found is not None:
        return found
    raise StoreError(
        f'view "{name}" was published by another release than this process runs',
        code="view_definition_differs",
        hint="refresh, which publishes the SQL of the process that does it, or restart "
        "this one with the release of the last refresh",
    )
