"""The reader over HAPI tables of every age: same questions, same answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.errors import SourceDataError, StatementError
from researchflow_runners.source import HapiSource, SourceSnapshot
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Database, Session

UPDATED = "2024-05-01 10:00:00.125"
#: Tables as a migration from HAPI 5.7 to 6.2 left them: no fhir_id, contents in large objects.
OLD_TABLES = """
ALTER TABLE hfj_resource DROP COLUMN fhir_id, DROP COLUMN search_url_present,
                         DROP COLUMN res_type_id;
ALTER TABLE hfj_res_ver DROP COLUMN source_uri, DROP COLUMN request_id, DROP COLUMN res_type_id;
CREATE TABLE hfj_forced_id (
    pid bigint PRIMARY KEY, partition_id integer, partition_date date,
    forced_id varchar(100) NOT NULL, resource_pid bigint NOT NULL, resource_type varchar(100));
"""
#: Tables of a server in database partition mode.
PARTITIONED_TABLES = """
ALTER TABLE hfj_res_ver DROP CONSTRAINT fk_resource_history_resource;
ALTER TABLE hfj_res_tag DROP CONSTRAINT fk_restag_resource;
ALTER TABLE hfj_resource DROP CONSTRAINT hfj_resource_pkey, ALTER partition_id SET NOT NULL,
    ADD PRIMARY KEY (res_id, partition_id);
ALTER TABLE hfj_res_ver DROP CONSTRAINT idx_resver_id_ver, ALTER partition_id SET NOT NULL,
    ADD CONSTRAINT idx_resver_id_ver UNIQUE (partition_id, res_id, res_ver);
"""


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


async def add_head(
    session: Session,
    res_id: int,
    version: int,
    *,
    fhir_id: str | None = None,
    deleted: bool = False,
    **more: Any,
) -> None:
    values: dict[str, Any] = {
        "res_id": res_id,
        "res_type": "Patient",
        "res_ver": version,
        "has_tags": False,
        "res_deleted_at": UPDATED if deleted else None,
        **dict.fromkeys(("res_published", "res_updated"), UPDATED),
        **dict.fromkeys(
            [f"sp_{kind}_present" for kind in (
                "coords", "date", "number", "quantity_nrml", "quantity", "string", "token", "uri"
            )],
            False,
        ),
        "sp_has_links": False,
        **({"fhir_id": fhir_id} if fhir_id else {}),
        **more,
    }  # fmt: skip
    await _insert(session, "hfj_resource", values)


async def add_version(
    session: Session, res_id: int, version: int, *, encoding: str = "JSON", **more: Any
) -> None:
    values = {
        "pid": res_id * 100 + version,
        "res_id": res_id,
        "res_type": "Patient",
        "res_ver": version,
        "has_tags": False,
        "res_published": UPDATED,
        "res_updated": UPDATED,
        "res_encoding": encoding,
        **more,
    }
    await _insert(session, "hfj_res_ver", values)


async def _insert(session: Session, table: str, values: dict[str, Any]) -> None:
    await session.execute(
        f"INSERT INTO {table} ({', '.join(values)}) "
        f"SELECT {', '.join(values)} FROM json_populate_record(NULL::{table}, $1::json)",
        json.dumps(values),
    )


async def current(
    snapshot: SourceSnapshot, *, with_meta: bool = False, only: int | None = None
) -> dict[str, tuple[int, str, Any]]:
    narrowed = compose("(SELECT {} AS res_id)", param(only, "bigint")) if only else None
    relation = await snapshot.current("Patient", with_meta=with_meta, only=narrowed)
    rows = await snapshot.session.fetch(compose("SELECT * FROM {} AS c", relation))
    return {
        row["id"]: (row["version"], row["text"], json.loads(row["meta"]) if row["meta"] else None)
        for row in rows
    }


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
            (1, "Patient", "a", 2, False, instant),
            (2, "Patient", "b", 2, True, instant),
            (3, "Patient", "c", 2, True, instant),
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


async def test_meta_is_rebuilt_from_the_tables(database: Database) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a", has_tags=True)
        await add_version(
            session, 1, 1, res_text_vc='{"meta":{"tag":[{"code":"stale"}]}}',
            source_uri="urn:feed", request_id="r1",
        )  # fmt: skip
        await session.execute(
            "INSERT INTO hfj_tag_def (tag_id, tag_type, tag_system, tag_code, tag_display) VALUES "
            "(1, 0, 's', 'z', 'Z'), (2, 0, 's', 'b', NULL), (3, 1, NULL, 'http://p/x', NULL)"
        )
        await session.execute(
            "INSERT INTO hfj_res_tag (pid, res_id, res_type, tag_id) "
            "SELECT n, 1, 'Patient', n FROM generate_series(1, 3) n"
        )
    async with HapiSource(database, zone="Europe/Berlin").snapshot() as snapshot:
        assert (await current(snapshot, with_meta=True))["a"][2] == {
            "versionId": "1",
            "lastUpdated": "2024-05-01T08:00:00.125+00:00",
            "source": "urn:feed#r1",
            "profile": ["http://p/x"],
            "tag": [
                {"system": "s", "code": "b"},
                {"system": "s", "code": "z", "display": "Z"},
            ],
        }


async def test_tags_in_the_text_count_when_the_tables_have_none(database: Database) -> None:
    text = '{"meta":{"versionId":"77","tag":[{"code":"inline"}]}}'
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc=text)
    async with HapiSource(database).snapshot() as snapshot:
        meta = (await current(snapshot, with_meta=True))["a"][2]
        assert meta["tag"] == [{"code": "inline"}]
        assert meta["versionId"] == "1"


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


async def test_content_that_cannot_be_read_fails_to_parse_instead_of_being_null(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="external")
        await add_version(session, 1, 1, encoding="ESR")
    async with HapiSource(database).snapshot() as snapshot:
        relation = await snapshot.current("Patient", with_meta=False)
        with pytest.raises(StatementError) as caught:
            await snapshot.session.fetch(compose("SELECT text::jsonb FROM {} AS c", relation))
        assert caught.value.sqlstate == "22P02"


async def test_broken_compression_harms_only_its_own_resource(database: Database) -> None:
    async with database.transaction() as session:
        for number, content in ((1, b"not gzip"), (2, gzip.compress(b"{}"))):
            oid = await session.fetchval("SELECT lo_from_bytea(0, $1)", content)
            await add_head(session, number, 1, fhir_id=str(number))
            await add_version(session, number, 1, encoding="JSONC", res_text=oid)
    async with HapiSource(database).snapshot() as snapshot:
        assert await current(snapshot) == {"1": (1, "", None), "2": (1, "{}", None)}


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


async def test_database_without_hapi_tables_is_refused(empty_dsn: str) -> None:
    database = await Database.connect(empty_dsn)
    with pytest.raises(SourceDataError) as caught:
        async with HapiSource(database).snapshot():
            pass
    await database.close()
    assert caught.value.code == "source_tables_missing"
    assert '"hfj_resource"' in caught.value.message


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
