"""Resources that a view cannot be computed over are found in a stated time, however wide it is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.column import ROW_ROOM_BYTES
from researchflow_runners.errors import RefreshError, ResearchFlowError, ViewDefinitionError
from researchflow_runners.sql import fixed
from researchflow_runners.store import culprits
from researchflow_runners.store.culprits import NAMING_TIMEOUT_S, SEARCH_TIMEOUT_S, find_culprits
from warehouse import Warehouse, compiled, open_warehouse, patient

IMPOSSIBLE = "2021-02-30"
PATIENTS = 350
#: As many dates as a view may have.
DATES = ROW_ROOM_BYTES // 40 - 1
#: Twice what is needed on a machine that does much else.
FOUND_WITHIN_S = 15.0
LETTERS = "SELECT id, column_name FROM researchflow.dead_letter ORDER BY 1"


def wide(columns: int, **more: Any) -> dict[str, Any]:
    """A view of that many dates, each in an extension of its own."""
    dates = [
        {"path": f"extension.where(url = 'u{n}').value.ofType(date)", "name": f"d{n}"}
        for n in range(columns)
    ]
    key = {"path": "getResourceKey()", "name": "id"}
    return {
        "resourceType": "ViewDefinition",
        "name": "wide",
        "resource": "Patient",
        "status": "active",
        "select": [{"column": [key, *dates]}],
        **more,
    }


def dated(name: str, **dates: str) -> dict[str, Any]:
    """A patient with these dates."""
    return patient(name, extension=[{"url": url, "valueDate": at} for url, at in dates.items()])


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def other_house(other_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(other_dsn) as opened:
        yield opened


async def found(
    house: Warehouse, definition: dict[str, Any], clock: Callable[[], float] = time.monotonic
) -> dict[int, str | None]:
    """The columns of the culprits over all patients, by key."""
    (view,) = compiled(definition)
    async with house.database.transaction() as session:
        source = await house.source.attach(session)
        relation = await source.current("Patient", with_meta=False)
        return {
            culprit.res_id: culprit.column
            for culprit in await find_culprits(session, view, relation, clock=clock)
        }


async def test_culprits_of_a_wide_view_are_found_soon(house: Warehouse) -> None:
    last = f"u{DATES - 1}"
    for number in range(PATIENTS):
        at = IMPOSSIBLE if number in (100, 200) else "2020-01-01"
        await house.put(dated(f"p{number:03}", u3="2020", **{last: at}))
    began_s = time.monotonic()
    await house.refresh([wide(DATES)])
    assert time.monotonic() - began_s < FOUND_WITHIN_S
    assert await house.fetch(LETTERS) == [("p100", f"d{DATES - 1}"), ("p200", f"d{DATES - 1}")]
    assert len(await house.rows("wide")) == PATIENTS - 2


async def test_each_culprit_has_its_first_failing_column(house: Warehouse) -> None:
    await house.put(dated("fine", u0="2020-01-01"), dated("both", u1=IMPOSSIBLE, u4=IMPOSSIBLE))
    await house.put(dated("last", u4=IMPOSSIBLE), dated("first", u0=IMPOSSIBLE))
    assert list((await found(house, wide(5))).values()) == ["d1", "d4", "d0"]


async def test_culprits_are_found_on_every_version(other_house: Warehouse) -> None:
    await other_house.put(dated("a"), dated("b", u7=IMPOSSIBLE), dated("c", u0="2020"))
    await other_house.refresh([wide(30)])
    assert await other_house.fetch(LETTERS) == [("b", "d7")]


async def test_failing_filter_is_laid_to_no_column(house: Warehouse) -> None:
    await house.put(dated("a"), dated("b", u9=IMPOSSIBLE))
    condition = [{"path": "extension.where(url = 'u9').value.ofType(date) < @2021-01-01"}]
    assert list((await found(house, wide(3, where=condition))).values()) == [None]


async def test_columns_without_room_are_refused() -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        compile_view(wide(600))
    assert (caught.value.code, caught.value.field) == ("too_many_columns", "select")
    assert compile_view(wide(DATES)).columns


async def test_widest_row_is_stored_and_closed(house: Warehouse) -> None:
    texts = [
        {"path": f"extension.where(url = 'u{n}').value.ofType(string)", "name": f"t{n}"}
        for n in range(ROW_ROOM_BYTES // 24)
    ]
    definition = {**wide(0), "select": [{"column": texts}]}
    for length in (23, 60):
        values = [{"url": f"u{n}", "valueString": "ä" * (length // 2)} for n in range(len(texts))]
        await house.put(patient("a", extension=values))
        await house.refresh([definition])
        assert await house.rows("wide") == [("ä" * (length // 2),) * len(texts)]
    assert await house.fetch(LETTERS) == []


async def test_search_that_takes_too_long_lays_it_to_the_view(house: Warehouse) -> None:
    await house.put(*(dated(f"p{number}", u0=IMPOSSIBLE) for number in range(8)))
    times = iter(range(0, 10_000, int(SEARCH_TIMEOUT_S / 5)))
    with pytest.raises(RefreshError) as caught:
        await found(house, wide(2), clock=lambda: float(next(times)))
    assert (caught.value.code, caught.value.field) == ("view_fails", "wide")


async def test_running_statement_ends_with_the_search(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.put(dated("a"))
    monkeypatch.setattr(culprits, "SEARCH_TIMEOUT_S", 0.2)
    (view,) = compiled(wide(1))
    slow = fixed(
        "(SELECT r.*, NULL::jsonb AS meta FROM (SELECT 1::bigint AS res_id, 'a' AS id,"
        " '{}' AS text) AS r WHERE r.res_id < 0 OR pg_sleep(30) IS NOT NULL OFFSET 0)"
    )
    async with house.database.transaction() as session:
        began_s = time.monotonic()
        with pytest.raises(ResearchFlowError) as caught:
            await find_culprits(session, view, slow)
        assert caught.value.code == "view_fails"
        assert time.monotonic() - began_s < FOUND_WITHIN_S
        assert await session.fetchval("SELECT 1") == 1


async def test_culprit_keeps_no_column_that_is_not_found_in_time(house: Warehouse) -> None:
    await house.put(*(dated(f"p{number}", u2=IMPOSSIBLE) for number in range(3)))
    reads = 0

    def clock() -> float:
        nonlocal reads
        reads += 1
        return 0.0 if reads < 12 else NAMING_TIMEOUT_S

    columns = await found(house, wide(3), clock)
    assert list(columns.values()) == [None, None, None]
