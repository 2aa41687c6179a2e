"""What `latest_per` costs beside DISTINCT ON as it is written by hand, over the same rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from statistics import median

from rich.progress import Progress

from researchflow_runners.query.group_model import Aggregate
from researchflow_runners.query.model import Latest, Query
from researchflow_runners.query.sql import build_statement
from researchflow_runners.sql import Sql, compose, fixed, join
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_view
from researchflow_runners.store.relations import anchored_relation
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import Ward

ROWS = 500_000
RUNS = 5
AT_MOST = 1.5
VIEW = "observation_labs"
#: The rows of the view so often that there are enough, of as many more patients.
_REPEATED = """
CREATE UNLOGGED TABLE repeated_labs AS
SELECT d._id || '-' || n AS _id, d._ord, d._layer, d.patient_id || '-' || n AS patient_id, {dates}
FROM {relation} AS d, generate_series(1, {times}) AS n LIMIT {rows}
"""
_BY_HAND = """
SELECT count(*) FROM (SELECT DISTINCT ON (patient_id COLLATE "C") effective_datetime
FROM repeated_labs ORDER BY patient_id COLLATE "C",
coalesce(effective_datetime__lo, effective_period_start__lo, issued__lo) DESC, _id COLLATE "C") AS d
"""


async def latest_cost(ward: Ward, bar: Progress, *, rows: int = ROWS) -> list[Figure]:
    """Both times and their ratio; the two take turns, so that noise falls on both."""
    await ward.runtime.refresher.refresh()
    async with ward.runtime.stores.warehouse.transaction() as session:
        published = await published_view(session, VIEW)
        await _repeat(session, published, rows)
        query = Query(
            view=VIEW, latest_per=Latest(key="patient_id"), aggregates=[Aggregate(fn="count")]
        )
        asked = build_statement(
            query,
            {VIEW: published.columns},
            lambda _view, _columns: fixed("repeated_labs"),
            on=datetime.now(UTC).date(),
        ).sql
        task = bar.add_task("asking for the latest", total=RUNS)
        times: tuple[list[float], list[float]] = ([], [])
        for _run in range(RUNS):
            for taken_s, sql in zip(times, (asked, fixed(_BY_HAND)), strict=True):
                taken_s.append(await _seconds(session, sql))
            bar.advance(task)
        await session.execute("DROP TABLE repeated_labs")
    ours_s, by_hand_s = map(median, times)
    data = f"{rows:,} rows"
    return [
        Figure("latest_per, p50", ours_s, "s", RUNS, data),
        Figure(
            "latest_per / DISTINCT ON by hand", ours_s / by_hand_s, "ratio", RUNS, data, AT_MOST
        ),
    ]


async def _repeat(session: Session, published: PublishedView, rows: int) -> None:
    dates = [
        fixed(f'd."{name}"')
        for column in published.columns
        if column.event is not None
        for name, _pg_type in column.physical
    ]
    relation = anchored_relation(published)
    held = await session.fetchval(compose("SELECT count(*) FROM {} AS d", relation))
    repeated = compose(
        _REPEATED,
        dates=join(", ", dates),
        relation=relation,
        times=fixed(f"{-(-rows // held):d}"),
        rows=fixed(f"{rows:d}"),
    )
    await session.execute(repeated)
    await session.execute("ANALYZE repeated_labs")


async def _seconds(session: Session, sql: Sql) -> float:
    began_s = time.perf_counter()
    await session.fetch(sql)
    return time.perf_counter() - began_s
