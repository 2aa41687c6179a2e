"""What runs on PostgreSQL 18, as all other tests do, runs on the other supported versions.

The compiler's cases, the golden rows and a sample of the property test, and one story through the
store, the speed layer and the merged answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinic import Clinic, condition, lab, open_clinic, patient
from conformance import CASES, check_case, params_of
from conftest import SHARED
from generators import patients, views
from golden import goldens
from oracle_comparison import check_against_oracle
from researchflow_runners.compiler import compile_view
from researchflow_runners.views import shipped_views
from researchflow_server.embedded import PostgresServer
from walk_generators import responses, walking_views
from warehouse import NAMES

OFFICIAL = SHARED / "sql-on-fhir" / "tests"
DIABETIC = {
    "column": "id",
    "query": {
        "view": "condition_simple",
        "where": {"column": "icd10_code", "op": "eq", "value": "E11"},
    },
}
#: A quick run draws fewer, a long one as many as elsewhere.
EXAMPLES = 25 if settings().max_examples < 1_000 else settings().max_examples


def gender(value: str) -> dict[str, Any]:
    """The filter on that gender."""
    return {"column": "gender", "op": "eq", "value": value}


def named(of: str, *given: str) -> dict[str, Any]:
    """A Patient with one name of these given names."""
    return {**patient(of), "name": [{"given": list(given)}]}


async def test_server_is_of_its_version(other_postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(other_postgres.dsn)
    number = connection.get_server_version().major
    await connection.close()
    assert number == other_postgres.major


async def test_own_cases_pass_on_every_version(other_connection: asyncpg.Connection) -> None:
    for param in params_of(CASES):
        await check_case(other_connection, *param.values)


async def test_official_cases_pass_on_every_version(
    other_connection: asyncpg.Connection, shared_dir: Path
) -> None:
    for param in params_of(OFFICIAL):
        await check_case(other_connection, *param.values)


async def test_golden_rows_are_the_same_on_every_version(
    other_connection: asyncpg.Connection,
) -> None:
    for golden in goldens():
        await check_case(other_connection, golden.suite, golden.case)


@settings(
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    drawn=st.one_of(
        st.tuples(views(), st.lists(patients(), min_size=1, max_size=4)),
        st.tuples(walking_views(), st.lists(responses, min_size=1, max_size=3)),
    )
)
async def test_compiled_rows_are_the_oracles_on_every_version(
    other_connection: asyncpg.Connection, drawn: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    await check_against_oracle(other_connection, *drawn)


@pytest_asyncio.fixture
async def clinic(other_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Every shipped view and one that two given names break; two patients, refreshed once."""
    views = tuple(compile_view(one) for one in (*shipped_views(), NAMES))
    async with open_clinic(other_dsn, redis_url, views=views) as opened:
        await opened.put(named("a", "A"), patient("b", birthDate="1950"))
        await opened.put(condition("1", "a"), lab("x", "a", 7.50), lab("y", "b", 9))
        await opened.refresh()
        yield opened


async def test_changes_are_merged_on_every_version(clinic: Clinic) -> None:
    changes = (patient("a", gender="male"), patient("c"), "Patient/b", lab("z", "a", 6.10))
    await clinic.cache(*changes)
    assert sorted(await clinic.ids("patient_simple")) == ["a", "c"]
    assert sorted(await clinic.ids("patient_simple", freshness="anchored")) == ["a", "b"]
    async with clinic.database.session() as session:
        shown = await session.fetch("SELECT id FROM sqlonfhir_live.patient_simple ORDER BY 1")
    assert [row[0] for row in shown] == ["a", "c"]
    assert await clinic.ids("patient_simple", where=gender("female")) == ["c"]
    assert await clinic.ids("patient_simple", where=DIABETIC) == ["a"]
    labs = await clinic.ask("observation_labs", columns=["id", "value_quantity"])
    values = sorted((row[0], str(row[1])) for row in labs.rows)
    assert values == [("x", "7.5"), ("y", "9"), ("z", "6.1")]


async def test_refreshes_keep_earlier_anchors_on_every_version(clinic: Clinic) -> None:
    first = (await clinic.ask("patient_simple", columns=["id"])).anchor
    await clinic.cache("Patient/b")
    await clinic.put(patient("a", gender="other"), named("d", "A", "B"))
    await clinic.delete("Patient/b")
    await clinic.refresh()
    assert sorted(await clinic.ids("patient_simple")) == ["a", "d"]
    assert await clinic.ids("patient_simple", where=gender("other")) == ["a"]
    then = await clinic.ids("patient_simple", freshness="anchored", as_of=first)
    assert sorted(then) == ["a", "b"]
    async with clinic.database.session() as session:
        left = await session.fetch("SELECT id FROM researchflow.overlay_entry")
        dead = await session.fetch("SELECT view_name, id FROM researchflow.dead_letter")
    assert [tuple(row) for row in (*left, *dead)] == [("people_names", "d")]
