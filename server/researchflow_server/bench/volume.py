"""Any number of resources in HAPI's tables of a PostgreSQL that is thrown away, made by SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources

from researchflow_runners.source.bulk import without_indexes
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.sql import compose, fixed
from researchflow_runners.store.database import Database
from researchflow_server.demo.stage import fresh_home
from researchflow_server.embedded import PostgresServer

TIMEOUT_S = 1800.0
#: A new version of every so many-th resource, each as a PUT would write it.
_CHANGE = """
WITH chosen AS (
    UPDATE hfj_resource SET res_ver = res_ver + 1, res_updated = now() AT TIME ZONE 'UTC'
    WHERE res_id IN (SELECT n * $2::bigint + $3 FROM generate_series(0, $1::bigint - 1) AS n)
    RETURNING res_id, res_ver, res_updated)
INSERT INTO hfj_res_ver (pid, res_id, res_type, res_ver, res_version, has_tags, res_published,
    res_updated, res_encoding, res_text_vc)
SELECT (SELECT max(pid) FROM hfj_res_ver) + row_number() OVER (), c.res_id, v.res_type, c.res_ver,
       'R4', false, v.res_published, c.res_updated, 'JSON', v.res_text_vc
FROM chosen AS c JOIN hfj_res_ver AS v ON v.res_id = c.res_id AND v.res_ver = c.res_ver - 1
"""
#: The role's own settings: who connects anew has them.
_ALONE = """
ALTER ROLE CURRENT_USER SET max_parallel_workers_per_gather = 0;
ALTER ROLE CURRENT_USER SET max_parallel_maintenance_workers = 0
"""
_TOGETHER = """
ALTER ROLE CURRENT_USER RESET max_parallel_workers_per_gather;
ALTER ROLE CURRENT_USER RESET max_parallel_maintenance_workers
"""


@asynccontextmanager
async def volume(count: int) -> AsyncIterator[Database]:
    """A database of so many resources; it is source and warehouse."""
    script = resources.files(__package__).joinpath("volume.sql").read_text()
    with fresh_home(keep=False) as home:
        server = PostgresServer(home, volatile=True)
        await server.start()
        try:
            database = await Database.connect(server.dsn, statement_timeout_s=TIMEOUT_S)
            try:
                await create_hapi_tables(database)
                filled = compose(script, count=fixed(str(count)), last=fixed(str(count - 1)))
                async with database.transaction() as session, without_indexes(session):
                    await session.execute(filled.render()[0])
                # As autovacuum would, before the source is read in earnest.
                async with database.session() as session:
                    await session.execute("VACUUM ANALYZE hfj_resource")
                await database.install_schema()
                yield database
            finally:
                await database.close()
        finally:
            await server.stop()


async def change(database: Database, *, of: int, count: int, run: int) -> None:
    """New versions of `count` resources, spread over all `of` them."""
    async with database.transaction() as session:
        await session.execute(_CHANGE, count, of // count, run)


@asynccontextmanager
async def one_process(database: Database) -> AsyncIterator[None]:
    """Sessions that begin inside compute in their own process alone."""
    async with database.session() as session:
        await session.execute(_ALONE)
    try:
        yield
    finally:
        async with database.session() as session:
            await session.execute(_TOGETHER)
