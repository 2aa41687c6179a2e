"""Answers computed from the source itself, for views that are defined and not materialised."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import FreshnessError, QueryError, StatementError
from researchflow_runners.hybrid.choice import asked_freshness, check_bound
from researchflow_runners.hybrid.facts import seconds
from researchflow_runners.hybrid.looks import Looks
from researchflow_runners.hybrid.reading import Asked, Read, read_page, with_dates
from researchflow_runners.hybrid.result import Answer, Degradation, SpeedContribution, Timings
from researchflow_runners.query.model import Query
from researchflow_runners.query.sql import check_query
from researchflow_runners.query.walk import views_of
from researchflow_runners.source.reader import HapiSource, SourceSnapshot
from researchflow_runners.sql import Sql, compose
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Session

STATEMENT_TIMEOUT_S = 40.0
_REPLICA_HINT = (
    "the source is a replica that shows what it has replayed: read from the primary, or allow a "
    "larger max_staleness_s"
)

OVERLAY_EXCLUDED = Degradation(
    "overlay_excluded",
    "this view is not materialised, so changes known only from their writer are not merged;"
    " refresh_views makes it materialised",
)


class PostgresRunner:
    """Runs compiled views over the source as it is now; it has no earlier state to read.

    Provisional changes are not in the source and so not in its answers.
    """

    def __init__(self, source: HapiSource, *, cursor_key: bytes) -> None:
        self._source = source
        self._cursor_key = cursor_key

    async def query(
        self, query: Query, views: Mapping[str, CompiledView], *, principal: str = ""
    ) -> Answer:
        """The answer from these views; FreshnessError `view_not_materialised` for anchored reads.

        Nothing is pending: the rows are those of the source's newest state, of a replica as far
        as it has replayed, and so old; FreshnessError `staleness_exceeded` when that is too old.
        Missing are the resources of which the source holds no readable version.
        """
        catalogue = {name: view.columns for name, view in views.items()}
        check_query(query, catalogue)
        _check_is_live(query)
        began_s = time.perf_counter()
        names = views_of(query, catalogue)
        async with self._source.snapshot(statement_timeout_s=STATEMENT_TIMEOUT_S) as snapshot:
            now, complete_at = await snapshot.now(), await snapshot.complete_at()
            check_bound(query, seconds(complete_at, now), hint=_REPLICA_HINT)
            asked = Asked.of(
                query,
                digests={name: views[name].digest for name in names},
                principal=principal,
                key=self._cursor_key,
                now=now,
            )
            relations = {name: await _relation(snapshot, views[name]) for name in names}
            facts_ms = (time.perf_counter() - began_s) * 1000
            with data_error_told(names):
                read = await _read(snapshot.session, asked, views, relations)
            types = {views[name].resource for name in names}
            missing = sum([await snapshot.unreadable_count(each) for each in sorted(types)])
        timings = Timings((time.perf_counter() - began_s) * 1000, facts_ms, read.rows_ms)
        return _dated(names, asked, read, complete_at, missing, timings)


async def _read(
    session: Session,
    asked: Asked[Query],
    views: Mapping[str, CompiledView],
    relations: Mapping[str, Sql],
) -> Read:
    """The page, with the days that relative dates mean in the source."""
    catalogue = {name: views[name].columns for name in relations}
    today = asked.now.date()

    def relation(name: str, _columns: Collection[str]) -> Sql:
        return relations[name]

    asked, told = await with_dates(session, asked, catalogue, relation, on=today)
    return await read_page(
        session,
        asked,
        catalogue=catalogue,
        relations=relation,
        anchor=None,
        on=today,
        told=told,
        looks=Looks(),
        state=None,
        has_more=False,
    )


def _check_is_live(query: Query) -> None:
    if asked_freshness(query) == "live":
        return
    raise FreshnessError(
        f'view "{query.view}" is not materialised, so it has no anchors',
        code="view_not_materialised",
        hint="run refresh_views first, or ask for freshness live",
        field="freshness" if query.as_of is None else "as_of",
        allowed=("live",),
    )


@contextmanager
def data_error_told(names: tuple[str, ...]) -> Iterator[None]:
    """A resource that a view cannot compute stops this route; the error names the other one."""
    try:
        yield
    except StatementError as error:
        if not is_data_error(error):
            raise
        raise QueryError(
            f'a resource of the source does not fit view "{names[0]}"'
            if len(names) == 1
            else f'a resource of the source does not fit one of the views "{", ".join(names)}"',
            code="resource_not_computable",
            hint="run refresh_views: a materialised view leaves such resources out and counts "
            "them; or correct the ViewDefinition where it expects one value",
            field="view",
        ) from error


async def _relation(snapshot: SourceSnapshot, view: CompiledView) -> Sql:
    resources = await snapshot.current(view.resource, with_meta=view.reads_meta)
    return compose("(SELECT d.*, 'batch'::text AS _layer FROM ({}) AS d)", view.select(resources))


def _dated(
    names: tuple[str, ...],
    asked: Asked[Query],
    read: Read,
    complete_at: datetime,
    missing: int,
    timings: Timings,
) -> Answer:
    age_s = seconds(complete_at, asked.now)
    return Answer(
        view=asked.query.view,
        columns=read.statement.columns,
        rows=read.page.rows,
        truncated=read.page.truncated,
        next_cursor=read.next_cursor,
        freshness="live",
        route="direct",
        anchor=None,
        data_as_of=complete_at,
        computed_at=asked.now,
        age_s=age_s,
        staleness_s=age_s,
        checked_at=complete_at,
        pending=0,
        speed=SpeedContribution(enabled=False),
        missing_resources=missing,
        degradations=(),
        warnings=read.warnings,
        ties=read.page.ties,
        timings=timings,
        views=names,
        cursor_after=read.cursor_after,
    )
