"""A refresh of so many changes, told by the outbox, over ever more unchanged resources."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.progress import Progress

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import CompiledView
from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.store.database import Database
from researchflow_server.bench.build import forget, parse_all
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.memory import Memory, watched
from researchflow_server.bench.volume import TIMEOUT_S, change, one_process, volume
from researchflow_server.runtime.runtime import compiled_views

SIZES = (20_000, 100_000)
LARGE_SIZES = (100_000, 300_000, 1_000_000)
VIEWS = ("patient_simple", "observation_labs")
CHANGED = 1_000
RUNS = 5
GROWTH_MAX = 1.5
#: Of a full build, of a million resources; and the time to compare every key of as many.
BUILD_PART_MAX = 0.05
#: A build of a million, in times of parsing the same texts to jsonb once on one connection.
BUILD_RATIO_MAX = 2.5
SCAN_S_MAX = 5.0
LARGE = 1_000_000
_COMPARE_NEXT = "UPDATE researchflow.feed_position SET identity = NULL"


@dataclass(frozen=True, slots=True)
class _Measured:
    size: int
    parse_s: float
    one_s: float
    memory: Memory
    build_s: float
    told_s: float
    compare_s: float


async def refresh_growth(bar: Progress, *, large: bool = False) -> list[Figure]:
    """Build, refresh and comparison at each size, and how the refresh grows."""
    sizes = LARGE_SIZES if large else SIZES
    task = bar.add_task("building and refreshing ever more", total=len(sizes))
    measured: list[_Measured] = []
    for size in sizes:
        async with volume(size) as database:
            measured.append(await _measure(database, size))
        bar.advance(task)
    growth = measured[-1].told_s / measured[0].told_s
    name = f"refresh of {CHANGED:,} told changes"
    data = f"{sizes[0]:,} to {sizes[-1]:,} resources"
    return [
        *(figure for one in measured for figure in _figures(one, name)),
        Figure(f"{name}, growth", growth, "times", RUNS, data, GROWTH_MAX),
    ]


def _figures(one: _Measured, name: str) -> list[Figure]:
    data = f"{one.size:,} resources"
    part = one.told_s / one.build_s
    is_large = one.size >= LARGE
    part_max = BUILD_PART_MAX if is_large else None
    ratio_max = BUILD_RATIO_MAX if is_large else None
    build = "first build of two views"
    alone = "by one process"
    return [
        Figure(f"parse of the two views' texts {alone}", one.parse_s, "s", 1, data),
        Figure(f"{build} {alone}", one.one_s, "s", 1, data),
        Figure(
            f"{build} / parse, each {alone}", one.one_s / one.parse_s, "ratio", 1, data, ratio_max
        ),
        Figure(build, one.build_s, "s", 1, data),
        Figure(f"{build} / {alone}", one.build_s / one.one_s, "ratio", 1, data),
        Figure(f"{build}, rate", one.size / one.build_s, "resources/s", 1, data),
        Figure(f"{build}, peak of its own process", one.memory.own_mb, "MB", 1, data),
        Figure(f"{build}, peak of one PostgreSQL process", one.memory.postgres_mb, "MB", 1, data),
        Figure(name, one.told_s, "s", RUNS, data),
        Figure(f"{name} / full build", part, "ratio", RUNS, data, part_max),
        Figure("comparing every key", one.compare_s, "s", 1, data, SCAN_S_MAX),
    ]


async def _measure(database: Database, size: int) -> _Measured:
    await install_outbox(database)
    shipped = compiled_views()
    views: Sequence[CompiledView] = [shipped[name] for name in VIEWS]
    source = HapiSource(database)
    alone = Refresher(database, source, views, timeout_s=TIMEOUT_S, connections=1)
    async with one_process(database):
        parse_s = await _seconds(lambda: parse_all(database, views))
        one_s = await _seconds(alone.refresh)
    await forget(database)
    refresher = Refresher(database, source, views, timeout_s=TIMEOUT_S)
    async with watched(database) as memory:
        build_s = await _seconds(refresher.refresh)
    told: list[float] = []
    for run in range(RUNS):
        await change(database, of=size, count=CHANGED, run=run)
        told.append(await _seconds(refresher.refresh))
    async with database.session() as session:
        await session.execute(_COMPARE_NEXT)
    compared = await refresher.refresh()
    return _Measured(
        size, parse_s, one_s, memory, build_s, median(told), compared.phases_s["compare"]
    )


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    began_s = time.perf_counter()
    await work()
    return time.perf_counter() - began_s
