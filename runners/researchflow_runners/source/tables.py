"""HAPI's tables, made by us: for embedded and development databases."""

from __future__ import annotations

from importlib.resources import files

from researchflow_runners.errors import SourceDataError
from researchflow_runners.store.database import Database

#: The comment on hfj_resource by which tables of our making are known.
MARKER = "researchflow development source"
HAPI_DDL = (files("researchflow_runners.source") / "hapi_ddl.sql").read_text()

_STATE = """
SELECT to_regclass('hfj_resource') IS NOT NULL AS present,
       coalesce(obj_description(to_regclass('hfj_resource'), 'pg_class') = $1, false) AS ours
"""
#: One maker at a time: two sessions that find no tables would both make them.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('researchflow hapi tables', 0))"


async def create_hapi_tables(database: Database) -> bool:
    """Makes HAPI's tables when the database has none; whether it made them."""
    async with database.transaction() as session:
        await session.execute(_LOCK)
        state = await session.fetchrow(_STATE, MARKER)
        if state is None or state["present"]:
            return False
        await session.execute(HAPI_DDL)
        return True


async def refuse_foreign_tables(database: Database) -> None:
    """Returns when HAPI's tables are of our making; else SourceDataError `source_is_foreign`."""
    async with database.session() as session:
        state = await session.fetchrow(_STATE, MARKER)
    if state is None or not state["ours"]:
        raise SourceDataError(
            'the tables "hfj_resource" and "hfj_res_ver" were not made by researchflow',
            code="source_is_foreign",
            hint="they may belong to a FHIR server that would not notice the change; load "
            "through its REST interface, or confirm that this is a development database",
            field="development",
        )
