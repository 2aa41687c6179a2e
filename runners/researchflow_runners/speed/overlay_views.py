"""The views whose overlay tables an entry of a resource type goes to."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StoreError
from researchflow_runners.store.database import Session
from researchflow_runners.store.definitions import published_definition
from researchflow_runners.store.published import PublishedView, published_views


async def overlay_views(
    session: Session, resource_type: str, views: Mapping[str, CompiledView]
) -> list[tuple[CompiledView, str]]:
    """Each published view of the type and its overlay table; `views` are those of this process.

    StoreError `view_definition_differs`.
    """
    return [
        (await _compiled(session, published, views), published.overlay_table)
        for published in (await published_views(session)).values()
        if published.resource_type == resource_type
    ]


async def _compiled(
    session: Session, published: PublishedView, views: Mapping[str, CompiledView]
) -> CompiledView:
    """The published view: one of this process', or made from the catalogue's definition."""
    view = views.get(published.name)
    if view is not None and view.digest == published.digest:
        return view
    found = await published_definition(session, published.name, published.digest)
    if found is not None:
        return found
    raise StoreError(
        f'view "{published.name}" was published by another release than this process runs',
        code="view_definition_differs",
        hint="refresh, which publishes the SQL of the process that does it, or restart "
        "this one with the release of the last refresh",
    )
