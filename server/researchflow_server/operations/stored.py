"""Rows over what is stored, in one snapshot: a published view's, merged, or the source's.

A view that is published as it was asked for is read from its tables, with the changes that wait
merged in. Any other view, and a filter that its columns cannot tell, is computed from the source,
which does not hold the changes that only their writer knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from researchflow_runners.compiler import CompiledView
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.choice import merged_relation
from researchflow_runners.hybrid.facts import Facts, read_facts, seconds
from researchflow_runners.hybrid.materialized import SPEED_LAYER_DISABLED
from researchflow_runners.hybrid.postgres import OVERLAY_EXCLUDED, data_error_told
from researchflow_runners.hybrid.redis_probe import RedisProbe
from researchflow_runners.hybrid.runner import REDIS_UNAVAILABLE
from researchflow_runners.source.reader import SourceSnapshot
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.relations import anchored_relation
from researchflow_server.operations.asked import Asked
from researchflow_server.operations.patients import check_in_source, check_in_views
from researchflow_server.operations.rows import BATCH_TIMEOUT_S, Dated, OpenRows, selected
from researchflow_server.runtime import Runtime

_CHANGED = "(SELECT k.res_id FROM {} AS k WHERE NOT k.deleted AND k.updated_at > {})"


class StoredRows:
    """Opens rows over the stores of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.merges = runtime.settings.use_speed_layer
        self._probe = RedisProbe(runtime.stores.redis)

    def snapshot(self) -> AbstractAsyncContextManager[Session]:
        """One state of the warehouse, read-only."""
        return self.runtime.stores.warehouse.transaction(
            isolation="repeatable read", readonly=True, statement_timeout_s=BATCH_TIMEOUT_S
        )

    def state(self, facts: Facts) -> Callable[[PublishedView], Sql]:
        """A published view's rows, merged with what waits unless merging is off here."""
        if not self.merges:
            return anchored_relation
        return partial(merged_relation, facts=facts)

    async def redis_is_up(self) -> bool:
        """Whether nothing newer is missing because Redis does not answer."""
        return not self.merges or await self._probe.is_up()

    @asynccontextmanager
    async def open(self, view: CompiledView, asked: Asked) -> AsyncIterator[OpenRows]:
        """The rows, by the best route that honours the request; errors of any runner.

        OperationError `patient_not_applicable` or `patient_not_found`.
        """
        async with AsyncExitStack() as stack:
            rows = await self._published(view, asked, stack)
            yield rows or await self._direct(view, asked, stack)

    async def _published(
        self, view: CompiledView, asked: Asked, stack: AsyncExitStack
    ) -> OpenRows | None:
        """The rows of the published view; None when it is another or cannot be narrowed so."""
        where = asked.filters.over_published(view)
        if where is None:
            return None
        redis_is_up = await self.redis_is_up()
        async with AsyncExitStack() as own:
            session = await own.enter_async_context(self.snapshot())
            published = (await published_views(session)).get(view.name)
            if published is None or published.digest != view.digest:
                return None
            require_newest([published])
            await check_in_views(session, self.runtime.source, asked.filters.patients)
            rows = await self._merged(session, view, published, asked, where, redis_is_up)
            stack.push_async_exit(own.pop_all())
            return rows

    async def _merged(
        self,
        session: Session,
        view: CompiledView,
        published: PublishedView,
        asked: Asked,
        where: Sql,
        redis_is_up: bool,
    ) -> OpenRows:
        facts = await read_facts(
            session, views=[view.name], types=[view.resource], own_type=view.resource
        )
        relation = self.state(facts)(published)
        statement = selected(view.columns, relation, where=where, limit=asked.limit)
        dated = dated_by(facts, view.name, asked, is_live=self.merges, redis_is_up=redis_is_up)
        return OpenRows(dated, view.columns, await session.stream(statement))

    async def _direct(self, view: CompiledView, asked: Asked, stack: AsyncExitStack) -> OpenRows:
        narrowed = asked.filters.narrowed(view)
        facts, _published = await self.runtime.hybrid.materialized.bookkeeping([view.resource])
        snapshot = await stack.enter_async_context(
            self.runtime.source.snapshot(statement_timeout_s=BATCH_TIMEOUT_S)
        )
        await check_in_source(snapshot, asked.filters.patients)
        resources = await snapshot.current(
            view.resource, with_meta=view.reads_meta, only=_changed(snapshot, view, asked)
        )
        told = partial(data_error_told, (view.name,))
        relation = compose("({})", narrowed.select(resources))
        now, complete_at = await snapshot.now(), await snapshot.complete_at()
        excluded = (OVERLAY_EXCLUDED,) if facts.provisional else ()
        degraded = (*excluded, *facts.degradations)
        dated = Dated(
            view=view.name,
            route="direct",
            computed_at=now,
            freshness="live",
            data_as_of=complete_at,
            checked_at=complete_at,
            pending=0,
            staleness_s=seconds(complete_at, now),
            missing_resources=await snapshot.unreadable_count(view.resource),
            degradations=tuple(one.code for one in degraded),
            limit=asked.limit,
        )
        with told():
            stream = await snapshot.session.stream(
                selected(view.columns, relation, limit=asked.limit)
            )
        return OpenRows(dated, view.columns, stream, told)


def require_newest(views: Iterable[PublishedView]) -> None:
    """QueryError `view_set_aside` when the rows of one of the views are of an earlier anchor."""
    for view in views:
        if view.last_anchor is None:
            continue
        raise QueryError(
            f'view "{view.name}" was set aside: its rows end at anchor {view.last_anchor}',
            code="view_set_aside",
            hint=f"ask query_view or query_sql with as_of {view.last_anchor}, or register the view"
            " anew; status tells why it cannot be computed",
        )


def _changed(snapshot: SourceSnapshot, view: CompiledView, asked: Asked) -> Sql | None:
    """The resources that the source changed after `_since`; None without it."""
    if asked.filters.since is None:
        return None
    keys = snapshot.keys([view.resource])
    return compose(_CHANGED, keys, param(asked.filters.since, "timestamptz"))


def dated_by(facts: Facts, view: str, asked: Asked, *, is_live: bool, redis_is_up: bool) -> Dated:
    """The date of rows that the layers gave, by the facts of their snapshot."""
    assert facts.anchor is not None
    assert facts.data_as_of is not None
    degraded = facts.degradations if is_live else (SPEED_LAYER_DISABLED, *facts.degradations)
    if is_live and not redis_is_up:
        degraded = (REDIS_UNAVAILABLE, *degraded)
    return Dated(
        view=view,
        route="materialized",
        computed_at=facts.computed_at,
        freshness="live" if is_live else "anchored",
        anchor=facts.anchor,
        data_as_of=facts.data_as_of,
        checked_at=facts.checked_at if facts.checked else None,
        pending=facts.pending if facts.checked else None,
        staleness_s=facts.staleness_s,
        speed_entries=facts.entries if is_live else None,
        provisional=facts.provisional if is_live else None,
        missing_resources=facts.missing_live if is_live else facts.missing_batch,
        degradations=tuple(one.code for one in degraded),
        limit=asked.limit,
    )
