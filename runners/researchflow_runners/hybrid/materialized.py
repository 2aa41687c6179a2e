"""Answers from the published views: the merged rows, the current anchor's or an earlier one's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from researchflow_runners.errors import FreshnessError, QueryError
from researchflow_runners.hybrid.choice import Choice, asked_freshness, check_staleness, choose
from researchflow_runners.hybrid.contribution import contribution
from researchflow_runners.hybrid.existence import ExistenceCache, PublishedViews
from researchflow_runners.hybrid.facts import Facts, read_facts, seconds
from researchflow_runners.hybrid.reading import Asked, Read, read_page
from researchflow_runners.hybrid.result import Answer, Degradation, SpeedContribution, Timings
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.query.filters import views_of
from researchflow_runners.query.model import Query
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.published import PublishedView

#: Below what MCP clients wait for a call.
STATEMENT_TIMEOUT_S = 40.0

SPEED_LAYER_DISABLED = Degradation(
    "speed_layer_disabled",
    "the speed layer is switched off here: changes since the anchor are not merged",
)


class MaterializedViewRunner:
    """Answers queries all of whose views are published; each answer is of one snapshot."""

    def __init__(
        self,
        database: Database,
        *,
        cursor_key: bytes,
        use_speed_layer: bool = True,
        enable_cache: bool = True,
        statistics: RunnerStatistics | None = None,
        check_source: Callable[[Sequence[str]], Awaitable[object]] | None = None,
    ) -> None:
        """`check_source` looks at the source for pending changes of these resource types."""
        self.statistics = statistics or RunnerStatistics()
        self.existence = ExistenceCache(self.statistics, enabled=enable_cache)
        self._database = database
        self._cursor_key = cursor_key
        self._use_speed_layer = use_speed_layer
        self._check_source = check_source

    async def bookkeeping(self, types: Collection[str] = ()) -> tuple[Facts, PublishedViews]:
        """The facts about these resource types, and every published view by name."""
        async with self._snapshot() as session:
            facts = await read_facts(session, views=(), types=types, own_type=None)
            return facts, await self.existence.views(session, facts)

    async def query(self, query: Query, *, principal: str = "") -> Answer:
        """The answer; QueryError `view_not_published` when a view of the query is not.

        A `max_staleness_s` that the last look at the source cannot promise leads to a new look;
        FreshnessError `staleness_exceeded` when that does not help either.
        """
        try:
            return await self._answer(query, principal)
        except FreshnessError as error:
            if error.code != "staleness_exceeded" or self._check_source is None:
                raise
        _facts, published = await self.bookkeeping()
        names = views_of(query)
        types = {published[name].resource_type for name in names if name in published}
        await self._check_source(sorted(types))
        return await self._answer(query, principal)

    async def _answer(self, query: Query, principal: str) -> Answer:
        began_s = time.perf_counter()
        names = views_of(query)
        async with self._snapshot() as session:
            facts, published = await self._facts(session, names)
            views = [_published(name, published) for name in names]
            asked = Asked.of(
                query,
                digests={view.name: view.digest for view in views},
                principal=principal,
                key=self._cursor_key,
                now=facts.computed_at,
            )
            choice = await choose(
                session, asked, facts, views, use_speed_layer=self._use_speed_layer
            )
            check_staleness(query, choice, facts)
            facts_ms = (time.perf_counter() - began_s) * 1000
            read, speed = await _rows(session, asked, choice, facts, published)
        timings = Timings((time.perf_counter() - began_s) * 1000, facts_ms, read.rows_ms)
        return _dated(names, asked, choice, facts, read, speed, timings)

    def _snapshot(self) -> AbstractAsyncContextManager[Session]:
        return self._database.transaction(
            isolation="repeatable read", readonly=True, statement_timeout_s=STATEMENT_TIMEOUT_S
        )

    async def _facts(self, session: Session, names: Sequence[str]) -> tuple[Facts, PublishedViews]:
        """The facts and the catalogue; one round trip while the catalogue stays as it was."""
        guess = self.existence.guess()
        facts = await _facts_of(session, names, guess)
        published = await self.existence.views(session, facts)
        if published is not guess:
            facts = await _facts_of(session, names, published)
        return facts, published


def _published(name: str, published: PublishedViews) -> PublishedView:
    if name in published:
        return published[name]
    raise QueryError(
        f'view "{name}" is not materialised',
        code="view_not_published",
        hint="run refresh_views first",
        field="view",
        allowed=sorted(published),
    )


async def _facts_of(session: Session, names: Sequence[str], views: PublishedViews) -> Facts:
    types = {views[name].resource_type for name in names if name in views}
    own = views.get(names[0]) if names else None
    return await read_facts(
        session, views=names, types=types, own_type=own.resource_type if own else None
    )


async def _rows(
    session: Session, asked: Asked, choice: Choice, facts: Facts, published: PublishedViews
) -> tuple[Read, SpeedContribution]:
    catalogue = {name: view.columns for name, view in published.items()}

    def relations(name: str, columns: Collection[str]) -> Sql:
        return choice.relation(_narrowed(published[name], columns))

    is_live = choice.freshness == "live"
    instant = facts.computed_at if is_live else choice.data_as_of
    read = await read_page(
        session,
        asked,
        catalogue=catalogue,
        relations=relations,
        anchor=None if is_live else choice.anchor,
        on=instant.date(),
    )
    speed = await contribution(
        session,
        asked.query,
        choice,
        facts,
        published=published,
        catalogue=catalogue,
        relations=relations,
        read=read,
    )
    return read, speed


def _narrowed(view: PublishedView, columns: Collection[str]) -> PublishedView:
    """The view with no more than these columns."""
    kept = tuple(column for column in view.columns if column.name in columns)
    return replace(view, columns=kept)


def _dated(
    names: tuple[str, ...],
    asked: Asked,
    choice: Choice,
    facts: Facts,
    read: Read,
    speed: SpeedContribution,
    timings: Timings,
) -> Answer:
    is_live = choice.freshness == "live"
    disabled = asked_freshness(asked.query) == "live" and not is_live
    is_checked = facts.checked and choice.is_current
    return Answer(
        view=asked.query.view,
        columns=read.statement.columns,
        rows=read.page.rows,
        truncated=read.page.truncated,
        next_cursor=read.next_cursor,
        freshness=choice.freshness,
        route="materialized",
        anchor=choice.anchor,
        data_as_of=choice.data_as_of,
        computed_at=facts.computed_at,
        age_s=seconds(choice.data_as_of, facts.computed_at),
        staleness_s=choice.staleness_s(facts),
        checked_at=facts.checked_at if is_checked else None,
        pending=facts.pending if is_checked else None,
        speed=speed,
        missing_resources=facts.missing_live if is_live else facts.missing_batch,
        degradations=(SPEED_LAYER_DISABLED,) if disabled else (),
        timings=timings,
        views=names,
        cursor_after=read.cursor_after,
    )
