"""The reader over HAPI tables of every age: same questions, same answers."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from hapi_rows import OLD_TABLES, PARTITIONED_TABLES, PROVENANCE, add_head, add_version, current
from researchflow_runners.errors import SourceDataError, StatementError
from researchflow_runners.source import HapiSource
from researchflow_runners.sql import compose
from researchflow_runners.store.database import Database


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


async def test_current_state_has_no_deleted_and_only_newest_versions(database: Database) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 2, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc='{"v":1}')
        await add_version(session, 1, 2, res_text_vc='{"v":2}')
        await add_head(session, 2, 2, fhir_id="b", deleted=True)
        await add_version(session, 2, 1, res_text_vc='{"v":1}')
        await add_version(session, 2, 2, encoding="DEL")
        await add_head(session, 3, 2, fhir_id="c", deleted=True)
        await add_version(session, 3, 1, res_text_vc='{"v":1}')
    async with HapiSource(database).snapshot() as snapshot:
        assert await current(snapshot) == {"a": (2, '{"v":2}', None)}
        assert await snapshot.counts() == {"Patient": 1}
        keys = await snapshot.session.fetch(
            compose("SELECT * FROM {} AS k ORDER BY res_id", snapshot.keys(["Patient"]))
        )
        instant = datetime(2024, 5, 1, 10, 0, 0, 125_000, UTC)
        assert [tuple(key) for key in keys] == [
            (1, "Patient", "a", 2, False, instant, None),
            (2, "Patient", "b", 2, True, instant, None),
            (3, "Patient", "c", 2, True, instant, None),
        ]


async def test_head_without_history_row_falls_back_to_the_lower_version(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 5, fhir_id="a")
        await add_version(session, 1, 2, res_text_vc='{"v":2}')
        await add_version(session, 1, 4, res_text_vc='{"v":4}')
        await add_head(session, 2, 1, fhir_id="b")
        await add_version(session, 2, 1, res_text_vc='{"v":1}')
    async with HapiSource(database).snapshot() as snapshot:
        found = await current(snapshot, with_meta=True)
        assert {name: row[:2] for name, row in found.items()} == {
            "a": (5, '{"v":4}'),
            "b": (1, '{"v":1}'),
        }
        assert found["a"][2]["versionId"] == "4"
        assert set(await current(snapshot, only=1)) == {"a"}


async def test_old_tables_give_forced_ids_and_contents_of_large_objects(
    database: Database,
) -> None:
    packed = gzip.compress(b'{"n":"packed"}')
    async with database.transaction() as session:
        await session.execute(OLD_TABLES)
        for number in (1, 2, 3):
            await add_head(session, number, 1)
        await add_version(session, 3, 1, res_text_vc='{"n":"inline"}')
        await session.execute(
            "INSERT INTO hfj_forced_id (pid, forced_id, resource_pid, resource_type) VALUES "
            "(1, 'forced', 1, 'Patient')"
        )
        for number, encoding, content in ((1, "JSONC", packed), (2, "JSON", b'{"n":"bytes"}')):
            oid = await session.fetchval("SELECT lo_from_bytea(0, $1)", content)
            await add_version(session, number, 1, encoding=encoding, res_text=oid)
    async with HapiSource(database).snapshot() as snapshot:
        assert await current(snapshot, with_meta=False) == {
            "forced": (1, '{"n":"packed"}', None),
            "2": (1, '{"n":"bytes"}', None),
            "3": (1, '{"n":"inline"}', None),
        }
        assert (await current(snapshot, with_meta=True))["forced"][2]["versionId"] == "1"
        for name, res_id in (("forced", 1), ("2", 2)):
            head = await snapshot.head("Patient", name)
            assert head is not None
            assert head.res_id == res_id
        assert await snapshot.head("Patient", "1") is None
        content = await snapshot.content("Patient", "forced")
        assert content is not None
        assert content.text == '{"n":"packed"}'


async def test_partition_mode_joins_within_the_partition(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(PARTITIONED_TABLES)
        await add_head(session, 1, 1, fhir_id="a", partition_id=7)
        await add_version(session, 1, 1, res_text_vc='{"p":7}', partition_id=7)
        await add_version(session, 1, 1, res_text_vc='{"p":8}', partition_id=8, pid=999)
    async with HapiSource(database).snapshot() as snapshot:
        assert snapshot.layout.is_partitioned
        assert await current(snapshot) == {"a": (1, '{"p":7}', None)}


async def test_snapshot_does_not_see_later_commits_and_cannot_write(database: Database) -> None:
    async with HapiSource(database).snapshot() as snapshot:
        async with database.transaction() as session:
            await add_head(session, 1, 1, fhir_id="late")
        assert await snapshot.head("Patient", "late") is None
        assert await snapshot.counts() == {}
        with pytest.raises(StatementError) as caught:
            await snapshot.session.execute("DELETE FROM hfj_resource")
        assert caught.value.sqlstate == "25006"
    async with HapiSource(database).snapshot() as snapshot:
        assert await snapshot.head("Patient", "late") is not None


@pytest.mark.failure("source-without-tables")
async def test_database_without_hapi_tables_is_refused(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn)
    with pytest.raises(SourceDataError) as caught:
        async with HapiSource(database).snapshot():
            pass
    await database.close()
    assert caught.value.code == "source_tables_missing"
    assert '"hfj_resource"' in caught.value.message


async def test_source_of_meta_is_found_in_its_own_table_before_it_moved(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await session.execute(OLD_TABLES)
        await session.execute(PROVENANCE)
        for res_id in (1, 2, 3):
            await add_head(session, res_id, 1)
            await add_version(session, res_id, 1, res_text_vc="{}")
        await session.execute(
            "INSERT INTO hfj_res_ver_prov (res_ver_pid, res_pid, source_uri, request_id) VALUES "
            "(101, 1, 'urn:feed', 'r1'), (201, 2, 'urn:feed', NULL)"
        )
    async with HapiSource(database).snapshot() as snapshot:
        found = await current(snapshot, with_meta=True)
        assert {name: row[2].get("source") for name, row in found.items()} == {
            "1": "urn:feed#r1",
            "2": "urn:feed",
            "3": None,
        }


async def test_history_switched_off_leaves_one_version_that_is_the_newest(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc='{"v":1}')
        # The next update writes the same row again, under the next number.
        await session.execute("UPDATE hfj_resource SET res_ver = 2")
        await session.execute("UPDATE hfj_res_ver SET res_ver = 2, res_text_vc = '{\"v\":2}'")
    async with HapiSource(database).snapshot() as snapshot:
        assert await current(snapshot) == {"a": (2, '{"v":2}', None)}
        strict = await snapshot.current("Patient", with_meta=False, is_strict=True)
        rows = await snapshot.session.fetch(compose("SELECT c.text FROM {} AS c", strict))
        assert [row["text"] for row in rows] == ['{"v":2}']


async def test_heads_are_found_by_index(database: Database) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await session.execute("SET LOCAL enable_seqscan = off")
        snapshot = await HapiSource(database).attach(session)
        only = snapshot.layout.candidates(["a"])
        plan = await session.fetch(
            compose("EXPLAIN SELECT * FROM {} AS k",
                    snapshot.layout.keys_relation(["Patient"], only=only))
        )  # fmt: skip
        assert not any("Seq Scan" in row[0] for row in plan)
