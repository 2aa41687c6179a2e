"""Loading, the first build against the parse floor, and a refresh against a build."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

from rich.progress import Progress

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import CompiledView
from researchflow_runners.source.load import load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.store.database import Database
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import CONDITIONS, PATIENTS, SEVEN, Ward

RUNS = 3
CHANGED = 1_000
BUILD_RATIO_MAX = 3.0
REFRESH_RATIO_MAX = 0.2
LOAD_PER_S_MIN = 20_000

TIMEOUT_S = 600.0
#: count() of the cast makes PostgreSQL parse each text; every resource has one version here.
_PARSE = "SELECT count(res_text_vc::jsonb) FROM hfj_res_ver WHERE res_type = $1"
_FORGET = """
DROP SCHEMA IF EXISTS researchflow CASCADE;
DROP SCHEMA IF EXISTS sqlonfhir CASCADE;
DROP SCHEMA IF EXISTS sqlonfhir_live CASCADE
"""


async def build_and_refresh(ward: Ward, bar: Progress) -> list[Figure]:
    """The load's rate, and the ratios of build to parse and of refresh to build."""
    warehouse = ward.runtime.stores.warehouse
    seven = [ward.runtime.views[name] for name in SEVEN]
    refresher = Refresher(warehouse, ward.runtime.source, seven)
    task = bar.add_task("parsing and building", total=RUNS * 2)
    parses, builds = [], []
    for _run in range(RUNS):
        parses.append(await seconds_of(lambda: parse_all(warehouse, seven)))
        bar.advance(task)
        await forget(warehouse)
        builds.append(await seconds_of(refresher.refresh))
        bar.advance(task)
    refreshes = [await refresh_changed(ward, refresher, run, bar) for run in range(RUNS)]
    return [
        *_loading(ward),
        *_building(ward, parses, builds),
        *_refreshing(ward, refreshes, builds),
    ]


def _loading(ward: Ward) -> list[Figure]:
    rate = ward.loaded.resources_per_s
    return [
        Figure("load of NDJSON", rate, "resources/s", 1, ward.data, at_least=LOAD_PER_S_MIN),
    ]


def _building(ward: Ward, parses: Sequence[float], builds: Sequence[float]) -> list[Figure]:
    ratios = [build / parse for build, parse in zip(builds, parses, strict=True)]
    return [
        Figure("parse of the seven views' texts", median(parses), "s", RUNS, ward.data),
        Figure("first build of seven views", median(builds), "s", RUNS, ward.data),
        Figure("first build / parse", median(ratios), "ratio", RUNS, ward.data, BUILD_RATIO_MAX),
    ]


def _refreshing(ward: Ward, refreshes: Sequence[float], builds: Sequence[float]) -> list[Figure]:
    name = f"refresh of {CHANGED:,} changed"
    ratio = median(refreshes) / median(builds)
    return [
        Figure(name, median(refreshes), "s", RUNS, ward.data),
        Figure(f"{name} / full build", ratio, "ratio", RUNS, ward.data, REFRESH_RATIO_MAX),
    ]


async def seconds_of(work: Callable[[], Awaitable[Any]]) -> float:
    """How long the work takes."""
    began_s = time.perf_counter()
    await work()
    return time.perf_counter() - began_s


async def parse_all(warehouse: Database, views: Sequence[CompiledView]) -> None:
    """Parses the text of each view's resources; a type of two views counts twice."""
    async with warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session:
        for view in views:
            await session.fetchval(_PARSE, view.resource)


async def forget(warehouse: Database) -> None:
    """Empties the warehouse."""
    async with warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session:
        await session.execute(_FORGET)
    await warehouse.install_schema()


async def refresh_changed(ward: Ward, refresher: Refresher, run: int, bar: Progress) -> float:
    """A refresh after resources of all kinds got a new version."""
    task = bar.add_task(f"refreshing {CHANGED:,} changes", total=1)
    source = ward.runtime.stores.source
    changed = [
        one | {"meta": {"source": f"urn:bench:{run}"}, "language": f"en-{run}"}
        for number, one in enumerate(hospital(patients=PATIENTS, conditions=CONDITIONS))
        if number % (ward.loaded.resources // CHANGED) == 0
    ][:CHANGED]
    await load_resources(source, changed)
    seconds = await seconds_of(refresher.refresh)
    bar.advance(task)
    return seconds
