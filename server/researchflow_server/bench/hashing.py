"""What the content hashes cost, as a share of the build and of the refresh they are part of."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.progress import Progress

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.sql import Sql, compose, ident, join, param
from researchflow_runners.store.content import read_content
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.relations import SCHEMA
from researchflow_server.bench.build import (
    CHANGED,
    RUNS,
    TIMEOUT_S,
    forget,
    refresh_changed,
    seconds_of,
)
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import SEVEN, Ward

_NEWEST = "SELECT max(anchor) FROM researchflow.anchor"
#: The rows that the newest refresh hashed, apart: finding them again is not its work.
_MOVED = """
CREATE TEMP TABLE {moved} AS
SELECT {columns} FROM {base} AS b WHERE _since = {anchor}
UNION ALL SELECT {columns} FROM {history} AS h WHERE _until = {anchor}
"""


async def hash_cost(ward: Ward, bar: Progress) -> list[Figure]:
    """Hashing all rows against building them, hashing the moved ones against a refresh."""
    warehouse = ward.runtime.stores.warehouse
    seven = [ward.runtime.views[name] for name in SEVEN]
    refresher = Refresher(warehouse, ward.runtime.source, seven)
    task = bar.add_task("building and hashing", total=RUNS)
    of_build, of_refresh, hashed_s = [], [], []
    for run in range(RUNS):
        await forget(warehouse)
        built_s = await seconds_of(refresher.refresh)
        # A number of its own for each run, so that every resource is another one again.
        refreshed_s = await refresh_changed(ward, refresher, RUNS + run, bar)
        async with warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session:
            views = list((await published_views(session)).values())
            whole = [ident(SCHEMA, view.base_table) for view in views]
            moved = [await _moved(session, view) for view in views]
            hashed_s.append(await _hash_all(session, views, whole))
            of_build.append(hashed_s[-1] / built_s)
            of_refresh.append(await _hash_all(session, views, moved) / refreshed_s)
        bar.advance(task)
    return [
        Figure("content hashes of seven views", median(hashed_s), "s", RUNS, ward.data),
        Figure("content hashes / first build", median(of_build), "ratio", RUNS, ward.data),
        Figure(
            f"content hashes / refresh of {CHANGED:,} changed",
            median(of_refresh),
            "ratio",
            RUNS,
            ward.data,
        ),
    ]


async def _moved(session: Session, view: PublishedView) -> Sql:
    moved = ident("pg_temp", f"moved_{view.name}")
    columns = [ident(name) for name, _type in view.stored_columns]
    await session.execute(
        compose(
            _MOVED,
            moved=moved,
            columns=join(", ", columns),
            base=ident(SCHEMA, view.base_table),
            history=ident(SCHEMA, view.history_table),
            anchor=param(await session.fetchval(_NEWEST), "bigint"),
        )
    )
    return moved


async def _hash_all(
    session: Session, views: Sequence[PublishedView], relations: Sequence[Sql]
) -> float:
    """Seconds for the content of each relation, one after the other."""

    async def read() -> None:
        for view, relation in zip(views, relations, strict=True):
            await read_content(session, view, relation)

    return await seconds_of(read)
