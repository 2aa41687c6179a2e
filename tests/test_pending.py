"""What the source has and the batch layer lacks is counted and dated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from hapi_rows import add_tag, tag
from researchflow_runners.batch import staging
from researchflow_runners.batch.pending import check_source
from researchflow_runners.source import HapiSource, SourceOptions
from warehouse import PEOPLE, RESULTS, Warehouse, open_warehouse, patient, result

TYPES = ["Patient", "Observation"]
TAGS = {
    **PEOPLE,
    "name": "tags",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "meta.tag.code", "name": "tags", "collection": True},
            ]
        }
    ],
}
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


async def move_dates(house: Warehouse, by: str) -> None:
    """Every date as a server whose zone lies that far east writes it."""
    await house.source_execute(
        f"UPDATE hfj_resource SET res_updated = res_updated + interval '{by}'"
    )


async def let_pass(house: Warehouse, time: str) -> None:
    """Everything so far was so much earlier."""
    await move_dates(house, f"-{time}".replace(" min ", " min -"))
    past = f"- interval '{time}'"
    await house.fetch(f"UPDATE researchflow.anchor SET data_as_of = data_as_of {past}")
    await house.fetch(
        f"UPDATE researchflow.source_check SET checked_at = checked_at {past},"
        f" complete_at = complete_at {past}, oldest_pending_at = oldest_pending_at {past}"
    )
    await house.fetch(
        f"UPDATE researchflow.source_clock SET looked_at = looked_at {past},"
        f" newest_at = newest_at {past}, proved_at = proved_at {past}"
    )


async def tag_all(house: Warehouse) -> None:
    """What $meta-add leaves: no version, no date."""
    async with house.source.database.transaction() as session:
        keys = [row[0] for row in await session.fetch("SELECT res_id FROM hfj_resource")]
        await add_tag(session, 77, "one")
        for res_id in keys:
            await tag(session, res_id, 77)


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


async def test_change_dated_in_the_future_is_as_old_as_the_last_complete_look(
    house: Warehouse,
) -> None:
    await house.refresh([PEOPLE, RESULTS])
    (_observations, complete) = await check_source(house.database, house.source, TYPES)
    await house.put(patient("a"))
    await move_dates(house, "1 h")
    _observations, patients = await check_source(house.database, house.source, TYPES)
    assert (patients.pending, patients.oldest_pending_at) == (1, complete.checked_at)


async def test_hour_old_change_of_a_server_east_of_the_zone_never_looks_new(
    house: Warehouse,
) -> None:
    published = await house.refresh([PEOPLE, RESULTS])
    await let_pass(house, "70 min")
    await house.put(patient("a"))
    await let_pass(house, "59 min 59 s")
    await move_dates(house, "1 h")
    _observations, patients = await check_source(house.database, house.source, TYPES)
    assert patients.oldest_pending_at is not None
    assert patients.checked_at - patients.oldest_pending_at > timedelta(hours=2)
    assert patients.oldest_pending_at < published.data_as_of


async def test_long_pending_change_of_a_proved_zone_keeps_its_date(house: Warehouse) -> None:
    await house.refresh([PEOPLE, RESULTS])
    await let_pass(house, "1 h")
    await house.put(patient("a"))
    await let_pass(house, "30 min")
    await check_source(house.database, house.source, TYPES)
    await house.put(patient("b"))
    _observations, patients = await check_source(house.database, house.source, TYPES)
    assert patients.oldest_pending_at is not None
    age = patients.checked_at - patients.oldest_pending_at
    assert timedelta(minutes=30) <= age < timedelta(minutes=31)


async def test_old_change_beside_one_without_a_date_keeps_its_age(house: Warehouse) -> None:
    await house.put(patient("gone"))
    await house.refresh([PEOPLE])
    await house.put(patient("a"))
    await house.source_execute(
        "UPDATE hfj_resource SET res_updated = res_updated - interval '2 h' WHERE fhir_id = 'a'"
    )
    await house.expunge("Patient/gone")
    (patients,) = await check_source(house.database, house.source, ["Patient"])
    assert patients.oldest_pending_at is not None
    assert patients.checked_at - patients.oldest_pending_at > timedelta(hours=1)


async def test_tags_alone_are_a_pending_change_where_a_view_reads_meta(house: Warehouse) -> None:
    await house.put(patient("a"), patient("b"))
    await house.refresh([TAGS])
    await tag_all(house)
    (patients,) = await check_source(house.database, house.source, ["Patient"])
    assert patients.pending == 2
    await house.refresh([TAGS])
    assert await house.rows("tags") == [("a", '["one"]'), ("b", '["one"]')]
    (patients,) = await check_source(house.database, house.source, ["Patient"])
    assert patients.pending == 0

    await house.source_execute("DELETE FROM hfj_res_tag WHERE res_id = 1")
    result = await house.refresh([TAGS])
    assert result.changed == 1
    assert await house.rows("tags") == [("a", "[]"), ("b", '["one"]')]


async def test_tags_alone_change_nothing_where_no_view_reads_meta(house: Warehouse) -> None:
    await house.put(patient("a"))
    await house.refresh([PEOPLE])
    await tag_all(house)
    (patients,) = await check_source(house.database, house.source, ["Patient"])
    assert patients.pending == 0
    assert (await house.refresh([PEOPLE])).changed == 0


async def test_view_that_is_the_first_to_read_meta_changes_no_other(house: Warehouse) -> None:
    await house.put(patient("a"))
    await house.refresh([PEOPLE])
    await tag_all(house)
    result = await house.refresh([PEOPLE, TAGS])
    assert result.changed == 0
    assert await house.rows("tags") == [("a", '["one"]')]
    await house.source_execute("DELETE FROM hfj_res_tag")
    assert (await house.refresh([PEOPLE, TAGS])).changed == 1
    assert await house.rows("tags") == [("a", "[]")]


async def test_ledger_from_before_tags_were_compared_is_brought_up_to_them(
    house: Warehouse,
) -> None:
    await house.put(patient("a"))
    await house.refresh([TAGS])
    await tag_all(house)
    await house.fetch("UPDATE researchflow.ledger SET tags = NULL")
    await house.refresh([TAGS])
    assert await house.rows("tags") == [("a", '["one"]')]


async def test_other_zone_or_base_address_reads_every_resource_anew(house: Warehouse) -> None:
    absolute = {"reference": "https://fhir.example/fhir/Patient/p"}
    await house.put({**result("x", "p", 1), "subject": absolute})
    await house.refresh([RESULTS])
    assert await house.rows("results") == [("x", None, 1)]
    options = SourceOptions.checked(base_urls=["https://fhir.example/fhir"])
    house.source = HapiSource(house.source.database, options)
    assert (await house.refresh([RESULTS])).changed == 1
    assert await house.rows("results") == [("x", "p", 1)]
    assert (await house.refresh([RESULTS])).changed == 0


async def test_source_whose_clock_is_ahead_dates_nothing_in_the_future(
    postgres_dsn: str, source_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = """SELECT now() + CASE WHEN to_regclass('researchflow.anchor') IS NULL
                                   THEN interval '1 h' ELSE interval '0 h' END"""
    monkeypatch.setattr(staging, "_NOW", ahead)
    async with open_warehouse(postgres_dsn, source_dsn) as house:
        published = await house.refresh([PEOPLE])
        (patients,) = await check_source(house.database, house.source, ["Patient"])
        ((now,),) = await house.fetch("SELECT now()")
    assert published.data_as_of < patients.checked_at < now
