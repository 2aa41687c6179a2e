"""Keeps composed views and the views they read in step; every function works in the caller's
transaction.

Whoever defines a materialised view anew or retires it calls, in this order: `lock_composed`,
`release` before the SQL view is touched, `revalidate` when the catalogue says what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from researchflow_runners.compiler import CompiledView
from researchflow_runners.composed.compose import compose_view, name_taken
from researchflow_runners.composed.sql_views import drop_sql_views, publish_sql_views
from researchflow_runners.composed.stored import (
    all_readers,
    composed_views,
    expired,
    forget,
    readers,
    store,
)
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError, ViewDefinitionError
from researchflow_runners.naming import nearest
from researchflow_runners.store.database import Session
from researchflow_runners.store.locks import lock_composed
from researchflow_runners.store.published import published_views

VIEWS_MAX = 200


async def save_composed(session: Session, view: ComposedView) -> None:
    """Keeps a view that `compose_view` made, with its SQL views; one of its name is replaced.

    Raises ViewDefinitionError `name_taken` (by a materialised view), `too_many_views` or
    `view_in_use`, when a composed view that reads the replaced one would no longer fit.
    """
    await lock_composed(session)
    views = await composed_views(session)
    if view.name not in views and len(views) >= VIEWS_MAX:
        raise ViewDefinitionError(
            f"{VIEWS_MAX} composed views are registered, which is the most there may be",
            code="too_many_views",
            field="name",
            hint="Drop one that is no longer asked.",
        )
    # Made once more under the lock: what it reads may have changed since.
    view = await compose_view(session, view.definition)
    await drop_sql_views(session, all_readers([view.name], views)[::-1])
    await _keep(session, view)
    await revalidate(session, [view.name], strict=True)


async def drop_composed(session: Session, name: str) -> None:
    """Takes a composed view away.

    QueryError `unknown_view`, or ViewDefinitionError `view_in_use` naming who reads it.
    """
    await lock_composed(session)
    views = await composed_views(session)
    if name not in views:
        raise QueryError(
            f'there is no composed view "{name}"',
            code="unknown_view",
            hint="name a composed view",
            field="view",
            allowed=sorted(views),
            did_you_mean=nearest(name, views),
        )
    await check_unused(session, name)
    await drop_sql_views(session, [name])
    await forget(session, name)


async def drop_expired(session: Session) -> int:
    """Takes away what is no longer there already, and says how many; nothing stands on them."""
    await lock_composed(session)
    names = await expired(session)
    await drop_sql_views(session, names)
    for name in names:
        await forget(session, name)
    return len(names)


async def dependents(session: Session, name: str) -> tuple[str, ...]:
    """The composed views that read the view of that name themselves."""
    return readers(name, await composed_views(session))


async def check_unused(session: Session, name: str) -> None:
    """ViewDefinitionError `view_in_use` when a composed view reads the view of that name."""
    using = await dependents(session, name)
    if using:
        raise ViewDefinitionError(
            f'the view "{name}" is read by "{", ".join(using)}"',
            code="view_in_use",
            field="view",
            hint="Drop the composed views that read it first.",
        )


async def check_name_free(session: Session, name: str) -> None:
    """ViewDefinitionError `name_taken` when a composed view has the name."""
    if name in await composed_views(session):
        raise name_taken(name, "a composed view")


async def release(session: Session, names: Sequence[str]) -> None:
    """Drops what stands in the way of new SQL views for these materialised views: the SQL views of
    composed views that read them or have their name. `revalidate` makes them again."""
    views = await composed_views(session)
    in_the_way = [*(name for name in names if name in views), *all_readers(names, views)]
    await drop_sql_views(session, in_the_way[::-1])


async def check_still_fits(session: Session, view: CompiledView) -> None:
    """ViewDefinitionError `view_in_use` when a composed view could not read this view in place of
    the one of its name; asked before the view is built."""
    views = await composed_views(session)
    instead: dict[str, CompiledView | ComposedView] = {view.name: view}
    async with session.transaction(readonly=True):
        for reader in all_readers([view.name], views):
            try:
                fitted = await compose_view(session, views[reader].definition, instead=instead)
            except ViewDefinitionError as error:
                raise _no_longer_fits(reader, error) from error
            instead[reader] = fitted


async def revalidate(session: Session, names: Sequence[str], *, strict: bool) -> tuple[str, ...]:
    """Fits the composed views that read one of these to what it is now, and makes their SQL views.

    One that no longer fits, or whose name a materialised view took, is kept with its fault, and
    its name is given back; with `strict` it raises ViewDefinitionError `view_in_use`.
    """
    views = await composed_views(session)
    published = await published_views(session)
    overtaken = [name for name in names if name in views and name in published]
    faulty = []
    for name in (*overtaken, *all_readers(names, views)):
        view = views[name]
        try:
            async with session.savepoint():
                await _keep(session, await compose_view(session, view.definition))
        except ViewDefinitionError as error:
            if strict:
                raise _no_longer_fits(name, error) from error
            if name not in overtaken:
                await drop_sql_views(session, [name])
            await store(session, replace(view, fault=error.message))
            faulty.append(name)
    return tuple(faulty)


async def _keep(session: Session, view: ComposedView) -> None:
    assert view.checked is not None
    await store(session, view)
    await publish_sql_views(session, view, view.checked)


def _no_longer_fits(name: str, error: ViewDefinitionError) -> ViewDefinitionError:
    return ViewDefinitionError(
        f'the composed view "{name}" reads this view and would no longer fit: {error.message}',
        code="view_in_use",
        field="name",
        hint="Keep the columns that it reads, or drop the composed view first.",
    )
