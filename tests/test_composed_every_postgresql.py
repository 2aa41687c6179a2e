"""Composed views on the other supported versions of PostgreSQL: what passes, what is noticed."""

from __future__ import annotations

import pytest

from clinic import condition, lab, open_clinic, patient
from composed import WOMEN_LABS, keep, sql_view
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.sql_views import check_reach
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.sql import ident
from researchflow_runners.store.database import Database
from test_composed_check import ALLOWED, OVER, check


async def test_a_composed_view_answers_on_every_version(other_dsn: str, redis_url: str) -> None:
    async with open_clinic(other_dsn, redis_url) as clinic:
        await clinic.put(patient("a", birthDate="1970-06"), condition("1", "a"), lab("x", "a"))
        await clinic.refresh()
        await keep(clinic.database, sql_view("women_labs", WOMEN_LABS))
        await clinic.cache(lab("y", "a", 9))
        born = {"column": "birth_date", "op": "eq", "value": "1970"}
        answer = await clinic.ask("women_labs", columns=["lab_id"], where=born)
        assert sorted(answer.rows) == [("x",), ("y",)]
        async with clinic.database.session() as session:
            assert await session.fetchval("SELECT count(*) FROM sqlonfhir.women_labs") == 1
            assert await session.fetchval("SELECT count(*) FROM sqlonfhir_live.women_labs") == 2


async def test_sql_that_reaches_out_is_noticed_on_every_version(other_dsn: str) -> None:
    database = await Database.connect(other_dsn)
    await database.install_schema()
    async with database.transaction() as session:
        await session.execute("CREATE VIEW sqlonfhir.plain AS SELECT 1 AS n")
        await session.execute("CREATE VIEW sqlonfhir.good AS SELECT n FROM sqlonfhir.plain")
        await session.execute("CREATE VIEW sqlonfhir.secrets AS SELECT rolname FROM pg_authid")
        await check_reach(session, ident("sqlonfhir", "good"), [ident("sqlonfhir", "plain")])
        with pytest.raises(ViewDefinitionError):
            await check_reach(session, ident("sqlonfhir", "secrets"), [])
    await database.close()


async def test_analysis_passes_on_every_version(other_dsn: str) -> None:
    database = await Database.connect(other_dsn)
    await database.install_schema()
    async with database.transaction(readonly=True) as session:
        for sql in ALLOWED:
            assert await describe(session, check(sql), OVER, field="sql")
    await database.close()
