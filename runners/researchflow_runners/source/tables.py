"""HAPI's tables, made by us: for embedded and development databases."""

from __future__ import annotations

from importlib.resources import files

import asyncpg

#: The comment on hfj_resource by which tables of our making are known.
MARKER = "researchflow development source"
HAPI_DDL = (files("researchflow_runners.source") / "hapi_ddl.sql").read_text()

_STATE = """
SELECT to_regclass('hfj_resource') IS NOT NULL AS present,
       coalesce(obj_description(to_regclass('hfj_resource'), 'pg_class') = $1, false) AS ours
"""
#: One maker at a time; `CREATE TABLE IF NOT EXISTS` of two sessions may still collide.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('researchflow hapi tables', 0))"


async def create_hapi_tables(connection: asyncpg.Connection) -> bool:
    """Makes HAPI's tables when the database has none; whether it made them."""
    async with connection.transaction():
        await connection.execute(_LOCK)
        if (await connection.fetchrow(_STATE, MARKER))["present"]:
            return False
        await connection.execute(HAPI_DDL)
        return True


async def are_ours(connection: asyncpg.Connection) -> bool:
    """Whether the database's HAPI tables were made by us."""
    return bool((await connection.fetchrow(_STATE, MARKER))["ours"])
