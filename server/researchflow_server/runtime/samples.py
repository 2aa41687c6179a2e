"""A definition tried over data that is there: what of it would fail, before anything is published.

Counts, columns and reasons are told, never a value and no resource by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from researchflow_runners.compiler import CompiledView
from researchflow_runners.composed.cast_faults import cast_faults
from researchflow_runners.composed.view import ComposedView, Relations, users_sql
from researchflow_runners.errors import QueryError, StoreError
from researchflow_runners.hybrid.answerable import answerable_views, relation_of
from researchflow_runners.hybrid.unfit import casts_of
from researchflow_runners.sql import compose, ident, join, param
from researchflow_runners.store.culprits import Culprit, find_culprits
from researchflow_runners.store.database import Session
from researchflow_runners.store.relations import live_relation
from researchflow_server.runtime import Runtime

SAMPLE_MAX = 1_000
TIMEOUT_S = 20.0
#: Reasons and casts that are told.
TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """How many resources or rows were tried, how many of them fail, and why, in words."""

    tried: int
    failing: int | None
    reasons: tuple[str, ...]


async def tried(runtime: Runtime, view: CompiledView | ComposedView) -> Sample:
    """The definition over some of the data; says so where they cannot be reached in time."""
    try:
        if isinstance(view, ComposedView):
            return await _tried_sql(runtime, view)
        return await _tried_view(runtime, view)
    except StoreError as error:
        return Sample(0, None, (f"it could not be tried over data: {error.message}",))


async def _tried_view(runtime: Runtime, view: CompiledView) -> Sample:
    """The view over the newest resources of its type; ViewFailsError when it fails on any data."""
    async with runtime.source.snapshot(statement_timeout_s=TIMEOUT_S) as snapshot:
        resources = await snapshot.current(view.resource, with_meta=view.reads_meta)
        newest = compose(
            "(SELECT * FROM {} AS n ORDER BY n.res_id DESC LIMIT {})",
            resources,
            param(SAMPLE_MAX, "bigint"),
        )
        counted = compose("SELECT count(*) FROM {} AS r", newest)
        tried = int(await snapshot.session.fetchval(counted))
        culprits = await find_culprits(snapshot.session, view, newest)
    return Sample(tried, len(culprits), _reasons(culprits))


def _reasons(culprits: Sequence[Culprit]) -> tuple[str, ...]:
    """Why resources are left out, the most frequent reason first."""
    counts = Counter((one.column, one.reason) for one in culprits)
    return tuple(
        f"{count} resources would be left out: "
        + (f'column "{column}" has {reason}' if column else reason)
        for (column, reason), count in counts.most_common(TOLD_MAX)
    )


async def _tried_sql(runtime: Runtime, view: ComposedView) -> Sample:
    """The SQL over the live rows of its views: the first rows of it, and its casts of columns."""
    async with runtime.hybrid.materialized.snapshot() as session:
        views = await answerable_views(session)
        relations = partial(relation_of, views=views, relation=live_relation)
        casts = casts_of(view.checked, view.depends_on, views) if view.checked else ()
        async with runtime.hybrid.materialized.places.one(session):
            faults = await cast_faults(session, casts, relations)
            rows, failure = await _computed(session, view, relations)
    told = [
        f'{fault.cast.text} fails on {fault.rows:,} rows of view "{fault.view}", unless the SQL '
        f"leaves them out: {fault.cast.guard}"
        for fault in faults[:TOLD_MAX]
    ]
    return Sample(rows, None, (*([failure] if failure else []), *told))


async def _computed(
    session: Session, view: ComposedView, relations: Relations
) -> tuple[int, str | None]:
    """How many of the first rows can be computed, every column of them, or why they cannot."""
    if view.parameters:
        return 0, "it was not tried over data: it has rows only with values for its parameters"
    columns = join(", ", (compose("v.{}", ident(column.name)) for column in view.columns))
    counting = compose(
        "SELECT count(md5(s.t)) FROM (SELECT ROW({})::text AS t FROM {} AS v LIMIT {}) AS s",
        columns,
        view.relation(relations),
        param(SAMPLE_MAX, "bigint"),
    )
    try:
        async with session.savepoint():
            with users_sql(view.name, field="sql"):
                return int(await session.fetchval(counting)), None
    except QueryError as error:
        return 0, f"asked now, {error.message}"
