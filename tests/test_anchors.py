"""A read at an anchor gives the same rows for as long as the anchor is retained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from researchflow_runners.batch.anchors import list_anchors
from researchflow_runners.batch.retention import Expiry, Retention, expire_anchors
from researchflow_runners.errors import FreshnessError
from researchflow_runners.store.anchor import Anchor, current_anchor, resolve_anchor
from researchflow_runners.store.published import published_view
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, Warehouse, open_warehouse, patient

AT_ONCE = Retention(timedelta(0), 1_000)


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def lived_in(house: Warehouse) -> Warehouse:
    """Anchor 1: a female; 2: a male; 3: a gone, b; 4: the same, after a change without a row."""
    await house.put(patient("a"))
    await house.refresh([PEOPLE])
    await house.put(patient("a", gender="male"))
    await house.refresh([PEOPLE])
    await house.delete("Patient/a")
    await house.put(patient("b"))
    await house.refresh([PEOPLE])
    await house.put(patient("b", active=True))
    await house.refresh([PEOPLE])
    return house


async def resolve(house: Warehouse, as_of: int | datetime, *, view: str = "people") -> Anchor:
    async with house.database.snapshot() as session:
        return await resolve_anchor(session, as_of, [await published_view(session, view)])


async def refused(house: Warehouse, as_of: int | datetime) -> FreshnessError:
    with pytest.raises(FreshnessError) as caught:
        await resolve(house, as_of)
    return caught.value


async def test_every_anchor_keeps_its_rows(lived_in: Warehouse) -> None:
    assert [await lived_in.rows(at=anchor) for anchor in (1, 2, 3, 4)] == [
        [("a", "female", None)],
        [("a", "male", None)],
        [("b", "female", None)],
        [("b", "female", None)],
    ]


async def test_current_anchor_is_the_last_published(lived_in: Warehouse) -> None:
    async with lived_in.database.snapshot() as session:
        anchor = await current_anchor(session)
        listed = await list_anchors(session)
    assert anchor is not None
    assert anchor.anchor == 4
    assert anchor.data_as_of < anchor.committed_at
    assert [(one.anchor, one.changed, one.expired_at) for one in listed] == [
        (4, 1, None),
        (3, 2, None),
        (2, 1, None),
        (1, 1, None),
    ]


async def test_nothing_published_has_no_anchor(house: Warehouse) -> None:
    async with house.database.snapshot() as session:
        assert await current_anchor(session) is None
        with pytest.raises(FreshnessError) as caught:
            await resolve_anchor(session, 1)
    assert caught.value.code == "anchor_unknown"
    assert caught.value.allowed == ()


async def test_instant_means_the_newest_anchor_at_or_before_it(lived_in: Warehouse) -> None:
    async with lived_in.database.snapshot() as session:
        second = (await list_anchors(session))[2]
    just_before = second.data_as_of - timedelta(microseconds=1)
    assert (await resolve(lived_in, second.data_as_of)).anchor == 2
    assert (await resolve(lived_in, just_before)).anchor == 1
    assert (await resolve(lived_in, datetime(2999, 1, 1, tzinfo=UTC))).anchor == 4


@pytest.mark.parametrize(
    "as_of", [0, -1, 5, 2**63, 10**30, datetime(1999, 1, 1, tzinfo=UTC)], ids=str
)
async def test_anchor_that_never_was_is_unknown(lived_in: Warehouse, as_of: int) -> None:
    error = await refused(lived_in, as_of)
    assert (error.code, error.field, error.allowed) == ("anchor_unknown", "as_of", ("1..4",))


async def test_instant_without_a_zone_is_refused(lived_in: Warehouse) -> None:
    assert (await refused(lived_in, datetime(2026, 1, 1))).code == "instant_without_zone"


@pytest.mark.failure("anchor-expired")
async def test_expired_anchor_says_so_and_names_the_range(lived_in: Warehouse) -> None:
    expiry = await expire_anchors(lived_in.database, Retention(timedelta(days=1), 2))
    assert expiry == Expiry(anchors=2, rows=2)
    error = await refused(lived_in, 2)
    assert (error.code, error.allowed) == ("anchor_expired", ("3..4",))
    assert [await lived_in.rows(at=anchor) for anchor in (3, 4)] == [[("b", "female", None)]] * 2


async def test_expiry_spares_what_is_young_and_the_current_anchor(lived_in: Warehouse) -> None:
    young = await expire_anchors(lived_in.database, Retention(timedelta(days=1), 4))
    assert young == Expiry(0, 0)
    last = await expire_anchors(lived_in.database, AT_ONCE)
    assert last.anchors == 3
    assert (await resolve(lived_in, 4)).anchor == 4


async def test_expiry_without_anchors_does_nothing(house: Warehouse) -> None:
    assert await expire_anchors(house.database, AT_ONCE) == Expiry(0, 0)


async def test_anchor_before_a_redefinition_is_refused_for_that_view(lived_in: Warehouse) -> None:
    await lived_in.refresh([PEOPLE_ACTIVE])
    error = await refused(lived_in, 4)
    assert (error.code, error.allowed) == ("anchor_before_view", ("5..5",))
    assert "people" in error.message


async def test_anchor_before_a_new_view_is_readable_for_the_others(lived_in: Warehouse) -> None:
    await lived_in.refresh([PEOPLE, NAMES])
    assert (await resolve(lived_in, 1)).anchor == 1
    with pytest.raises(FreshnessError) as caught:
        await resolve(lived_in, 1, view="people_names")
    assert caught.value.code == "anchor_before_view"
