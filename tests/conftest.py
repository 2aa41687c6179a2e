"""A real PostgreSQL and a real Redis for every test, started once.

`postgres_dsn` and `redis_url` are empty again for each test; a test that kills or stops a service
takes `own_services` instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from postgres_versions import OTHER_MAJORS, installation, server_of
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.store.database import Database
from researchflow_server.embedded import PostgresServer, Services, embedded_services

TEMPLATE = "hapi_template"
SHARED = Path(__file__).resolve().parents[2] / "shared"
_numbers = count(1)


@pytest.fixture(autouse=True)
def umask_of_ones_own() -> Iterator[None]:
    """A command keeps what it writes to itself; the tests after one that ran it do not."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def services_directory() -> Iterator[Path]:
    """A short path that PostgreSQL's account can enter: a socket's path has a limit."""
    yield from _directory()


@pytest_asyncio.fixture(scope="session")
async def services(services_directory: Path) -> AsyncIterator[Services]:
    """The services that all tests share; never stop them."""
    async with embedded_services(services_directory, volatile=True) as started:
        await _make_template(started.postgres)
        yield started


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """An empty data directory for this test alone."""
    yield from _directory()


@pytest_asyncio.fixture
async def own_services(own_directory: Path) -> AsyncIterator[Services]:
    """Services for this test alone, to kill and to start again; with HAPI's tables."""
    async with embedded_services(own_directory, volatile=True) as started:
        await _with_hapi_tables(started.postgres_dsn)
        yield started


@pytest_asyncio.fixture(scope="session", params=OTHER_MAJORS, ids="postgresql {}".format)
async def other_postgres(request: pytest.FixtureRequest) -> AsyncIterator[PostgresServer]:
    """A server of each other version that is installed, with HAPI's tables in TEMPLATE."""
    if installation(request.param) is None:
        pytest.skip(f"postgresql {request.param} is not installed on this machine")
    for directory in _directory():
        async with server_of(request.param, directory) as server:
            await _make_template(server)
            yield server


@pytest_asyncio.fixture
async def other_dsn(other_postgres: PostgresServer) -> AsyncIterator[str]:
    """On each other version a database with HAPI's tables, empty, for this test alone."""
    async with _database(other_postgres) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def other_connection(other_postgres: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """On each other version a connection for statements over constants only."""
    connection = await asyncpg.connect(other_postgres.dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def postgres_dsn(services: Services) -> AsyncIterator[str]:
    """A database with HAPI's tables, empty, for this test alone."""
    async with _database(services.postgres) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def source_dsn(services: Services) -> AsyncIterator[str]:
    """A second database with HAPI's tables: the source when it is not the warehouse."""
    async with _database(services.postgres) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def empty_dsn(services: Services) -> AsyncIterator[str]:
    """A database without any table, for this test alone."""
    async with _database(services.postgres, template="template1") as dsn:
        yield dsn


@pytest_asyncio.fixture
async def connection(services: Services) -> AsyncIterator[asyncpg.Connection]:
    """A connection for statements over temporary tables and constants only."""
    connection = await asyncpg.connect(services.postgres_dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def redis_url(services: Services) -> str:
    """An empty Redis."""
    client = Redis.from_url(services.redis_url)
    await client.flushall()
    await client.aclose()
    return services.redis_url


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of large test data beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the shared test data in ../shared, which is not there")
    return SHARED


def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="rf-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


async def _make_template(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"CREATE DATABASE {TEMPLATE}")
    await connection.close()
    await _with_hapi_tables(server.dsn_of(TEMPLATE))


async def _with_hapi_tables(dsn: str) -> None:
    database = await Database.connect(dsn)
    await create_hapi_tables(database)
    await database.close()


@asynccontextmanager
async def _database(server: PostgresServer, *, template: str = TEMPLATE) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield server.dsn_of(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


# The quick run is the same each time, so that a red build is the change's; the long one explores.
hypothesis.settings.register_profile("quick", max_examples=60, derandomize=True)
hypothesis.settings.register_profile("long", max_examples=5_000)
hypothesis.settings.load_profile("quick")
