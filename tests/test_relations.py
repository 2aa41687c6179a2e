"""The merged relation hides what changed and shows what it became, at each instant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from researchflow_runners.errors import StatementError
from researchflow_runners.sql import compose
from researchflow_runners.store.published import published_view
from researchflow_runners.store.relations import live_relation
from warehouse import PEOPLE, Warehouse, open_warehouse, patient

LOOKER = """
CREATE ROLE looker;
GRANT USAGE ON SCHEMA sqlonfhir, sqlonfhir_live TO looker;
GRANT SELECT ON ALL TABLES IN SCHEMA sqlonfhir, sqlonfhir_live TO looker;
SET LOCAL ROLE looker;
"""
MALE = '{"resourceType":"Patient","gender":"male"}'
OTHER = '{"resourceType":"Patient","gender":"other"}'
LONG_AGO = "2000-01-01"
FAR_AHEAD = "2999-01-01"


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Patients a and b, refreshed."""
    async with open_warehouse(postgres_dsn) as opened:
        await opened.put(patient("a"), patient("b"))
        await opened.refresh([PEOPLE])
        yield opened


async def test_changed_resource_shows_its_new_rows_only(house: Warehouse) -> None:
    await house.enter("a", 2, MALE)
    assert await house.live() == [("a", "male", None), ("b", "female", None)]
    assert await house.rows() == [("a", "female", None), ("b", "female", None)]


async def test_new_resource_is_added(house: Warehouse) -> None:
    await house.enter("c", 1, MALE)
    assert [row[0] for row in await house.live()] == ["a", "b", "c"]


async def test_deleted_resource_is_gone(house: Warehouse) -> None:
    await house.enter("a", 2, None)
    assert await house.live() == [("b", "female", None)]


async def test_expired_entry_gives_the_batch_rows_back(house: Warehouse) -> None:
    await house.enter("a", 2, MALE, origin="provisional", valid_until=LONG_AGO)
    await house.enter("b", 2, None, origin="provisional", valid_until=LONG_AGO)
    assert await house.live() == await house.rows()


async def test_covered_source_entry_waits_for_the_provisional_one(house: Warehouse) -> None:
    await house.enter("a", 2, MALE, valid_from=FAR_AHEAD)
    await house.enter("a", 3, OTHER, origin="provisional", valid_until=FAR_AHEAD)
    assert await house.live() == [("a", "other", None), ("b", "female", None)]


async def test_source_entry_takes_over_from_an_expired_provisional_one(house: Warehouse) -> None:
    await house.enter("a", 2, MALE, valid_from=LONG_AGO)
    await house.enter("a", 3, OTHER, origin="provisional", valid_until=LONG_AGO)
    assert await house.live() == [("a", "male", None), ("b", "female", None)]


async def test_each_row_names_its_layer(house: Warehouse) -> None:
    await house.enter("a", 2, MALE)
    async with house.database.snapshot() as session:
        relation = live_relation(await published_view(session, "people"))
        rows = await session.fetch(compose("SELECT id, _layer FROM {} AS r ORDER BY id", relation))
    assert [tuple(row) for row in rows] == [("a", "speed"), ("b", "batch")]


async def test_sql_views_give_the_same_rows(house: Warehouse) -> None:
    await house.enter("a", 2, MALE)
    assert (
        await house.fetch("SELECT * FROM sqlonfhir_live.people ORDER BY id") == await house.live()
    )
    assert await house.fetch("SELECT * FROM sqlonfhir.people ORDER BY id") == await house.rows()


async def test_role_without_other_rights_reads_the_sql_views(house: Warehouse) -> None:
    await house.enter("a", 2, None)
    with suppress(ZeroDivisionError):
        async with house.database.transaction() as session:
            await session.execute(LOOKER)
            assert await session.fetchval("SELECT count(*) FROM sqlonfhir.people") == 2
            assert await session.fetchval("SELECT count(*) FROM sqlonfhir_live.people") == 1
            with pytest.raises(StatementError) as caught:
                await session.fetchval("SELECT count(*) FROM researchflow.ledger")
            assert caught.value.sqlstate == "42501"
            raise ZeroDivisionError  # the role must not outlive the test
