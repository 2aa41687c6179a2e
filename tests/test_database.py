"""Every driver error leaves the store as one of ours, without the server's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.errors import ResearchFlowError, StatementError, StoreError
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Database
from researchflow_server.embedded import Services

SECRET = "Xaver Unterhuber"
LEFT_OPEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn, pool_size_max=3)
    yield opened
    await opened.close()


async def fails(database: Database, statement: str, *args: Any) -> ResearchFlowError:
    with pytest.raises(ResearchFlowError) as caught:
        async with database.transaction(statement_timeout_s=0.2) as session:
            await session.fetch(statement, *args)
    return caught.value


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        (f"SELECT '{SECRET}'::int", "22P02"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT (SELECT i FROM generate_series(1, 2) AS i)", "21000"),
        (f"SELECT '{SECRET}'::jsonb", "22P02"),
        ("SELEC", "42601"),
    ],
)
async def test_rejected_statement_keeps_its_state_and_no_value(
    database: Database, statement: str, state: str
) -> None:
    error = await fails(database, statement)
    assert isinstance(error, StatementError)
    assert (error.code, error.sqlstate, error.retryable) == ("statement_rejected", state, False)
    assert SECRET not in json.dumps(error.as_dict())
    assert error.__cause__ is not None


async def test_argument_of_the_wrong_type_is_a_data_error(database: Database) -> None:
    error = await fails(database, "SELECT $1::int", SECRET)
    assert isinstance(error, StatementError)
    assert error.sqlstate == "22000"
    assert SECRET not in json.dumps(error.as_dict())


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT pg_sleep(30)", "statement_timeout"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "postgres_unavailable"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$", "postgres_conflict"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53300'; END $$", "postgres_unavailable"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P03'; END $$", "postgres_unavailable"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", "postgres_resources"),
        ("SELECT * FROM nowhere", "relation_missing"),
    ],
)
@pytest.mark.failure("postgres-full-of-connections")
@pytest.mark.failure("postgres-out-of-space")
@pytest.mark.failure("postgres-conflict")
async def test_store_failure_is_retryable(database: Database, statement: str, code: str) -> None:
    error = await fails(database, statement)
    assert (error.code, error.retryable) == (code, True)
    async with database.session() as session:
        assert await session.fetchval("SELECT 1") == 1


async def test_refused_connection_is_unavailable(services: Services) -> None:
    with pytest.raises(StoreError) as caught:
        await Database.connect("postgresql://nobody@127.0.0.1:1/nothing")
    assert caught.value.code == "postgres_unavailable"


async def test_failed_transaction_undoes_and_frees_its_connection(database: Database) -> None:
    async with database.session() as session:
        await session.execute("CREATE TABLE t (n int)")
    for _attempt in range(5):
        await fails(
            database, "WITH i AS (INSERT INTO t VALUES (1) RETURNING n) SELECT n / 0 FROM i"
        )
    async with database.session() as session:
        assert await session.fetchval("SELECT count(*) FROM t") == 0


async def test_cancelled_statement_leaves_a_usable_pool(database: Database) -> None:
    async def sleep() -> None:
        async with database.transaction() as session:
            await session.execute("SELECT pg_sleep(60)")

    for _attempt in range(4):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep(), 0.05)
    async with database.session() as session:
        assert await session.fetchval(LEFT_OPEN) == 0


async def test_savepoint_undoes_only_its_own(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute("CREATE TABLE t (n int)")
        await session.execute("INSERT INTO t VALUES (1)")
        with suppress(ZeroDivisionError):
            async with session.savepoint():
                await session.execute("INSERT INTO t VALUES (2)")
                raise ZeroDivisionError
        await session.execute("INSERT INTO t VALUES (3)")
        rows = await session.fetch("SELECT n FROM t ORDER BY n")
    assert [row[0] for row in rows] == [1, 3]


async def test_execute_counts_the_rows_it_touched(database: Database) -> None:
    async with database.transaction() as session:
        assert await session.execute("CREATE TABLE t (n int)") == 0
        assert await session.execute("INSERT INTO t SELECT generate_series(1, 7)") == 7
        assert await session.execute(compose("DELETE FROM t WHERE n > {}", param(4, "int"))) == 3


async def test_snapshot_sees_one_state_and_writes_nothing(database: Database) -> None:
    async with database.session() as session:
        await session.execute("CREATE TABLE t (n int)")
    async with database.snapshot() as reader, database.session() as writer:
        assert await reader.fetchval("SELECT count(*) FROM t") == 0
        await writer.execute("INSERT INTO t VALUES (1)")
        assert await reader.fetchval("SELECT count(*) FROM t") == 0
        with pytest.raises(StatementError):
            await reader.execute("INSERT INTO t VALUES (2)")


async def test_schema_installs_once_however_many_try(empty_dsn: str) -> None:
    databases = [await Database.connect(empty_dsn, pool_size_max=2) for _ in range(4)]
    await asyncio.gather(*(database.install_schema() for database in databases))
    async with databases[0].session() as session:
        assert await session.fetchval("SELECT count(*) FROM researchflow.anchor") == 0
    for database in databases:
        await database.close()


async def test_stopped_postgres_is_retryable_and_recovery_needs_no_restart(
    own_services: Services,
) -> None:
    database = await Database.connect(own_services.postgres_dsn, pool_size_max=3)
    async with database.session(), database.session(), database.session() as session:
        assert await session.fetchval("SELECT 1") == 1
    await own_services.postgres.stop()
    assert (await fails(database, "SELECT 1")).code == "postgres_unavailable"
    await own_services.postgres.start()
    for _attempt in range(4):
        async with database.transaction() as session:
            assert await session.fetchval("SELECT 1") == 1
    await database.close()


async def test_an_argument_that_does_not_fit_leaves_the_connection_usable(
    postgres_dsn: str,
) -> None:
    database = await Database.connect(postgres_dsn, pool_size_max=1)
    with pytest.raises(StatementError) as wrong:
        async with database.session() as session:
            await session.fetchrow("SELECT res_id FROM hfj_resource WHERE res_id = $1", 2**70)
    assert wrong.value.sqlstate == "22000"
    async with database.snapshot() as session:
        assert await session.fetchval("SELECT 1") == 1
    await database.close()
