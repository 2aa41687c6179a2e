"""A pinned anchor keeps its rows through retention, redefinition and drop; others are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from composed import keep, sql_view
from researchflow_runners.batch import retention
from researchflow_runners.batch.anchors import (
    AnchorContent,
    describe_anchor,
    list_anchors,
    pin_anchor,
    unpin,
)
from researchflow_runners.batch.retention import (
    Expiry,
    Retention,
    expire_anchors,
    expire_up_to,
)
from researchflow_runners.batch.verify import verify_anchor
from researchflow_runners.errors import FreshnessError, QueryError, ResearchFlowError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_runners.store.anchor import AsOf
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, Warehouse, open_warehouse, patient

DAY = timedelta(days=1)
#: Nothing but the current anchor, and what is pinned.
NOTHING = (Retention(timedelta(0), 1_000), Retention(DAY, 1))
TABLES = "SELECT count(*) FROM pg_class WHERE relname ~ '^(base|history)_people_' AND relkind = 'r'"
CENSUS = sql_view(
    "census", "SELECT gender, count(*) AS n FROM people GROUP BY gender", people="people"
)
BUSY = sql_view("busy", "SELECT id FROM people WHERE active", people="people")


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Anchor 1: a female; 2: a male; 3: a gone, b; 4: b born; 2 is pinned as "paper"."""
    async with open_warehouse(postgres_dsn) as house:
        await house.put(patient("a"))
        await house.refresh([PEOPLE])
        await house.put(patient("a", gender="male"))
        await house.refresh([PEOPLE])
        await pin_anchor(house.database, "paper", 2)
        await house.delete("Patient/a")
        await house.put(patient("b"))
        await house.refresh([PEOPLE])
        await house.put(patient("b", birthDate="2001"))
        await house.refresh([PEOPLE])
        yield house


async def rows(house: Warehouse, as_of: AsOf, view: str = "people", **more: Any) -> list[Any]:
    """The answer's rows, through the serving layer's door."""
    runner = HybridRunner(house.database, None, cursor_key=b"key" * 8)
    answer = await runner.query(Query.model_validate({"view": view, "as_of": as_of, **more}))
    return sorted(answer.rows, key=repr)


async def code(house: Warehouse, as_of: AsOf, view: str = "people") -> str:
    with pytest.raises(ResearchFlowError) as caught:
        await rows(house, as_of, view)
    return caught.value.code


async def described(house: Warehouse, as_of: AsOf) -> AnchorContent:
    async with house.database.snapshot() as session:
        return await describe_anchor(session, as_of)


async def instants(house: Warehouse) -> dict[int, datetime]:
    async with house.database.snapshot() as session:
        return {one.anchor: one.data_as_of for one in await list_anchors(session)}


@pytest.mark.parametrize("retention", NOTHING, ids=["days", "count"])
async def test_pinned_anchor_survives_retention(house: Warehouse, retention: Retention) -> None:
    dated = await instants(house)
    before = await described(house, "paper")
    assert await expire_anchors(house.database, retention) == Expiry(anchors=2, rows=2)
    assert await rows(house, "paper") == await rows(house, 2) == [("a", "male", None)]
    assert await rows(house, dated[2]) == [("a", "male", None)]
    assert await described(house, "paper") == before
    assert (await verify_anchor(house.database, "paper")).holds
    for expired in (1, 3, dated[1], dated[3], dated[4] - timedelta(microseconds=1)):
        assert await code(house, expired) == "anchor_expired"
    assert await rows(house, 4) == await rows(house, dated[4]) == [("b", "female", "2001")]
    assert await expire_anchors(house.database, retention) == Expiry(0, 0)


async def test_unpinned_anchor_goes_with_the_next_retention(house: Warehouse) -> None:
    await expire_anchors(house.database, NOTHING[0])
    assert await unpin(house.database, "paper") == 2
    assert await code(house, "paper") == "pin_unknown"
    assert await rows(house, 2) == [("a", "male", None)]
    assert await expire_anchors(house.database, NOTHING[0]) == Expiry(anchors=1, rows=1)
    assert await code(house, 2) == "anchor_expired"
    for table in ("anchor", "content"):
        assert len(await house.fetch(f"SELECT FROM researchflow.{table}")) == 1


@pytest.mark.parametrize("name", ["papr", "a\x00", "ä", ""])
async def test_pin_that_is_not_there_is_named(house: Warehouse, name: str) -> None:
    with pytest.raises(FreshnessError) as caught:
        await unpin(house.database, name)
    assert (caught.value.code, caught.value.allowed) == ("pin_unknown", ("paper",))


async def test_pruning_goes_on_over_many_batches(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    await house.put(*(patient(f"n{at}") for at in range(7)))
    await house.refresh([PEOPLE])
    await house.put(*(patient(f"n{at}", gender="other") for at in range(7)))
    await house.refresh([PEOPLE])
    assert await expire_anchors(house.database, NOTHING[0]) == Expiry(anchors=4, rows=9)
    # The pinned anchor, the row after it, and the current one.
    assert await house.fetch("SELECT anchor FROM researchflow.anchor ORDER BY 1") == [
        (2,),
        (3,),
        (6,),
    ]
    assert await rows(house, "paper") == [("a", "male", None)]
    assert len(await rows(house, 6)) == 8


async def test_anchor_with_two_names_stays_until_the_last_is_gone(house: Warehouse) -> None:
    assert (await pin_anchor(house.database, "thesis", "paper")).pins == ("paper", "thesis")
    await unpin(house.database, "paper")
    await expire_anchors(house.database, NOTHING[0])
    assert await rows(house, "thesis") == [("a", "male", None)]


async def test_name_cannot_be_moved_to_another_anchor(house: Warehouse) -> None:
    assert (await pin_anchor(house.database, "paper", 2)).anchor == 2
    with pytest.raises(QueryError) as caught:
        await pin_anchor(house.database, "paper", 3)
    assert caught.value.code == "pin_exists"


@pytest.mark.parametrize("name", ["", "2", "2026-01-01", "a b", "ä", "a" * 65, "a\n"])
async def test_name_that_could_be_a_number_or_date_is_refused(house: Warehouse, name: str) -> None:
    with pytest.raises(QueryError) as caught:
        await pin_anchor(house.database, name, 1)
    assert caught.value.code == "pin_name_invalid"


async def test_expired_anchor_cannot_be_pinned(house: Warehouse) -> None:
    await expire_anchors(house.database, NOTHING[0])
    with pytest.raises(FreshnessError) as caught:
        await pin_anchor(house.database, "late", 3)
    assert (caught.value.code, caught.value.allowed) == ("anchor_expired", ("4..4", "paper"))


async def test_expiring_by_hand_spares_pins_and_the_current_anchor(house: Warehouse) -> None:
    for anchor, refusal in ((2, "anchor_pinned"), (4, "anchor_current"), (5, "anchor_unknown")):
        with pytest.raises(FreshnessError) as caught:
            await expire_up_to(house.database, anchor)
        assert caught.value.code == refusal
    assert await expire_up_to(house.database, 3) == Expiry(anchors=2, rows=2)
    assert await rows(house, "paper") == [("a", "male", None)]
    assert await code(house, 3) == "anchor_expired"


async def test_pinned_rows_survive_a_new_definition(house: Warehouse) -> None:
    before = await described(house, "paper")
    await house.refresh([PEOPLE_ACTIVE])
    await house.put(patient("b", active=True))
    await house.refresh([PEOPLE_ACTIVE])
    await expire_anchors(house.database, NOTHING[0])
    assert await rows(house, "paper") == [("a", "male", None)]
    assert await rows(house, "paper", columns=["gender"]) == [("male",)]
    assert await rows(house, 6) == [("b", True)]
    assert await described(house, "paper") == before
    assert (await verify_anchor(house.database, "paper")).holds


async def test_pinned_rows_survive_the_drop_and_the_return_of_a_view(house: Warehouse) -> None:
    await house.refresh([NAMES])
    assert await rows(house, "paper") == [("a", "male", None)]
    assert await code(house, 5) == "unknown_view"
    await house.refresh([NAMES, PEOPLE])
    assert await rows(house, "paper") == [("a", "male", None)]
    assert await rows(house, 6) == await rows(house, 4) == [("b", "female", "2001")]
    await expire_anchors(house.database, NOTHING[0])
    assert await rows(house, "paper") == [("a", "male", None)]
    assert await code(house, 4) == "anchor_expired"


async def test_former_tables_go_when_the_pin_does(house: Warehouse) -> None:
    await house.refresh([PEOPLE_ACTIVE])
    assert await house.fetch(TABLES) == [(4,)]
    await unpin(house.database, "paper")
    await house.refresh([PEOPLE_ACTIVE])
    assert await house.fetch(TABLES) == [(2,)]
    assert await code(house, 2) == "anchor_before_view"


async def test_former_tables_without_a_pin_are_not_kept(house: Warehouse) -> None:
    await unpin(house.database, "paper")
    await house.refresh([PEOPLE_ACTIVE])
    await house.refresh([PEOPLE_ACTIVE])
    assert await house.fetch(TABLES) == [(2,)]


async def test_composed_view_answers_at_a_pin_while_its_columns_were_there(
    house: Warehouse,
) -> None:
    await keep(house.database, CENSUS)
    before = await described(house, "paper")
    assert await rows(house, "paper", "census") == [("male", 1)]
    assert [one.view for one in before.views if one.is_composed] == ["census"]
    await house.put(patient("c"))
    await house.refresh([PEOPLE])
    assert await described(house, "paper") == before
    now = await described(house, 5)
    assert now.views[-1].content_hash != before.views[-1].content_hash
    assert await rows(house, 5, "census") == [("female", 2)]


async def test_composed_view_is_refused_where_its_columns_were_not(house: Warehouse) -> None:
    await house.refresh([PEOPLE_ACTIVE])
    await keep(house.database, BUSY)
    assert await code(house, "paper", "busy") == "anchor_before_view"


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("history", "UPDATE researchflow.{} SET gender = 'other' WHERE gender = 'male'"),
        ("history", "UPDATE researchflow.{} SET birth_date__lo = now() WHERE gender = 'male'"),
        ("history", "DELETE FROM researchflow.{} WHERE gender = 'male'"),
        ("history", "UPDATE researchflow.{} SET _until = 2 WHERE gender = 'male'"),
        ("base", "UPDATE researchflow.{} SET _since = 1"),
    ],
)
async def test_verification_names_the_view_whose_rows_differ(
    house: Warehouse, table: str, change: str
) -> None:
    await house.refresh([PEOPLE, NAMES])
    await pin_anchor(house.database, "both", 5)
    ((name,),) = await house.fetch(
        f"SELECT {table}_table FROM researchflow.view_catalogue WHERE view_name = 'people'"
    )
    await house.fetch(change.format(name))
    verdict = await verify_anchor(house.database, "paper")
    assert [(one.view, one.outcome) for one in verdict.views] == [("people", "differs")]
    assert not verdict.holds
    assert (await verify_anchor(house.database, "both")).holds


async def test_anchor_of_before_there_were_hashes_is_told_apart(house: Warehouse) -> None:
    await house.fetch("DELETE FROM researchflow.content")
    await house.put(patient("c"))
    await house.refresh([PEOPLE])
    verdicts = [await verify_anchor(house.database, anchor) for anchor in (2, 4, 5)]
    assert [one.views[0].outcome for one in verdicts] == ["unhashed", "same", "same"]
    assert (await described(house, 2)).content_hash is None
