"""The rows of the next anchor, computed from one snapshot of the source and not yet published.

Changed resources go through the views into temporary tables; views that are new or defined anew
are computed whole into tables that no catalogue row names yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from researchflow_runners.batch.build import Filled, create_without_culprits, try_create
from researchflow_runners.batch.counts import SourceSum, counts_are_due, sum_keys
from researchflow_runners.batch.dead_letters import create_dead_table, note_culprits
from researchflow_runners.batch.diff import Diff, find_changes
from researchflow_runners.batch.feed import RefreshFeed, read_feed
from researchflow_runners.batch.plan import Plan
from researchflow_runners.batch.staging import Staging
from researchflow_runners.batch.steps import Steps
from researchflow_runners.batch.tables import create_history, finish_base, publication
from researchflow_runners.codes.index import index_built, note_built, note_moved
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError, ViewFailsError
from researchflow_runners.sql import Sql, ident
from researchflow_runners.store.content import Content, read_content
from researchflow_runners.store.culprits import Culprit
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import SCHEMA
from researchflow_runners.store.set_aside import Failure


@dataclass
class Computed:
    """`feed` tells how the changes were found, `newest_at` is the source's newest date,
    `counts` its resources by type where they were counted.

    `rows` has a temporary table for each kept view whose type changed, `filled` what each view
    gained, `added` the content of just that.
    """

    feed: RefreshFeed
    diff: Diff
    newest_at: datetime | None
    counts: dict[str, SourceSum] | None = None
    rows: dict[str, Sql] = field(default_factory=dict)
    filled: dict[str, Filled] = field(default_factory=dict)
    added: dict[str, Content] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    @asynccontextmanager
    async def tolerating(
        self, session: Session, view: CompiledView, plan: Plan
    ) -> AsyncIterator[None]:
        """Notes that the view fails, and lets the others go on; not of one that is required."""
        try:
            yield
        except (ViewFailsError, StatementError) as error:
            if view.name == plan.required:
                raise
            # Fails where the transaction is lost: then nothing can go on.
            await session.fetchval("SELECT 1")
            why = f"cannot be computed: {error.message}"
            if isinstance(error, ViewFailsError):
                why = error.why
            self.failures[view.name] = Failure(
                view.name, view.resource, view.digest, error.code, why
            )
            for computed in (self.rows, self.filled, self.added):
                computed.pop(view.name, None)


async def compute(
    session: Session, staging: Staging, *, plan: Plan, steps: Steps, connections: int
) -> Computed:
    """Compares, builds and computes, in the transaction of the staging.

    New views are built on two connections, where the staging has another, unless `connections`
    is 1.
    """
    with steps.phase("compare"):
        feed = await read_feed(session, staging, plan)
        keys = await staging.keys(plan.types, only=feed.changes)
        told = None if feed.changes is None else await staging.told(feed.changes)
        diff = await find_changes(session, keys, plan, told=told)
        computed = Computed(feed, diff, await staging.newest_at())
        if feed.changes is None or await counts_are_due(session):
            source = staging.source
            counted = source.keys(plan.types, tag_types=plan.tagged_types)
            computed.counts = await sum_keys(source.session, counted)
        await create_dead_table(session)
        changed = [kept for kept in plan.kept if kept[0].resource in computed.diff.by_type]
        steps.total = 1 + len(plan.built) + len(changed) + 1
        await steps.done("compare")
    with steps.phase("build"):
        build = _Build(computed, plan, steps, deque(plan.built))
        await build.on(session, staging, connections=connections)
    with steps.phase("compute"):
        parts: dict[str, _Part] = {}
        for number, (view, published) in enumerate(changed):
            if view.resource not in parts:
                parts[view.resource] = await _part(staging, view.resource)
            part = parts[view.resource]
            table = ident("pg_temp", f"rf_rows_{number}")
            async with computed.tolerating(session, view, plan):
                filled = await _compute(
                    session, view, table, resources=part.resources, anchor=plan.anchor
                )
                computed.rows[view.name] = table
                computed.filled[view.name] = filled.without(part.unreadable)
                computed.added[view.name] = await read_content(session, published, table)
            await steps.done("compute", view.name)
        await _note_codes(session, computed, plan)
    for name, filled in computed.filled.items():
        await note_culprits(session, name, filled.culprits, keys)
    return computed


@dataclass(frozen=True, slots=True)
class _Build:
    """The new views of a plan, of which the first that wait are built first."""

    computed: Computed
    plan: Plan
    steps: Steps
    waiting: deque[CompiledView]

    async def on(self, session: Session, staging: Staging, *, connections: int) -> None:
        """Builds all, on another connection too where there is one and more than one view."""
        if connections == 1 or len(self.waiting) <= 1:
            await self._work(session, staging)
            return
        async with staging.beside() as other:
            works = [self._work(session, staging)]
            if other is not None:
                works.append(self._work(other.session, other))
            await _all_of(works)

    async def _work(self, session: Session, staging: Staging) -> None:
        while self.waiting:
            view = self.waiting.popleft()
            async with self.computed.tolerating(session, view, self.plan):
                await _build_into(self.computed, session, staging, view, self.plan.anchor)
            await self.steps.done("build", view.name)


async def index_codes(computed: Computed, session: Session, plan: Plan) -> None:
    """Counts the codes of the views that were built; they count when their tables are published.

    Once the snapshot is closed, and on one connection: the words of all views are in one table.
    """
    async with session.transaction():
        for view in plan.built:
            if view.name not in computed.failures:
                async with computed.tolerating(session, view, plan), session.savepoint():
                    await note_built(session, publication(view, plan.anchor))
        built = [view for view in plan.built if view.name not in computed.failures]
        await index_built(session, [publication(view, plan.anchor) for view in built])


async def _note_codes(session: Session, computed: Computed, plan: Plan) -> None:
    """Notes what the rows of kept views change of the codes that occur."""
    moved = [
        (published, computed.rows[view.name])
        for view, published in plan.kept
        if view.name in computed.rows
    ]
    await note_moved(session, moved)


async def _all_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Does all at once; the first error ends the others, and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _build_into(
    computed: Computed, session: Session, staging: Staging, view: CompiledView, anchor: int
) -> None:
    published = publication(view, anchor)
    filled = await _build(session, staging, view, published)
    base = ident(SCHEMA, published.base_table)
    computed.added[view.name] = await read_content(session, published, base)
    computed.filled[view.name] = filled


async def _build(
    session: Session, staging: Staging, view: CompiledView, published: PublishedView
) -> Filled:
    """A whole view in its own new tables."""
    target, anchor = ident(SCHEMA, published.base_table), published.since_anchor
    filled = await _build_strictly(session, staging, view, target, anchor)
    if filled is None:
        whole = await staging.whole(view.resource, is_strict=False)
        async with session.savepoint():
            filled = await create_without_culprits(
                session, target, view, resources=whole, anchor=anchor
            )
        filled = filled.without(await _unreadable(staging, view.resource, changed=False))
    async with session.savepoint():
        await create_history(session, published)
        await finish_base(session, published)
    return filled


async def _build_strictly(
    session: Session, staging: Staging, view: CompiledView, target: Sql, anchor: int
) -> Filled | None:
    """The same, the fast way; None when some resource cannot be read or computed."""
    try:
        whole = await staging.whole(view.resource, is_strict=True)
    except StatementError as error:
        if is_data_error(error):
            return None
        raise
    rows = await try_create(session, target, view, resources=whole, anchor=anchor)
    return None if rows is None else Filled(rows)


async def _compute(
    session: Session, view: CompiledView, target: Sql, *, resources: Sql, anchor: int
) -> Filled:
    """The rows of the changed resources in a temporary table."""
    rows = await try_create(session, target, view, resources=resources, anchor=anchor)
    if rows is not None:
        return Filled(rows)
    async with session.savepoint():
        return await create_without_culprits(
            session, target, view, resources=resources, anchor=anchor
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """The changed resources of one type: those to compute, and those that cannot be read."""

    resources: Sql
    unreadable: tuple[Culprit, ...]


async def _part(staging: Staging, resource_type: str) -> _Part:
    resources = await staging.part(resource_type)
    return _Part(resources, await _unreadable(staging, resource_type, changed=True))


async def _unreadable(
    staging: Staging, resource_type: str, *, changed: bool
) -> tuple[Culprit, ...]:
    """Resources that the source names and has no content of: silence would hide them."""
    found = await staging.unreadable(resource_type, changed=changed)
    return tuple(Culprit(res_id, why) for res_id, why in found)
