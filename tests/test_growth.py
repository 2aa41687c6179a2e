"""Refreshed every minute for a year, the warehouse keeps its size and its speed.

Real refreshes of small changes over a source that does not grow; only the clock is ahead: an
anchor's age is told as if a minute lay between two. A vacuum each simulated hour stands in for
autovacuum, which looks once a minute and cannot be hurried. `--hypothesis-profile=long` goes
through 2,400 of them and prints the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest_asyncio
from hypothesis import settings

from researchflow_runners.batch.anchors import pin_anchor, unpin
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.retention import Retention, expire_anchors
from researchflow_runners.batch.run import RUNS_MAX
from researchflow_runners.batch.verify import verify_anchor
from warehouse import DEFINITIONS, Warehouse, compiled, open_warehouse, patient, result

PATIENTS = 50
POINT = """
EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)
SELECT * FROM sqlonfhir_live.people WHERE id = 'p7'
"""
#: Everything on the disk: the product's tables, and the catalogue that temporary tables pass by.
SIZE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND c.relnamespace IN ('researchflow'::regnamespace, 'pg_catalog'::regnamespace)
"""
ROWS = "SELECT count(*) FROM researchflow.{}"
HISTORIES = """
SELECT history_table FROM researchflow.view_catalogue
UNION ALL SELECT history_table FROM researchflow.former_view
"""


@dataclass(frozen=True)
class Pace:
    """How many refreshes, and how many anchors retention keeps; it runs once an hour."""

    refreshes: int
    keep: int
    hour: int


QUICK = Pace(refreshes=24, keep=4, hour=3)
LONG = Pace(refreshes=2_400, keep=120, hour=60)


@dataclass(frozen=True)
class Measure:
    """The warehouse after so many refreshes."""

    refreshes: int
    size_bytes: int
    anchors: int
    contents: int
    closed_rows: int
    runs: int
    dead_letters: int
    former: int
    point_blocks: int


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as house:
        await house.put(*(patient(f"p{at}") for at in range(PATIENTS)))
        await house.put(*(result(f"r{at}", f"p{at}", at) for at in range(PATIENTS)))
        yield house


async def live_through(house: Warehouse, pace: Pace) -> list[Measure]:
    """A measure after each quarter, and one after the first eighth."""
    refresher = Refresher(house.database, house.source, compiled(*DEFINITIONS))
    eighth = pace.refreshes // 8
    measures = []
    for minute in range(1, pace.refreshes + 1):
        at = minute % PATIENTS
        # Every fifth patient has a name that people_names cannot take, until it is put again.
        names = [{"family": "x", "given": ["a", "b"]}] if minute % 5 == 0 else []
        await house.put(patient(f"p{at}", birthDate=f"{1950 + minute % 60}", name=names))
        await house.put(result(f"r{at}", f"p{at}", minute))
        await refresher.refresh()
        if minute % pace.hour == 0:
            await _hourly(house, pace, minute)
        if minute in (eighth, *(eighth * 2 * quarter for quarter in range(1, 5))):
            measures.append(await _measure(house, minute))
    return measures


async def _hourly(house: Warehouse, pace: Pace, minute: int) -> None:
    """One pin at a time, moved each eighth; retention; what autovacuum does."""
    eighth = pace.refreshes // 8
    if minute % eighth == 0:
        if minute > eighth:
            await unpin(house.database, f"eighth-{minute - eighth}")
        await pin_anchor(house.database, f"eighth-{minute}", minute - 1)
    # The anchors of the last `keep` minutes are younger than the bound, all others older.
    async with house.database.session() as session:
        await session.execute(
            "UPDATE researchflow.anchor SET committed_at ="
            " now() - make_interval(mins => ($1 - anchor)::integer) WHERE expired_at IS NULL",
            minute,
        )
    kept = Retention(timedelta(minutes=pace.keep - 0.5), pace.keep * 2)
    await expire_anchors(house.database, kept)
    async with house.database.session() as session:
        await session.execute("VACUUM")


async def _measure(house: Warehouse, minute: int) -> Measure:
    async def count(statement: str) -> int:
        return int((await house.fetch(statement))[0][0])

    return Measure(
        refreshes=minute,
        size_bytes=await count(SIZE),
        anchors=await count(ROWS.format("anchor")),
        contents=await count(ROWS.format("content")),
        closed_rows=sum(
            [await count(ROWS.format(table)) for (table,) in await house.fetch(HISTORIES)]
        ),
        runs=await count(ROWS.format("refresh_run")),
        dead_letters=await count(ROWS.format("dead_letter")),
        former=await count(ROWS.format("former_view")),
        point_blocks=await _point_blocks(house),
    )


async def _point_blocks(house: Warehouse) -> int:
    """What a point query over the merged view reads: its time, without the machine's moods.

    The first on a connection reads the catalogue too, as far as the connection has forgotten it.
    """
    async with house.database.session() as session:
        await session.fetchval(POINT)
        plan = await session.fetchval(POINT)
    top = json.loads(plan)[0]["Plan"]
    assert top["Actual Rows"] == 1
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


async def test_a_year_of_minute_refreshes_keeps_its_size(house: Warehouse) -> None:
    is_long = settings().max_examples >= 1_000
    pace = LONG if is_long else QUICK
    measures = await live_through(house, pace)
    for one in measures:
        sys.stdout.write(f"{one}\n")
    first, last = measures[1], measures[-1]
    # Between two retention runs an hour's anchors come; a pin keeps itself and a row after it.
    assert last.anchors <= pace.keep + pace.hour + 3
    assert last.contents <= (last.anchors + 1) * len(DEFINITIONS)
    assert last.runs <= RUNS_MAX + 1
    assert last.closed_rows <= 3 * (pace.keep + pace.hour) + 3 * PATIENTS
    assert last.former == 0
    assert last.size_bytes <= first.size_bytes * 1.1
    assert (await verify_anchor(house.database, f"eighth-{pace.refreshes}")).holds
    # A saw's teeth: what a query steps over between two vacuums, and no slope.
    assert last.point_blocks <= max(one.point_blocks for one in measures[:3])
