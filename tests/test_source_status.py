"""What the source looks like is told, and whether the batch layer knows all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from hapi_rows import OLD_TABLES, PARTITIONED_TABLES, add_head, add_tag, add_version
from researchflow_runners.batch import counts
from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.source.findings import look_at_source
from researchflow_runners.store.database import Database
from researchflow_server.cli import main
from researchflow_server.cli.outcome import FAILED, OK
from researchflow_server.cli.source_words import count_words
from warehouse import PEOPLE, Warehouse, open_warehouse, patient

TAGGED = {
    **PEOPLE,
    "name": "tagged",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "meta.tag.first().code", "name": "tag"},
            ]
        }
    ],
}
REASON = "SELECT reason FROM researchflow.feed_position WHERE reader = 'refresh'"


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def house(postgres_dsn: str, source_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn, source_dsn) as opened:
        yield opened


async def test_database_of_several_ages_is_described(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(OLD_TABLES)
        oid = await session.fetchval("SELECT lo_from_bytea(0, '{}')")
        await add_head(session, 1, 2)
        await add_version(session, 1, 1, res_text_vc="{}")
        await add_version(session, 1, 2, res_text=oid, encoding="JSONC")
        await add_tag(session, 1, "one", kind=2)
    found = await look_at_source(HapiSource(database))
    assert found.ids == "hfj_forced_id, else res_id"
    assert found.contents == ("res_text_vc", "res_text (large objects)")
    assert found.encodings == {"JSON": 1, "JSONC": 1}
    assert found.tags == {"security labels": 1}
    assert (found.is_partition_mode, found.is_replica) == (False, False)
    assert found.sampled_percent == 100


async def test_partitions_are_counted_and_the_chosen_ones_named(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(PARTITIONED_TABLES)
        for res_id, partition in ((1, 7), (2, 8), (3, 8)):
            await add_head(session, res_id, 1, fhir_id=f"p{res_id}", partition_id=partition)
    found = await look_at_source(HapiSource(database, SourceOptions(partitions=("8",))))
    assert found.is_partition_mode
    assert found.partitions == {"8": 2, "7": 1}
    assert found.read_partitions == ("8",)


async def test_refresh_tells_that_source_and_ledger_agree(house: Warehouse) -> None:
    await house.put(patient("a"), patient("b"), patient("c"))
    await house.delete("Patient/c")
    result = await house.refresh([PEOPLE])
    (count,) = result.counts
    assert (count.resource_type, count.in_source, count.in_ledger) == ("Patient", 2, 2)
    assert count.agrees


async def test_difference_that_a_feed_cannot_see_is_told_and_then_compared(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await install_outbox(house.source.database)
    await house.put(patient("a"), patient("b"))
    await house.refresh([PEOPLE])
    assert (await house.refresh([PEOPLE])).counts == ()
    await house.fetch("DELETE FROM researchflow.ledger WHERE id = 'b'")
    monkeypatch.setattr(counts, "COUNT_INTERVAL_S", 0.0)

    (count,) = (await house.refresh([PEOPLE])).counts
    assert (count.in_source, count.in_ledger, count.agrees) == (2, 1, False)

    result = await house.refresh([PEOPLE])
    assert (result.changed, result.counts[0].agrees) == (1, True)
    assert await house.fetch(REASON) == [("reconciliation",)]
    await house.refresh([PEOPLE])
    assert await house.fetch(REASON) == [(None,)]


async def test_versions_that_differ_under_equal_counts_are_told_and_then_compared(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await install_outbox(house.source.database)
    await house.put(patient("a"), patient("b"))
    await house.refresh([PEOPLE])
    await house.fetch("UPDATE researchflow.ledger SET res_ver = 9 WHERE id = 'b'")
    monkeypatch.setattr(counts, "COUNT_INTERVAL_S", 0.0)
    (count,) = (await house.refresh([PEOPLE])).counts
    assert (count.in_source, count.in_ledger, count.agrees) == (2, 2, False)
    assert "versions or tags differ: some Patient" in count_words([count])[0]
    result = await house.refresh([PEOPLE])
    assert (result.changed, result.counts[0].agrees) == (1, True)


async def test_tags_alone_that_differ_are_told_and_then_compared(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await install_outbox(house.source.database)
    await house.put(patient("a"), patient("b"))
    await house.delete("Patient/a")
    await house.refresh([TAGGED])
    await house.fetch("UPDATE researchflow.ledger SET tags = 9 WHERE id = 'b'")
    monkeypatch.setattr(counts, "COUNT_INTERVAL_S", 0.0)
    (count,) = (await house.refresh([TAGGED])).counts
    assert (count.in_source, count.in_ledger, count.agrees) == (1, 1, False)
    assert "tags differ: some Patient" in count_words([count])[0]
    result = await house.refresh([TAGGED])
    assert (result.changed, result.counts[0].agrees) == (1, True)


async def test_tags_that_no_view_shows_are_not_compared(house: Warehouse) -> None:
    await house.put(patient("a"))
    await house.refresh([TAGGED])
    await house.fetch("UPDATE researchflow.ledger SET tags = 9")
    (count,) = (await house.refresh([PEOPLE])).counts
    assert count.agrees


@pytest.fixture
def stores(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An environment that points to real stores; gives the database's DSN."""
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("RESEARCHFLOW_REDIS_URL", redis_url)
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RESEARCHFLOW_SOURCE_BASE_URLS", "https://fhir.example/fhir/")
    return postgres_dsn


def execute(dsn: str, statement: str) -> None:
    """Runs a statement from a test that has no event loop."""

    async def connected() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(connected())


def test_status_names_the_source_its_counts_and_a_wrong_zone(
    stores: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.ndjson"
    file.write_text(json.dumps(patient("a")))
    assert main(["load", str(file)]) == OK
    assert main(["refresh"]) == OK
    assert "counts agree: 1 resources of" in capsys.readouterr().out
    execute(stores, "UPDATE hfj_resource SET res_updated = res_updated + interval '2 h'")
    assert main(["status"]) == OK
    told = capsys.readouterr().out
    for part in (
        "ids in fhir_id, contents in res_text_vc, zone UTC",
        "versions by encoding: JSON 1",
        "resources by partition: default 1",
        "its own addresses: https://fhir.example/fhir",
        "counts agree: 1 resources of",
        "source_zone_wrong: its dates lie 2 h ahead",
    ):
        assert part in " ".join(told.split())
    assert main(["status", "--json"]) == OK
    kept = json.loads(capsys.readouterr().out)
    assert kept["source"]["encodings"] == {"JSON": 1}
    assert kept["source_clock"]["verdict"] == "ahead"
    assert kept["counts"][0]["in_source"] == kept["counts"][0]["in_ledger"]


def test_status_of_a_source_that_cannot_be_read_says_why(
    stores: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(stores, "ALTER TABLE hfj_res_ver DROP COLUMN res_encoding")
    assert main(["status"]) == FAILED
    told = capsys.readouterr().err
    assert "[source_schema_unknown]" in told
