"""What the source has and the batch layer lacks is counted and dated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from researchflow_runners.batch import staging
from researchflow_runners.batch.pending import check_source
from warehouse import PEOPLE, RESULTS, Warehouse, open_warehouse, patient, result

TYPES = ["Patient", "Observation"]
STORED = """
SELECT res_type, pending, oldest_pending_at, checked_at FROM researchflow.source_check ORDER BY 1
"""


@pytest_asyncio.fixture(params=["one database", "two databases"])
async def house(
    request: pytest.FixtureRequest, postgres_dsn: str, source_dsn: str
) -> AsyncIterator[Warehouse]:
    apart = source_dsn if request.param == "two databases" else None
    async with open_warehouse(postgres_dsn, apart) as opened:
        yield opened


async def test_changes_of_every_kind_are_pending_until_the_refresh(house: Warehouse) -> None:
    await house.put(patient("a"), patient("b"), patient("c"), patient("same"))
    published = await house.refresh([PEOPLE, RESULTS])
    await house.put(patient("a", gender="male"), patient("new"))
    await house.delete("Patient/b")
    await house.expunge("Patient/c")

    observations, patients = await check_source(house.database, house.source, TYPES)

    assert (observations.pending, observations.oldest_pending_at) == (0, None)
    assert patients.pending == 4
    assert patients.oldest_pending_at == published.data_as_of
    assert patients.checked_at > published.data_as_of
    stored = await house.fetch(STORED)
    assert stored[1] == ("Patient", 4, patients.oldest_pending_at, patients.checked_at)

    last = await house.refresh([PEOPLE, RESULTS])
    assert await house.fetch(STORED) == [
        ("Observation", 0, None, last.data_as_of),
        ("Patient", 0, None, last.data_as_of),
    ]


async def test_oldest_pending_change_dates_the_staleness(house: Warehouse) -> None:
    await house.refresh([PEOPLE, RESULTS])
    await house.put(result("x", "a", 1))
    async with house.source.database.session() as session:
        written_at = await session.fetchval(
            "SELECT res_updated AT TIME ZONE 'UTC' FROM hfj_resource"
        )
    await house.put(result("y", "a", 1))
    observations, _patients = await check_source(house.database, house.source, TYPES)
    assert (observations.pending, observations.oldest_pending_at) == (2, written_at)


async def test_check_before_the_first_refresh_counts_everything(house: Warehouse) -> None:
    await house.put(patient("a"), patient("b"))
    _observations, patients = await check_source(house.database, house.source, TYPES)
    assert patients.pending == 2


async def test_change_dated_in_the_future_is_as_old_as_the_look_at_it(house: Warehouse) -> None:
    await house.refresh([PEOPLE, RESULTS])
    await house.put(patient("a"))
    async with house.source.database.session() as session:
        await session.execute("UPDATE hfj_resource SET res_updated = res_updated + interval '1 h'")
    _observations, patients = await check_source(house.database, house.source, TYPES)
    assert (patients.pending, patients.oldest_pending_at) == (1, patients.checked_at)


async def test_source_whose_clock_is_ahead_dates_nothing_in_the_future(
    postgres_dsn: str, source_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = """SELECT now() + CASE WHEN to_regclass('researchflow.anchor') IS NULL
                                   THEN interval '1 h' ELSE interval '0 h' END"""
    monkeypatch.setattr(staging, "_INSTANT", ahead)
    async with open_warehouse(postgres_dsn, source_dsn) as house:
        published = await house.refresh([PEOPLE])
        (patients,) = await check_source(house.database, house.source, ["Patient"])
        ((now,),) = await house.fetch("SELECT now()")
    assert published.data_as_of < patients.checked_at < now
