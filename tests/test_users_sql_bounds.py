"""SQL that users wrote costs the others nothing: bounded memory, files and places."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from composed import keep, sql_view
from prometheus_server import until
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.view import users_sql
from researchflow_runners.errors import (
    QueryError,
    StatementError,
    StoreError,
    ViewDefinitionError,
)
from researchflow_runners.hybrid.places import Places
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_runners.store import database as database_module
from researchflow_runners.store import privileges
from researchflow_runners.store.database import Database
from researchflow_runners.store.privileges import step_down
from researchflow_server.embedded import PostgresServer, Services
from warehouse import PEOPLE, Warehouse, open_warehouse, patient

#: One call of one function: seconds in which PostgreSQL looks neither for a cancellation nor for
#: the word to end.
UNHEARING = """
SELECT length(translate(repeat('b', 6000), repeat('a', 100000) || 'b', 'x'))
"""
WORKING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
"""
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux's")


@pytest_asyncio.fixture
async def warehouse(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Two patients and a composed view of their keys."""
    async with open_warehouse(postgres_dsn) as opened:
        await opened.put(patient("a"), patient("b"))
        await opened.refresh([PEOPLE])
        await keep(opened.database, sql_view("keys", "SELECT id FROM p", p="people"))
        yield opened


def chained(levels: int, expression: str) -> str:
    """Queries that each compute `s` of the `s` below."""
    queries = ["q0 AS (SELECT gender AS s FROM p)"]
    queries += [f"q{n + 1} AS (SELECT {expression} AS s FROM q{n})" for n in range(levels)]
    return f"WITH {', '.join(queries)} SELECT length(s::text) AS n FROM q{levels}"


def nested(levels: int, expression: str) -> str:
    """The same as subqueries."""
    query = "SELECT gender AS s FROM p"
    for number in range(levels):
        query = f"SELECT {expression} AS s FROM ({query}) AS q{number}"
    return query


DOUBLING = [
    "s || s", "concat(s, s)", "concat_ws(',', s, s)", "format('%s%s', s, s)",
    "ARRAY[s, s]::text", "ROW(s, s)::text", "jsonb_build_array(s, s)::text",
    "upper(lower(s) || s)", "replace(s, 'a', s)", "(SELECT s || s)",
    "CASE WHEN s > 'a' THEN s || s ELSE s END", "string_agg(s || s, '' ORDER BY s)",
]  # fmt: skip


@pytest.mark.parametrize("expression", DOUBLING)
@pytest.mark.parametrize("written", [chained, nested])
def test_values_that_double_again_and_again_are_refused(
    written: Callable[[int, str], str], expression: str
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        check_sql(written(13, expression), relations={"p": ["gender"]})
    assert caught.value.code == "sql_too_large"
    assert check_sql(written(3, expression), relations={"p": ["gender"]})


def test_values_that_double_beside_one_another_are_refused() -> None:
    beside = ["(SELECT gender AS s FROM p) AS q0"]
    beside += [f"LATERAL (SELECT q{n}.s || q{n}.s AS s) AS q{n + 1}" for n in range(13)]
    with pytest.raises(ViewDefinitionError) as caught:
        check_sql(f"SELECT q13.s FROM {', '.join(beside)}", relations={"p": ["gender"]})
    assert caught.value.code == "sql_too_large"


@pytest.mark.parametrize(
    "sql",
    [
        " UNION ALL ".join(["SELECT gender || ', ' || gender || gender AS s FROM p"] * 20),
        "WITH " + ", ".join(f"q{n} AS (SELECT gender || gender AS s FROM p)" for n in range(20))
        + " SELECT q0.s FROM " + ", ".join(f"q{n}" for n in range(20)),
        "SELECT " + ", ".join(f"gender || gender AS s{n}" for n in range(50)) + " FROM p",
        chained(20, "CASE WHEN s > 'a' THEN s ELSE lower(s) END"),
        chained(20, "s || 'x'"),
        "SELECT q0.s FROM " + ", ".join(f"(SELECT gender || gender AS s FROM p) AS q{n}"
                                        for n in range(20)),
    ],
)  # fmt: skip
def test_many_values_that_are_joined_once_are_taken(sql: str) -> None:
    assert check_sql(sql, relations={"p": ["gender"]})


@LINUX_ONLY
async def test_a_backend_that_takes_too_much_memory_fails_its_statement_alone(
    own_directory: Path,
) -> None:
    server = PostgresServer(own_directory, volatile=True, backend_bytes_max=900 * 1024**2)
    await server.start()
    database = await Database.connect(server.dsn)
    try:
        async with database.session() as session:
            with pytest.raises(QueryError) as caught, users_sql("mine"):
                await session.fetchval("SELECT length(repeat('x', 700000000))")
            assert caught.value.code == "sql_too_costly"
            assert await session.fetchval("SELECT 1") == 1
    finally:
        await database.close()
        await server.stop()


async def test_temporary_files_of_users_sql_are_bounded(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await Database.connect(services.postgres_dsn)
    sorting = "SELECT count(*) FROM (SELECT n FROM generate_series(1, 300000) AS n ORDER BY -n) q"
    try:
        async with database.transaction(readonly=True) as session:
            await step_down(session)
            assert await session.fetchval("SHOW temp_file_limit") == "1GB"
        monkeypatch.setattr(privileges, "_STEP_DOWN", privileges._STEP_DOWN.replace("1GB", "1MB"))
        async with database.transaction(readonly=True) as session:
            await step_down(session)
            await session.execute("SET LOCAL work_mem = '64kB'")
            with pytest.raises(QueryError) as caught, users_sql("mine"):
                await session.fetchval(sorting)
        assert caught.value.code == "sql_too_costly"
        assert '"mine"' in caught.value.message
        async with database.transaction(readonly=True) as session:
            assert await session.fetchval("SHOW temp_file_limit") == "-1"
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("no memory", code="postgres_resources", hint="-"), "sql_too_costly"),
        (StatementError("files", sqlstate="53400", hint="-"), "sql_too_costly"),
        (StatementError("data", sqlstate="22012", hint="-"), "composed_view_fails"),
        (StatementError("ours", sqlstate="42601", hint="-"), "statement_rejected"),
        (StoreError("away", code="postgres_unavailable", hint="-"), "postgres_unavailable"),
    ],
)
def test_what_users_sql_cannot_have_is_told_as_its_own(
    error: StoreError | StatementError, code: str
) -> None:
    with pytest.raises((QueryError, StoreError, StatementError)) as caught, users_sql("mine"):
        raise error
    assert caught.value.code == code


async def test_slow_sql_leaves_connections_to_the_rest(warehouse: Warehouse) -> None:
    runner = HybridRunner(warehouse.database, None, cursor_key=b"key")
    places = runner.materialized.places
    assert places.places_max < warehouse.database.sessions_max // 2
    async with AsyncExitStack() as taken:
        for _number in range(places.places_max):
            session = await taken.enter_async_context(warehouse.database.transaction())
            await taken.enter_async_context(places.one(session))
        with pytest.raises(StoreError) as caught:
            await runner.query(Query(view="keys"))
        assert (caught.value.code, caught.value.retryable) == ("busy", True)
        assert (await runner.query(Query(view="people"))).row_count == 2
    assert (await runner.query(Query(view="keys"))).row_count == 2


async def test_a_place_is_given_back_by_a_statement_that_is_cancelled(
    warehouse: Warehouse,
) -> None:
    places = Places(4)
    assert places.places_max == 1

    async def work() -> None:
        async with warehouse.database.transaction() as session, places.one(session):
            await session.fetchval("SELECT pg_sleep(60)")

    for _number in range(2):
        with anyio.move_on_after(0.2) as scope:
            await work()
        assert scope.cancelled_caught
    async with warehouse.database.transaction() as session, places.one(session):
        assert await session.fetchval("SELECT 1") == 1


async def test_a_statement_that_does_not_look_for_its_end_keeps_its_place_until_then(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CLIENT_GRACE_S", 0.2)
    lingering = warehouse.database.lingering
    places = Places(4, lingering=lingering)

    async def ask() -> None:
        bounded = warehouse.database.transaction(statement_timeout_s=0.2)
        async with bounded as session, places.one(session):
            await session.fetchval(UNHEARING)

    with pytest.raises(StoreError) as caught:
        await ask()
    assert caught.value.code == "statement_timeout"
    assert len(lingering) == 1
    with pytest.raises(StoreError) as refused:
        await ask()
    assert refused.value.code == "busy"

    async def has_ended() -> bool:
        return len(lingering) == 0

    assert await until(has_ended, timeout_s=60)
    assert await warehouse.fetch(WORKING) == [(0,)]
    async with warehouse.database.transaction() as session, places.one(session):
        assert await session.fetchval("SELECT 1") == 1
