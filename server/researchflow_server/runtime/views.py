"""The views that can be asked, as tools, resources and commands tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

from researchflow_runners.batch.catalogue import require_registrable
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.composed.compose import compose_view
from researchflow_runners.composed.definition import is_library
from researchflow_runners.composed.plain import as_definition, is_plain
from researchflow_runners.composed.shipped import check_not_shipped
from researchflow_runners.composed.stored import composed_views, expire, leaves
from researchflow_runners.composed.upkeep import (
    check_unused,
    drop_composed,
    drop_expired,
    save_composed,
)
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.naming import is_unlisted
from researchflow_runners.store.definitions import as_stored
from researchflow_runners.store.published import published_views
from researchflow_runners.views import shipped_libraries
from researchflow_server.metrics.snapshot import ViewState
from researchflow_server.runtime import Runtime

View: TypeAlias = CompiledView | ComposedView


async def askable_views(runtime: Runtime) -> dict[str, View]:
    """The shipped, the registered and the composed views by name, in this order; StoreError."""
    compiled = await runtime.known_views()
    async with runtime.stores.warehouse.session() as session:
        composed = await composed_views(session)
    return {**compiled, **{name: view for name, view in composed.items() if name not in compiled}}


def listed(views: Mapping[str, View]) -> dict[str, View]:
    """Those of the views whose names are told to everyone."""
    return {name: view for name, view in views.items() if not is_unlisted(name)}


async def askable_states(runtime: Runtime, views: Mapping[str, View]) -> dict[str, ViewState]:
    """Freshness by view; a composed view is as fresh as what it reads. StoreError."""
    states = await runtime.view_states()
    composed = {name: view for name, view in views.items() if isinstance(view, ComposedView)}
    for name in composed:
        read = leaves([name], composed)
        if all(leaf in states for leaf in read):
            states[name] = _joint(name, [states[leaf] for leaf in read])
    return states


async def checked_definition(
    runtime: Runtime, definition: dict[str, Any]
) -> tuple[View, str | None]:
    """The view as it would be registered, and the digest of the one it would replace.

    Raises what registering it would raise before it is built. SQL is registered and undone, for
    some of its faults show only in what PostgreSQL makes of it.
    """
    if is_library(definition):
        return await _rehearsed(runtime, definition)
    compiled = compile_view(definition)
    async with runtime.stores.warehouse.session() as session:
        await require_registrable(session, compiled, runtime.shipped)
        published = (await published_views(session)).get(compiled.name)
        stored = await as_stored(session, compiled)
    return stored, published.digest if published else None


async def _rehearsed(
    runtime: Runtime, definition: dict[str, Any]
) -> tuple[ComposedView, str | None]:
    with suppress(_UndoneError):
        async with runtime.stores.warehouse.transaction() as session:
            held = await composed_views(session)
            view = await compose_view(session, definition)
            await check_not_shipped(session, view.name, shipped_libraries())
            await save_composed(session, view)
            raise _UndoneError
    return view, held[view.name].digest if view.name in held else None


class _UndoneError(Exception):
    """Ends a transaction that is only a rehearsal."""


async def written_out(runtime: Runtime, definition: dict[str, Any]) -> dict[str, Any]:
    """The definition in FHIR's form, of whatever short form it is; as `as_definition`."""
    views = listed(await askable_views(runtime)) if is_plain(definition) else {}
    return as_definition(definition, views)


async def keep_composed(
    runtime: Runtime, definition: dict[str, Any], *, expires_in_s: float | None = None
) -> ComposedView:
    """Registers a composed view, in place of one of its name; it can be asked at once, and until
    it expires if it is to."""
    async with runtime.stores.warehouse.transaction() as session:
        await drop_expired(session)
        view = await compose_view(session, definition)
        await check_not_shipped(session, view.name, shipped_libraries())
        if expires_in_s is not None:
            await check_unused(session, view.name)
        await save_composed(session, view)
        expires_at = await expire(session, view.name, expires_in_s)
    return replace(view, expires_at=expires_at)


async def forget_composed(runtime: Runtime, name: str) -> bool:
    """Drops the composed view of that name; False when there is none.

    ViewDefinitionError `view_in_use` when another composed view reads it, `view_is_shipped`.
    """
    async with runtime.stores.warehouse.transaction() as session:
        if name not in await composed_views(session):
            return False
        await check_not_shipped(session, name, shipped_libraries())
        await drop_composed(session, name)
    return True


def resource_of(view: View) -> str | None:
    """The resource type whose resources give the rows; None for a composed view."""
    return view.resource if isinstance(view, CompiledView) else None


def description_of(view: View) -> str | None:
    """What the view is about, in its author's words."""
    return view.definition.get("description") or view.definition.get("title")


def _joint(name: str, read: list[ViewState]) -> ViewState:
    """The state of a view over these; what is pending counts once for each resource type."""
    by_type = {state.resource_type: state for state in read}
    pending = [state.pending for state in by_type.values()]
    waiting = [state.oldest_pending_at for state in read if state.oldest_pending_at]
    return ViewState(
        view=name,
        resource_type=", ".join(sorted(by_type)),
        anchor=min((state.anchor for state in read if state.anchor), default=None),
        data_as_of=min((state.data_as_of for state in read if state.data_as_of), default=None),
        checked_at=_earliest([state.checked_at for state in read]),
        pending=None if None in pending else sum(one or 0 for one in pending),
        oldest_pending_at=min(waiting, default=None),
        set_aside=next((state.set_aside for state in read if state.set_aside), None),
        dead_letters=sum(state.dead_letters for state in {one.view: one for one in read}.values()),
    )


def _earliest(instants: list[datetime | None]) -> datetime | None:
    """The earliest; None when one is unknown."""
    known = [instant for instant in instants if instant is not None]
    return min(known, default=None) if len(known) == len(instants) else None
