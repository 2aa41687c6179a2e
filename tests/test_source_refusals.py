"""A source that cannot be read as one state is refused by name, never read in part."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hapi_rows import PARTITIONED_TABLES, add_head, add_version, current
from researchflow_runners.errors import SourceDataError
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.store.database import Database

ROLE = "rf_reader"


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def partitioned(database: Database) -> Database:
    """One id in the partitions 7 and 8, another in 8 alone."""
    async with database.transaction() as session:
        await session.execute(PARTITIONED_TABLES)
        for res_id, fhir_id, partition in ((1, "a", 7), (2, "a", 8), (3, "b", 8)):
            await add_head(session, res_id, 1, fhir_id=fhir_id, partition_id=partition)
            text = f'{{"partition":{partition}}}'
            await add_version(session, res_id, 1, res_text_vc=text, partition_id=partition)
    return database


@pytest_asyncio.fixture
async def reader(database: Database, postgres_dsn: str) -> AsyncIterator[Database]:
    """The same database, as a role without any right."""
    async with database.session() as session:
        await session.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN")
    opened = await Database.connect(postgres_dsn.replace("//postgres@", f"//{ROLE}@", 1))
    yield opened
    await opened.close()
    async with database.session() as session:
        await session.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def refusal(database: Database, options: SourceOptions | None = None) -> SourceDataError:
    with pytest.raises(SourceDataError) as caught:
        async with HapiSource(database, options or SourceOptions()).snapshot():
            pass
    return caught.value


@pytest.mark.failure("source-ids-repeat")
async def test_one_id_in_several_partitions_is_refused(partitioned: Database) -> None:
    error = await refusal(partitioned)
    assert error.code == "source_ids_repeat"
    assert error.allowed == ("7", "8")
    assert '"Patient"' in error.message


@pytest.mark.parametrize(
    ("partitions", "found"),
    [(["7"], {"a": 7}), (["8"], {"a": 8, "b": 8})],
)
async def test_chosen_partition_is_read_alone(
    partitioned: Database, partitions: list[str], found: dict[str, int]
) -> None:
    options = SourceOptions.checked(partitions=partitions)
    async with HapiSource(partitioned, options).snapshot() as snapshot:
        rows = await current(snapshot)
        assert {name: row[1] for name, row in rows.items()} == {
            name: f'{{"partition":{number}}}' for name, number in found.items()
        }
        assert sum((await snapshot.counts()).values()) == len(found)
        assert set(await snapshot.heads("Patient", ["a", "b"])) == set(found)


@pytest.mark.failure("source-partition-unknown")
@pytest.mark.parametrize(
    ("partitions", "unknown"),
    [(["9"], "9"), (["7", "9"], "9"), (["default"], "default"), (["default", "9"], "default")],
)
async def test_chosen_partition_without_a_row_is_refused(
    partitioned: Database, partitions: list[str], unknown: str
) -> None:
    error = await refusal(partitioned, SourceOptions.checked(partitions=partitions))
    assert (error.code, error.allowed) == ("source_partition_unknown", ("7", "8"))
    assert error.field == "RESEARCHFLOW_SOURCE_PARTITIONS"
    assert f'"{unknown}"' in error.message


async def test_partition_that_holds_deleted_resources_alone_is_read(partitioned: Database) -> None:
    async with partitioned.session() as session:
        await session.execute("UPDATE hfj_resource SET res_deleted_at = now() WHERE res_id = 1")
    options = SourceOptions.checked(partitions=["7"])
    async with HapiSource(partitioned, options).snapshot() as snapshot:
        assert await snapshot.counts() == {}


async def test_empty_source_has_the_default_partition_alone(database: Database) -> None:
    options = SourceOptions.checked(partitions=["default"])
    async with HapiSource(database, options).snapshot() as snapshot:
        assert await snapshot.counts() == {}
    error = await refusal(database, SourceOptions.checked(partitions=["default", "3"]))
    assert (error.code, error.allowed) == ("source_partition_unknown", ("default",))


async def test_chosen_partitions_that_share_an_id_are_refused(partitioned: Database) -> None:
    options = SourceOptions.checked(partitions=["7", "8"])
    assert (await refusal(partitioned, options)).code == "source_ids_repeat"


async def test_default_partition_is_the_one_without_a_number(database: Database) -> None:
    async with database.transaction() as session:
        for res_id, partition in ((1, None), (2, 4)):
            await add_head(session, res_id, 1, fhir_id=f"p{res_id}", partition_id=partition)
            await add_version(session, res_id, 1, res_text_vc="{}", partition_id=partition)
    options = SourceOptions.checked(partitions=["default"])
    async with HapiSource(database, options).snapshot() as snapshot:
        assert set(await current(snapshot)) == {"p1"}


async def test_deleted_namesake_in_another_partition_is_no_repetition(
    partitioned: Database,
) -> None:
    async with partitioned.session() as session:
        await session.execute("UPDATE hfj_resource SET res_deleted_at = now() WHERE res_id = 2")
    async with HapiSource(partitioned).snapshot() as snapshot:
        assert set(await current(snapshot)) == {"a", "b"}
        head = await snapshot.head("Patient", "a")
    assert head is not None
    assert (head.res_id, head.deleted) == (1, False)


@pytest.mark.failure("source-foreign")
async def test_tables_of_another_product_are_refused(database: Database) -> None:
    async with database.session() as session:
        await session.execute("ALTER TABLE hfj_res_ver DROP COLUMN res_encoding")
    error = await refusal(database)
    assert (error.code, error.field) == ("source_schema_unknown", "hfj_res_ver.res_encoding")


async def test_database_without_tag_tables_is_refused(database: Database) -> None:
    async with database.session() as session:
        await session.execute("DROP TABLE hfj_res_tag")
    error = await refusal(database)
    assert error.code == "source_tables_missing"
    assert '"hfj_res_tag"' in error.message


@pytest.mark.failure("source-without-rights")
async def test_role_without_rights_is_told_the_grant_that_helps(
    database: Database, reader: Database
) -> None:
    async with database.session() as admin:
        await admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        await admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_checkpoint() FROM PUBLIC")
        granted: list[str] = []
        while len(granted) < 2:
            error = await refusal(reader)
            assert error.code == "source_rights_missing"
            grant = error.hint.partition("run: ")[2]
            await admin.execute(grant)
            granted.append(grant)
    assert [grant.partition(" ON ")[0] for grant in granted] == ["GRANT USAGE", "GRANT SELECT"]
    async with HapiSource(reader).snapshot() as snapshot:
        assert await snapshot.counts() == {}


async def test_large_objects_of_another_owner_are_refused_by_name(
    database: Database, reader: Database
) -> None:
    async with database.session() as admin:
        oid = await admin.fetchval("SELECT lo_from_bytea(0, '{}')")
        await add_head(admin, 1, 1, fhir_id="a")
        await add_version(admin, 1, 1, res_text=oid)
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}")
    async with HapiSource(reader).snapshot() as snapshot:
        with pytest.raises(SourceDataError) as caught:
            await snapshot.current("Patient", with_meta=False)
    assert caught.value.code == "source_rights_missing"
    async with database.session() as admin:
        await admin.execute(f"GRANT SELECT ON LARGE OBJECT {oid} TO {ROLE}")
    async with HapiSource(reader).snapshot() as snapshot:
        assert set(await current(snapshot)) == {"a"}
