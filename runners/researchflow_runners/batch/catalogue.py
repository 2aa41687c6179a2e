"""Which views a refresh publishes: those the process ships and those registered at run time.

Registering and dropping are refreshes with another set of views, so that a definition, its rows
and its name appear and go in one commit, and a view that cannot be built is never registered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from researchflow_runners.batch.repeatable import require_repeatable
from researchflow_runners.compiler.compile import UNNAMED
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.composed.upkeep import check_name_free, check_still_fits, check_unused
from researchflow_runners.errors import QueryError, ViewDefinitionError
from researchflow_runners.naming import nearest
from researchflow_runners.store.database import Session
from researchflow_runners.store.definitions import as_stored, registered_names, registered_views

REGISTERED_VIEWS_MAX = 200


@dataclass(frozen=True, slots=True)
class CatalogueChange:
    """A view to register, or the name of one to drop."""

    register: CompiledView | None = None
    drop: str | None = None


UNCHANGED = CatalogueChange()


@dataclass(frozen=True, slots=True)
class CatalogueViews:
    """All views to publish; `registered` are the names of those that the process does not ship.

    `outdated` are registered ones that this release cannot compile; they stay as they are.
    `required` is the view to register, which must be computed or nothing is.
    """

    views: tuple[CompiledView, ...]
    registered: frozenset[str] = frozenset()
    outdated: Mapping[str, ViewDefinitionError] = field(default_factory=dict)
    required: str | None = None


async def catalogue_views(
    session: Session, shipped: Sequence[CompiledView], change: CatalogueChange
) -> CatalogueViews:
    """The shipped views and the registered ones, after the change.

    Once registered, a name stays the registered view's, also when a later release ships one of
    that name. Errors as `require_registrable` and `check_droppable`, and `view_in_use` when a
    composed view reads the one to drop.
    """
    names = [view.name for view in shipped]
    goes = change.drop or (change.register.name if change.register else None)
    held = await registered_views(session, but=goes)
    registered = held.compiled
    if change.register is not None:
        await require_registrable(session, change.register, names)
        registered[change.register.name] = await as_stored(session, change.register)
    if change.drop is not None:
        check_droppable(change.drop, names, await registered_names(session))
        await check_unused(session, change.drop)
    views = {view.name: view for view in shipped if view.name not in held.outdated} | registered
    return CatalogueViews(
        tuple(views.values()),
        frozenset(registered),
        held.outdated,
        change.register.name if change.register else None,
    )


async def require_registrable(
    session: Session, view: CompiledView, shipped: Collection[str]
) -> None:
    """Returns when the view may be registered beside these shipped ones.

    Raises as `check_registrable`; `name_taken` or `view_in_use` on account of composed views.
    """
    check_registrable(view, shipped, await registered_names(session))
    await check_name_free(session, view.name)
    await check_still_fits(session, view)


def check_registrable(
    view: CompiledView, shipped: Collection[str], registered: Collection[str]
) -> None:
    """ViewDefinitionError `view_not_repeatable`, `view_without_name`, `view_is_shipped` or
    `too_many_views`."""
    require_repeatable(view)
    if view.name == UNNAMED:
        raise ViewDefinitionError(
            "the ViewDefinition has no name to register it by",
            code="view_without_name",
            field="name",
            hint="Give it a name of its own: a letter, then letters, digits or underscores.",
        )
    if view.name in registered:
        return
    if view.name in shipped:
        raise _is_shipped(view.name, "Register it under another name.")
    if len(registered) >= REGISTERED_VIEWS_MAX:
        raise ViewDefinitionError(
            f"{REGISTERED_VIEWS_MAX} views are registered, which is the most there may be",
            code="too_many_views",
            field="name",
            hint="Drop one that is no longer asked.",
        )


def check_droppable(name: str, shipped: Collection[str], registered: Collection[str]) -> None:
    """QueryError `unknown_view`, or ViewDefinitionError `view_is_shipped`."""
    if name in registered:
        return
    if name in shipped:
        raise _is_shipped(name, "Only views that were registered can be dropped.")
    raise QueryError(
        f'no view "{name}" is registered',
        code="unknown_view",
        field="view",
        allowed=sorted(registered),
        did_you_mean=nearest(name, registered),
        hint="name a registered view",
    )


def _is_shipped(name: str, hint: str) -> ViewDefinitionError:
    return ViewDefinitionError(
        f'the view "{name}" is one of those that come with the product',
        code="view_is_shipped",
        field="name",
        hint=hint,
    )
