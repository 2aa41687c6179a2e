"""SQLViews that come with the product: kept in the warehouse like any, by the refresh itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from researchflow_runners.composed.compose import compose_view
from researchflow_runners.composed.stored import composed_views
from researchflow_runners.composed.upkeep import save_composed
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.store.database import Session

Library = Mapping[str, Any]


async def keep_shipped(session: Session, libraries: Sequence[Library]) -> None:
    """Brings each of these into the warehouse as this release has it; within a transaction.

    Left as they are: names that a view of somebody else has, and those whose own views are not
    all published; the next refresh tries again.
    """
    held = await composed_views(session)
    for library in libraries:
        known = held.get(library["name"])
        if known is not None and (known.definition == library or not is_shipped(known, libraries)):
            continue
        with suppress(ViewDefinitionError):
            async with session.savepoint():
                await save_composed(session, await compose_view(session, library))


def is_shipped(view: ComposedView, libraries: Sequence[Library]) -> bool:
    """Whether the view is one of these, told by its canonical URL."""
    return view.definition.get("url") in {library["url"] for library in libraries}


async def check_not_shipped(session: Session, name: str, libraries: Sequence[Library]) -> None:
    """ViewDefinitionError `view_is_shipped` when the name is that of one of these."""
    held = (await composed_views(session)).get(name)
    is_ours = held is None or is_shipped(held, libraries)
    if is_ours and name in {library["name"] for library in libraries}:
        raise ViewDefinitionError(
            f'the view "{name}" is one of those that come with the product',
            code="view_is_shipped",
            field="name",
            hint="Register one under another name; only registered views can be dropped.",
        )
