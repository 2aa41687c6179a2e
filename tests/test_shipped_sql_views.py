"""SQLViews that come with the product are kept by the refresh, and what users made is theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from composed import keep, sql_view
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import RefreshResult
from researchflow_runners.compiler import compile_view
from researchflow_runners.composed.origins import origins
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.stored import composed_views
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_runners.views import shipped_views
from warehouse import DEFINITIONS, Warehouse, compiled, open_warehouse, patient

SHIPPED = {view["name"]: compile_view(view).columns for view in shipped_views()}
COMES_WITH = {
    **sql_view("women", "SELECT id FROM people WHERE gender = 'female'", people="people"),
    "url": "https://researchflow.example/Library/women",
}
DEFINED_ANEW = {
    **sql_view("women", "SELECT id, gender FROM people WHERE gender = 'female'", people="people"),
    "url": COMES_WITH["url"],
}


@pytest_asyncio.fixture
async def warehouse(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Two patients, not refreshed."""
    async with open_warehouse(postgres_dsn) as opened:
        await opened.put(patient("a", gender="female"), patient("b", gender="male"))
        yield opened


async def refresh(warehouse: Warehouse, *libraries: dict[str, Any]) -> RefreshResult:
    refresher = Refresher(
        warehouse.database, warehouse.source, compiled(*DEFINITIONS), libraries=libraries
    )
    return await refresher.refresh()


async def rows(warehouse: Warehouse, view: str) -> list[dict[str, Any]]:
    runner = HybridRunner(warehouse.database, None, cursor_key=bytes(32))
    return (await runner.query(Query(view=view))).as_dicts()


async def test_first_refresh_brings_it_and_a_later_one_its_new_definition(
    warehouse: Warehouse,
) -> None:
    await refresh(warehouse, COMES_WITH)
    assert await rows(warehouse, "women") == [{"id": "a"}]
    again = await refresh(warehouse, DEFINED_ANEW)
    assert again.published is False
    assert await rows(warehouse, "women") == [{"id": "a", "gender": "female"}]


async def test_name_that_a_user_took_before_stays_the_users(warehouse: Warehouse) -> None:
    await refresh(warehouse)
    theirs = sql_view("women", "SELECT count(*) AS n FROM people", people="people")
    await keep(warehouse.database, theirs)
    await refresh(warehouse, COMES_WITH)
    assert await rows(warehouse, "women") == [{"n": 2}]


async def test_it_waits_for_the_views_that_it_reads(warehouse: Warehouse) -> None:
    over_later = sql_view("women", "SELECT id FROM later", later="later_people")
    await refresh(warehouse, {**over_later, "url": COMES_WITH["url"]})
    async with warehouse.database.session() as session:
        assert await composed_views(session) == {}
    await refresh(warehouse, COMES_WITH)
    assert await rows(warehouse, "women") == [{"id": "a"}]


def meaning(sql: str, *views: str) -> Any:
    """What the one column of the SQL is known as."""
    relations = {view: SHIPPED[view] for view in views}
    names = {view: [column.name for column in SHIPPED[view]] for view in views}
    return origins(check_sql(sql, relations=names, field="sql"), relations).get("x")


def test_first_of_several_dates_is_a_date_and_dates_its_row() -> None:
    found = meaning(
        "SELECT coalesce(effective_datetime, effective_period_start, issued) AS x"
        " FROM observation_labs",
        "observation_labs",
    )
    assert (found.fhir_type, found.has_range, found.event) == ("dateTime", True, 1)
    assert found.description is None


def test_union_of_dates_of_several_types_is_a_date_time() -> None:
    found = meaning(
        "SELECT birth_date AS x FROM patient_simple"
        " UNION ALL SELECT authored_on FROM medication_requests",
        "patient_simple", "medication_requests",
    )  # fmt: skip
    assert (found.fhir_type, found.has_range, found.event) == ("dateTime", True, None)


def test_union_of_keys_of_several_types_is_a_key_of_none() -> None:
    found = meaning(
        "SELECT id AS x FROM encounters UNION ALL SELECT id FROM observation_labs",
        "encounters", "observation_labs",
    )  # fmt: skip
    assert (found.fhir_type, found.key_of, found.known_as) == ("string", None, None)
    same = meaning(
        "SELECT patient_id AS x FROM encounters UNION ALL SELECT patient_id FROM observation_labs",
        "encounters", "observation_labs",
    )  # fmt: skip
    assert same.key_of == "Patient"


def test_first_of_columns_that_mean_different_things_has_no_meaning() -> None:
    assert meaning(
        "SELECT coalesce(snomed_code, icd10_code) AS x FROM condition_diagnoses",
        "condition_diagnoses",
    ) is None  # fmt: skip
    assert meaning(
        "SELECT coalesce(gender, 'unknown') AS x FROM patient_simple", "patient_simple"
    ) is None  # fmt: skip
