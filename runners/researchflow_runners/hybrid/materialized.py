"""Answers from the published views: the merged rows, the current anchor's or an earlier one's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from researchflow_runners.composed.stored import leaves
from researchflow_runners.composed.view import users_sql
from researchflow_runners.errors import FreshnessError, ResearchFlowError
from researchflow_runners.hybrid.answerable import (
    AnswerableViews,
    composed_among,
    materialised,
    relation_of,
)
from researchflow_runners.hybrid.choice import (
    Choice,
    asked_freshness,
    choose,
    facts_of,
    views_asked,
)
from researchflow_runners.hybrid.contribution import contribution
from researchflow_runners.hybrid.existence import ExistenceCache
from researchflow_runners.hybrid.facts import Facts, read_facts, seconds
from researchflow_runners.hybrid.looks import Looks
from researchflow_runners.hybrid.parameters import told_of_values, with_values
from researchflow_runners.hybrid.places import Places
from researchflow_runners.hybrid.reading import Asked, Read, read_page, with_dates
from researchflow_runners.hybrid.result import Answer, Degradation, SpeedContribution, Timings
from researchflow_runners.hybrid.state import Beside, State, T, nothing
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.hybrid.unfit import casts_below, casts_told
from researchflow_runners.hybrid.unplaced import UnplacedTimes
from researchflow_runners.query.model import Query
from researchflow_runners.query.walk import views_of
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
        self.places = Places(database.sessions_max, lingering=database.lingering)
        self.looks = Looks()
        self._unplaced = UnplacedTimes()
        self._database = database
        self.cursor_key = cursor_key
        self.use_speed_layer = use_speed_layer
        self._check_source = check_source

    async def bookkeeping(self, types: Collection[str] = ()) -> tuple[Facts, AnswerableViews]:
        """The facts about these resource types, and every view that can be asked by name."""
        async with self.snapshot() as session:
            facts = await read_facts(session, views=(), types=types, own_type=None)
            return facts, await self.existence.views(session, facts)

    async def query(self, query: Query, *, principal: str = "") -> Answer:
        """The answer; QueryError `view_not_published` when a view of the query is not.

        A `max_staleness_s` that the last look at the source cannot promise leads to a new look;
        FreshnessError `staleness_exceeded` when that does not help either.
        """
        answer, _told = await self._promised(query, nothing, principal, self.looks)
        return answer

    async def query_beside(
        self, query: Query, beside: Beside[T], *, principal: str = ""
    ) -> tuple[Answer, T]:
        """The answer, and what `beside` reads in the same snapshot.

        Why nothing was found is left to `beside`.
        """
        return await self._promised(query, beside, principal, None)

    async def _promised(
        self, query: Query, beside: Beside[T], principal: str, looks: Looks | None
    ) -> tuple[Answer, T]:
        return await self.promised(
            lambda views: _names(query, views),
            lambda: self._answer(query, beside, principal, looks),
        )

    async def promised(
        self,
        names: Callable[[AnswerableViews], Sequence[str]],
        answer: Callable[[], Awaitable[T]],
    ) -> T:
        """The answer over the views that `names` tells; after a new look at the source when it
        was refused for what the last one cannot promise."""
        try:
            return await answer()
        except FreshnessError as error:
            if error.code != "staleness_exceeded" or self._check_source is None:
                raise
        _facts, views = await self.bookkeeping()
        types = {view.resource_type for view in materialised(names(views), views)}
        await self._check_source(sorted(types))
        return await answer()

    async def _answer(
        self, query: Query, beside: Beside[T], principal: str, looks: Looks | None
    ) -> tuple[Answer, T]:
        began_s = time.perf_counter()
        async with self.snapshot() as session:
            names, facts, views = await self.facts(session, partial(_names, query))
            views = await views_asked(session, query, facts, views)
            read_views = materialised(names, views)
            views = with_values(query, names, views)
            asked = Asked.of(
                query,
                digests=digests(names, views, read_views),
                principal=principal,
                key=self.cursor_key,
                now=facts.computed_at,
            )
            choice = await choose(
                session, asked, facts, read_views, use_speed_layer=self.use_speed_layer
            )
            facts = await facts_of(session, query, choice, facts, read_views)
            facts_ms = (time.perf_counter() - began_s) * 1000
            unplaced = await self._unplaced.warnings(session, query, choice, views)
            async with (
                self.written_by_users(session, names, views),
                self._casts_told(names, views, choice),
            ):
                read, speed, told = await _rows(session, asked, choice, facts, views, looks, beside)
        timings = Timings((time.perf_counter() - began_s) * 1000, facts_ms, read.rows_ms)
        answer = dated(query.view, names, asked, choice, facts, read, speed, timings)
        return replace(answer, warnings=(*answer.warnings, *unplaced)), told

    def snapshot(self) -> AbstractAsyncContextManager[Session]:
        """One state of the warehouse, read-only."""
        return self._database.transaction(
            isolation="repeatable read", readonly=True, statement_timeout_s=STATEMENT_TIMEOUT_S
        )

    @asynccontextmanager
    async def written_by_users(
        self, session: Session, names: Sequence[str], views: AnswerableViews
    ) -> AsyncIterator[None]:
        """A place, fewer rights, and whose fault it is, where users' SQL is among the views."""
        composed = [name for name in names if name in composed_among(views)]
        if not composed:
            yield
            return
        async with self.places.one(session):
            with users_sql(composed[0], field="view"):
                yield

    def _casts_told(
        self, names: Sequence[str], views: AnswerableViews, choice: Choice
    ) -> AbstractAsyncContextManager[None]:
        """Says of a row that does not fit which cast of users' SQL it was."""
        composed = [name for name in names if name in composed_among(views)]
        if not composed:
            return nullcontext()
        return casts_told(
            composed[0],
            partial(casts_below, composed, views),
            partial(relation_of, views=views, relation=choice.relation),
            field="view",
            snapshot=self.snapshot,
        )

    async def facts(
        self, session: Session, named: Callable[[AnswerableViews], Sequence[str]]
    ) -> tuple[tuple[str, ...], Facts, AnswerableViews]:
        """The views that `named` tells of the catalogue, the facts about them, and the catalogue.

        One round trip while the catalogue stays as it was. Raises what `named` raises of it.
        """
        guess = self.existence.guess()
        try:
            names = tuple(named(guess))
        except ResearchFlowError:
            # What is not there may have come since: only the catalogue of now decides.
            names = ()
        facts = await _facts_of(session, names, guess)
        views = await self.existence.views(session, facts)
        if views is not guess or not names:
            names = tuple(named(views))
            facts = await _facts_of(session, names, views)
        return names, facts, views


def _names(query: Query, views: AnswerableViews) -> tuple[str, ...]:
    return views_of(query, {name: view.columns for name, view in views.items()})


def digests(
    names: Sequence[str], views: AnswerableViews, read: Sequence[PublishedView]
) -> dict[str, str]:
    """What a cursor is bound to: the definition of every view involved."""
    return {view.name: view.digest for view in (*(views[name] for name in names), *read)}


async def _facts_of(session: Session, names: Sequence[str], views: AnswerableViews) -> Facts:
    """The facts about the materialised views among these and below them."""
    read = [views.get(name) for name in leaves(names, composed_among(views))]
    found = [view for view in read if isinstance(view, PublishedView)]
    own = views.get(names[0]) if names else None
    return await read_facts(
        session,
        views=[view.name for view in found],
        types={view.resource_type for view in found},
        own_type=own.resource_type if isinstance(own, PublishedView) else None,
    )


async def _rows(
    session: Session,
    asked: Asked[Query],
    choice: Choice,
    facts: Facts,
    views: AnswerableViews,
    looks: Looks | None,
    beside: Beside[T],
) -> tuple[Read, SpeedContribution, T]:
    catalogue = {name: view.columns for name, view in views.items()}

    def relations(name: str, columns: Collection[str]) -> Sql:
        return relation_of(name, columns, views, choice.relation)

    is_live = choice.freshness == "live"
    today = (facts.computed_at if is_live else choice.data_as_of).date()
    asked, told = await with_dates(session, asked, catalogue, relations, on=today)
    read = await read_page(
        session,
        asked,
        catalogue=catalogue,
        relations=relations,
        anchor=None if is_live else choice.anchor,
        on=today,
        told=told,
        looks=looks,
        state=f"{choice.anchor} {facts.catalogue_state} {asked.query.parameters or ''}",
        has_more=is_live and facts.entries > 0,
    )
    if looks is not None:
        read = await told_of_values(session, asked.query, read, views, catalogue, relations)
    speed = await contribution(
        session,
        asked.query,
        choice,
        facts,
        views=views,
        catalogue=catalogue,
        relations=relations,
        read=read,
    )
    state = State(session, asked.query, views, catalogue, relations, today)
    return read, speed, await beside(state)


def dated(
    view: str,
    names: tuple[str, ...],
    asked: Asked[Any],
    choice: Choice,
    facts: Facts,
    read: Read,
    speed: SpeedContribution,
    timings: Timings,
) -> Answer:
    """The page as an answer about `view`, which reads the views `names`."""
    is_live = choice.freshness == "live"
    disabled = asked_freshness(asked.query) == "live" and not is_live and not choice.set_aside
    is_checked = facts.checked and choice.is_current
    return Answer(
        view=view,
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
        degradations=(
            *((SPEED_LAYER_DISABLED,) if disabled else ()),
            *(_set_aside(name, choice.anchor) for name in choice.set_aside),
            *facts.degradations,
        ),
        warnings=read.warnings,
        ties=read.page.ties,
        timings=timings,
        views=names,
        cursor_after=read.cursor_after,
    )


def _set_aside(view: str, anchor: int) -> Degradation:
    """Says for whose sake an answer is older than was asked for."""
    return Degradation(
        "view_set_aside",
        f'view "{view}" cannot be computed for now: everything is as of anchor {anchor}, '
        "without later changes; list_views says why",
    )
