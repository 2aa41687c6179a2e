"""Composed views and the views they read stay in step, for agents and for psql."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from composed import drop, keep, sql_view
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.composed.sql_views import check_reach
from researchflow_runners.composed.upkeep import dependents
from researchflow_runners.errors import QueryError, ResearchFlowError, ViewDefinitionError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_runners.sql import ident
from warehouse import (
    DEFINITIONS,
    PEOPLE,
    PEOPLE_ACTIVE,
    RESULTS,
    Warehouse,
    compiled,
    open_warehouse,
    patient,
    result,
)

HIGH = sql_view(
    "high",
    "SELECT p.id, p.gender, r.value FROM people p JOIN results r ON r.patient_id = p.id"
    " WHERE r.value > 5",
    people="people",
    results="results",
)
#: PEOPLE, registered: what a user may define anew and drop.
GUESTS = {**PEOPLE, "name": "guests"}
GUEST_GENDERS = sql_view("genders", "SELECT gender FROM guests", guests="guests")


@pytest_asyncio.fixture
async def warehouse(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Two patients and two results, refreshed, and the composed view `high`."""
    async with open_warehouse(postgres_dsn) as opened:
        await opened.put(patient("a"), patient("b", gender="male"))
        await opened.put(result("1", "a", 7), result("2", "b", 3))
        await opened.refresh()
        await keep(opened.database, HIGH)
        yield opened


async def rows(warehouse: Warehouse, view: str) -> list[dict[str, Any]]:
    runner = HybridRunner(warehouse.database, None, cursor_key=b"key")
    return (await runner.query(Query(view=view))).as_dicts()


async def change(warehouse: Warehouse, change: CatalogueChange) -> None:
    refresher = Refresher(warehouse.database, warehouse.source, compiled(*DEFINITIONS))
    await refresher.refresh(change=change)


async def refused(action: Any, code: str) -> ResearchFlowError:
    with pytest.raises(ResearchFlowError) as caught:
        await action
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


# For psql


async def test_sql_views_give_the_rows_of_both_states(warehouse: Warehouse) -> None:
    entry = await warehouse.enter("a", 2, '{"gender": "other"}')
    assert entry
    anchored = await warehouse.fetch("SELECT id, gender, value FROM sqlonfhir.high")
    live = await warehouse.fetch("SELECT id, gender, value FROM sqlonfhir_live.high")
    assert [(row[0], row[1], int(row[2])) for row in anchored] == [("a", "female", 7)]
    assert [(row[0], row[1], int(row[2])) for row in live] == [("a", "other", 7)]


async def test_sql_views_go_with_the_composed_view(warehouse: Warehouse) -> None:
    await drop(warehouse.database, "high")
    left = await warehouse.fetch("SELECT viewname FROM pg_views WHERE viewname = 'high'")
    assert left == []


async def test_sql_that_reaches_the_catalogue_is_found_in_what_postgresql_made_of_it(
    warehouse: Warehouse,
) -> None:
    async with warehouse.database.transaction() as session:
        await session.execute("CREATE VIEW sqlonfhir.roles AS SELECT rolname FROM pg_roles")
        await session.execute("CREATE VIEW sqlonfhir.secrets AS SELECT rolname FROM pg_authid")
        await session.execute(
            "CREATE FUNCTION public.mine(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
        )
        await session.execute("CREATE VIEW sqlonfhir.called AS SELECT public.mine(1) AS n")
        await session.execute("CREATE VIEW sqlonfhir.good AS SELECT id FROM sqlonfhir.people")
        people = [ident("sqlonfhir", "people")]
        await check_reach(session, ident("sqlonfhir", "good"), people)
        for name in ("roles", "secrets", "called"):
            with pytest.raises(ViewDefinitionError) as caught:
                await check_reach(session, ident("sqlonfhir", name), people)
            assert caught.value.code == "sql_reaches_out"
        with pytest.raises(ViewDefinitionError):
            await check_reach(session, ident("sqlonfhir", "good"), [ident("sqlonfhir", "results")])


# A view that one reads


async def test_a_view_that_is_read_cannot_be_dropped(warehouse: Warehouse) -> None:
    (guests,) = compiled(GUESTS)
    await change(warehouse, CatalogueChange(register=guests))
    await keep(warehouse.database, GUEST_GENDERS)
    error = await refused(change(warehouse, CatalogueChange(drop="guests")), "view_in_use")
    assert '"genders"' in error.message
    async with warehouse.database.session() as session:
        assert await dependents(session, "guests") == ("genders",)
    await drop(warehouse.database, "genders")
    await change(warehouse, CatalogueChange(drop="guests"))


async def test_a_composed_view_that_is_read_cannot_be_dropped(warehouse: Warehouse) -> None:
    await keep(warehouse.database, sql_view("top", "SELECT id FROM high", high="high"))
    error = await refused(drop(warehouse.database, "high"), "view_in_use")
    assert '"top"' in error.message


async def test_a_definition_that_lacks_a_column_in_use_is_refused_before_it_is_built(
    warehouse: Warehouse,
) -> None:
    (guests,) = compiled(GUESTS)
    await change(warehouse, CatalogueChange(register=guests))
    await keep(warehouse.database, GUEST_GENDERS)
    (lacking,) = compiled({**PEOPLE_ACTIVE, "name": "guests"})
    error = await refused(change(warehouse, CatalogueChange(register=lacking)), "view_in_use")
    assert "'gender'" in error.message
    assert len(await rows(warehouse, "genders")) == 2


async def test_a_definition_that_still_fits_moves_the_composed_views_along(
    warehouse: Warehouse,
) -> None:
    (guests,) = compiled(GUESTS)
    await change(warehouse, CatalogueChange(register=guests))
    await keep(warehouse.database, GUEST_GENDERS)
    await keep(
        warehouse.database,
        sql_view("shouted", "SELECT upper(gender) AS g FROM genders", genders="genders"),
    )
    columns = [
        {"path": "gender = 'male'", "name": "gender"},
        {"path": "getResourceKey()", "name": "id"},
    ]
    changed = {**GUESTS, "select": [{"column": columns}]}
    (other,) = compiled(
        {
            **changed,
            "select": [{"column": [{"path": "gender.upper()", "name": "gender"}, columns[1]]}],
        }
    )
    await change(warehouse, CatalogueChange(register=other))
    assert sorted(row["gender"] for row in await rows(warehouse, "genders")) == ["FEMALE", "MALE"]
    assert sorted(await warehouse.fetch("SELECT g FROM sqlonfhir_live.shouted")) == [
        ("FEMALE",),
        ("MALE",),
    ]
    (boolean,) = compiled(changed)
    error = await refused(change(warehouse, CatalogueChange(register=boolean)), "view_in_use")
    assert '"shouted"' in error.message


async def test_a_view_that_is_read_by_its_url_keeps_it(warehouse: Warehouse) -> None:
    url = "https://a.example/ViewDefinition/people"
    (guests,) = compiled({**GUESTS, "url": url, "version": "1"})
    await change(warehouse, CatalogueChange(register=guests))
    reader = sql_view("genders", "SELECT gender FROM guests", guests=f"{url}|1")
    await keep(warehouse.database, reader)
    for moved in ({"url": url, "version": "2"}, {"url": f"{url}s", "version": "1"}, {}):
        (other,) = compiled({**GUESTS, **moved})
        error = await refused(change(warehouse, CatalogueChange(register=other)), "view_in_use")
        assert f'"{url}|1"' in error.message
    (longer,) = compiled({**GUESTS, "url": url, "version": "1", "title": "Guests"})
    await change(warehouse, CatalogueChange(register=longer))
    assert len(await rows(warehouse, "genders")) == 2


async def test_another_publishers_view_of_the_same_ending_does_not_answer(
    warehouse: Warehouse,
) -> None:
    foreign = sql_view("x", "SELECT id FROM p", p="https://b.example/ViewDefinition/people|2")
    await refused(keep(warehouse.database, foreign), "dependency_not_found")


async def test_a_release_that_drops_a_column_leaves_a_fault_and_goes_on(
    warehouse: Warehouse,
) -> None:
    await warehouse.refresh([PEOPLE_ACTIVE, RESULTS])
    error = await refused(rows(warehouse, "high"), "composed_view_broken")
    assert "'gender'" in error.message
    assert await warehouse.fetch("SELECT 1 FROM pg_views WHERE viewname = 'high'") == []
    await warehouse.refresh()
    assert [row["id"] for row in await rows(warehouse, "high")] == ["a"]
    assert await warehouse.fetch("SELECT id FROM sqlonfhir.high") == [("a",)]


async def test_a_view_that_is_no_longer_published_is_named(warehouse: Warehouse) -> None:
    await warehouse.refresh([PEOPLE])
    error = await refused(rows(warehouse, "high"), "view_not_published")
    assert '"results"' in error.message


async def test_a_materialised_view_takes_a_name_over(warehouse: Warehouse) -> None:
    await warehouse.refresh([*DEFINITIONS, {**PEOPLE, "name": "high"}])
    assert len(await rows(warehouse, "high")) == 2
    assert len(await warehouse.fetch("SELECT birth_date FROM sqlonfhir.high")) == 2


# Names and shapes


async def test_names_are_unique_over_all_views(warehouse: Warehouse) -> None:
    taken = sql_view("people", "SELECT id FROM results", results="results")
    await refused(keep(warehouse.database, taken), "name_taken")
    (high,) = compiled({**PEOPLE, "name": "high"})
    await refused(change(warehouse, CatalogueChange(register=high)), "name_taken")


async def test_unknown_views_are_named(warehouse: Warehouse) -> None:
    error = await refused(
        keep(warehouse.database, sql_view("x", "SELECT id FROM p", p="peple")),
        "dependency_not_found",
    )
    assert error.did_you_mean == "people"
    missing = await refused(drop(warehouse.database, "hihg"), "unknown_view")
    assert isinstance(missing, QueryError)
    assert missing.did_you_mean == "high"


async def test_circles_and_towers_are_refused(warehouse: Warehouse) -> None:
    below = "high"
    for number in range(3):
        await keep(warehouse.database, sql_view(f"level{number}", "SELECT id FROM v", v=below))
        below = f"level{number}"
    tower = sql_view("tower", "SELECT id FROM v", v=below)
    await refused(keep(warehouse.database, tower), "too_many_relations")
    circle = sql_view("high", "SELECT id FROM v", v="level0")
    await refused(keep(warehouse.database, circle), "dependency_cycle")


async def test_a_replaced_composed_view_keeps_its_readers_or_stays(warehouse: Warehouse) -> None:
    await keep(warehouse.database, sql_view("top", "SELECT id FROM high", high="high"))
    without = sql_view("high", "SELECT gender FROM people", people="people")
    error = await refused(keep(warehouse.database, without), "view_in_use")
    assert '"top"' in error.message
    fitting = sql_view("high", "SELECT id FROM people", people="people")
    await keep(warehouse.database, fitting)
    assert len(await rows(warehouse, "top")) == 2
    assert len(await warehouse.fetch("SELECT id FROM sqlonfhir.top")) == 2
