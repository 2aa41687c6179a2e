"""The serving layer's door: a question in, a dated answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from researchflow_runners.batch.pending import check_source
from researchflow_runners.codes.query import CodeQuery
from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.composed.parameters import values_of
from researchflow_runners.errors import QueryError, ResearchFlowError, StoreError
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.choice import asked_freshness
from researchflow_runners.hybrid.classic import query_of
from researchflow_runners.hybrid.codes import CodeFinder
from researchflow_runners.hybrid.materialized import MaterializedViewRunner
from researchflow_runners.hybrid.postgres import OVERLAY_EXCLUDED, PostgresRunner
from researchflow_runners.hybrid.profile import ProfileRunner
from researchflow_runners.hybrid.redis_probe import RedisProbe
from researchflow_runners.hybrid.result import Answer, Degradation
from researchflow_runners.hybrid.sql import SqlRunner
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.hybrid.timeline import Record, read_timeline
from researchflow_runners.query.model import Asking, Freshness, Query, SqlQuery
from researchflow_runners.query.sql import check_query
from researchflow_runners.query.timeline import Timeline
from researchflow_runners.query.walk import views_of
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.store.database import Database

#: The whole answer, waiting for a connection included.
ANSWER_TIMEOUT_S = 44.0

REDIS_UNAVAILABLE = Degradation(
    "redis_unavailable",
    "redis does not answer: every acknowledged change is merged, newer ones are not being taken",
)


class HybridRunner:
    """Answers questions about views, by the best route that tells the truth.

    Views that are all published are read in one snapshot of the warehouse, merged with the
    waiting changes unless an anchor is asked for. Otherwise, when all are among `views`, they
    are computed from `source`. Calls may run at once; nothing of an answer stays here.
    """

    def __init__(
        self,
        db_client: Database,
        redis_client: RedisClient | None,
        enable_cache: bool = True,
        *,
        source: HapiSource | None = None,
        views: Sequence[CompiledView] = (),
        use_speed_layer: bool = True,
        cursor_key: bytes,
    ) -> None:
        """Without `source`, views that are not materialised are refused and no look is taken at
        what is pending there; `views` are those that may be computed from it."""
        self.statistics = RunnerStatistics()
        self.materialized = MaterializedViewRunner(
            db_client,
            cursor_key=cursor_key,
            use_speed_layer=use_speed_layer,
            enable_cache=enable_cache,
            statistics=self.statistics,
            check_source=partial(check_source, db_client, source) if source else None,
        )
        self.sql = SqlRunner(self.materialized)
        self.codes = CodeFinder(self.materialized)
        self.profiles = ProfileRunner(self.materialized)
        self.postgres = PostgresRunner(source, cursor_key=cursor_key) if source else None
        self._views = {view.name: view for view in views}
        self._probe = RedisProbe(redis_client)
        self._use_speed_layer = use_speed_layer

    async def query(self, query: Query, *, principal: str = "") -> Answer:
        """The answer, or a ResearchFlowError; a cursor works for its own `principal` only."""
        return await self._counted(query, lambda: self._routed(query, self._views, principal))

    async def query_sql(self, query: SqlQuery, *, principal: str = "") -> Answer:
        """The answer to SQL over views that are materialised or composed; errors as SqlRunner."""
        return await self._counted(query, lambda: self.sql.query(query, principal=principal))

    async def timeline(self, timeline: Timeline) -> tuple[Answer, Record]:
        """One patient's events, and what is not listed; errors as `read_timeline`."""
        records: list[Record] = []

        async def answer() -> Answer:
            answered, record = await read_timeline(self.materialized, timeline)
            records.append(record)
            return answered

        return await self._counted(timeline, answer), records[-1]

    async def find_codes(self, query: CodeQuery) -> Answer:
        """The codes that occur for words or a code; errors as CodeFinder."""
        return await self._counted(Asking(), lambda: self.codes.find(query))

    async def execute(
        self,
        view_definition: str | Mapping[str, Any],
        search_params: Mapping[str, Any] | None = None,
        max_resources: int | None = None,
        *,
        freshness: Freshness | None = None,
        as_of: int | datetime | str | None = None,
        max_staleness_s: float | None = None,
        cursor: str | None = None,
    ) -> Answer:
        """All columns of one view, given by its name or as a ViewDefinition.

        `search_params` maps columns to the value, or the list of values, that they equal; None
        means missing. `max_resources` bounds the rows, LIMIT_MAX when absent. A ViewDefinition
        that differs from the published one of its name is computed from the source.
        """
        views = self._views
        if not isinstance(view_definition, str):
            compiled = compile_view(view_definition)
            views = {**views, compiled.name: compiled}
        query = query_of(
            view_definition if isinstance(view_definition, str) else compiled.name,
            search_params or {},
            max_resources=max_resources,
            freshness=freshness,
            as_of=as_of,
            max_staleness_s=max_staleness_s,
            cursor=cursor,
        )
        return await self._counted(query, lambda: self._routed(query, views, ""))

    def clear_cache(self) -> None:
        """Forgets which views are published; the next answer looks again."""
        self.materialized.existence.clear()

    def get_statistics(self) -> dict[str, Any]:
        """Counters since this runner was made; see RunnerStatistics.as_dict."""
        return {
            "runner_type": "hybrid",
            **self.statistics.as_dict(),
            "speed_layer_enabled": self._use_speed_layer,
            "views_cached": len(self.materialized.existence),
        }

    async def _counted(self, query: Asking, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answered = await self._probed(query, answer)
        except TimeoutError as error:
            self.statistics.refuse("statement_timeout")
            raise _too_slow() from error
        except ResearchFlowError as error:
            self.statistics.refuse(error.code)
            raise
        self.statistics.answered(answered)
        return answered

    async def _probed(self, query: Asking, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer, marked when it is merged while Redis does not answer."""
        if not self._use_speed_layer or asked_freshness(query) != "live":
            return await answer()
        async with self._probe.beside() as redis_is_up:
            answered = await answer()
            if await redis_is_up:
                return answered
        return replace(answered, degradations=(*answered.degradations, REDIS_UNAVAILABLE))

    async def _routed(
        self, query: Query, views: Mapping[str, CompiledView], principal: str
    ) -> Answer:
        own = views.get(query.view)
        if own is None or own is self._views.get(query.view) or await self._is_published(own):
            try:
                return await self.materialized.query(query, principal=principal)
            except QueryError as error:
                if error.code != "view_not_published" or error.field == "depends_on":
                    raise
        return await self._direct(query, views, principal)

    async def _is_published(self, view: CompiledView) -> bool:
        _facts, published = await self.materialized.bookkeeping()
        return view.name in published and published[view.name].digest == view.digest

    async def _direct(
        self, query: Query, views: Mapping[str, CompiledView], principal: str
    ) -> Answer:
        """The answer from the source; QueryError for views that have neither rows nor SQL."""
        values_of(query.view, (), query.parameters)
        defined_columns = {name: view.columns for name, view in views.items()}
        names = views_of(query, defined_columns)
        types = {views[name].resource for name in names if name in views}
        facts, published = await self.materialized.bookkeeping(types)
        published_columns = {name: view.columns for name, view in published.items()}
        check_query(query, {**published_columns, **defined_columns})
        if self.postgres is None or any(name not in views for name in names):
            raise _not_published(names, published)
        answer = await self.postgres.query(query, views, principal=principal)
        excluded = (OVERLAY_EXCLUDED,) if facts.provisional else ()
        return replace(answer, degradations=(*excluded, *facts.degradations))


def _not_published(names: tuple[str, ...], published: AnswerableViews) -> QueryError:
    missing = next((name for name in names if name not in published), names[0])
    return QueryError(
        f'view "{missing}" is not materialised',
        code="view_not_published",
        hint="run refresh_views first",
        field="view",
        allowed=sorted(published),
    )


def _too_slow() -> StoreError:
    return StoreError(
        f"the answer took longer than {ANSWER_TIMEOUT_S:g} s",
        code="statement_timeout",
        hint="ask for less (narrower filter, smaller limit) or try again later",
    )
