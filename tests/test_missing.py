"""How many resources a view lacks belongs to the anchor that is read, not to the newest one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from composed import keep, sql_view
from researchflow_runners.backup.restore import restore_backup
from researchflow_runners.backup.save import save_backup
from researchflow_runners.backup.target import FolderTarget
from researchflow_runners.batch.anchors import describe_anchor, pin_anchor, unpin
from researchflow_runners.batch.retention import Retention, expire_anchors
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query, SqlQuery
from researchflow_runners.store.anchor import AsOf
from researchflow_server.tools.query_view import answer_payload
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, Warehouse, open_warehouse, patient

NOTHING = Retention(timedelta(0), 1)
#: People beside their names: who is missing from both views is missing once.
BOTH = sql_view(
    "both",
    "SELECT p.id, n.family FROM people AS p JOIN names AS n ON n.id = p.id",
    people="people",
    names="people_names",
)
#: None of the two views can be computed of it; `NAMELESS` fails in people_names alone.
BROKEN: dict[str, Any] = {"birthDate": "soon", "name": [{"given": ["x", "y"]}]}
NAMELESS: dict[str, Any] = {"name": [{"given": ["x", "y"]}]}


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Anchor 1: a and b broken, c without names; 2: all whole; 3: d broken. Each is pinned."""
    async with open_warehouse(postgres_dsn) as house:
        await keep_anchor(house, "ill", patient("a", **BROKEN), patient("b", **BROKEN),
                          patient("c", **NAMELESS))  # fmt: skip
        await keep(house.database, BOTH)
        await keep_anchor(house, "whole", *(patient(name) for name in "abc"))
        await keep_anchor(house, "again", patient("d", **BROKEN))
        yield house


async def keep_anchor(house: Warehouse, pin: str, *resources: dict[str, Any]) -> None:
    await house.put(*resources)
    done = await house.refresh([PEOPLE, NAMES])
    await pin_anchor(house.database, pin, done.anchor)


async def ask(house: Warehouse, view: str, as_of: AsOf | None, **more: Any) -> Answer:
    runner = HybridRunner(house.database, None, cursor_key=b"key" * 8)
    asked = {"view": view, "as_of": as_of, **more}
    return await runner.query(Query.model_validate(asked))


async def missing(house: Warehouse, as_of: AsOf | None) -> list[int | None]:
    """Of people, people_names, and the view over both."""
    answers = [await ask(house, view, as_of) for view in ("people", "people_names", "both")]
    return [answer.missing_resources for answer in answers]


async def described(house: Warehouse, as_of: AsOf) -> list[int | None]:
    async with house.database.snapshot() as session:
        found = {one.view: one.missing for one in (await describe_anchor(session, as_of)).views}
    return [found[view] for view in ("people", "people_names", "both")]


EXPECTED = {"ill": [2, 3, 3], "whole": [0, 0, 0], "again": [1, 1, 1]}


@pytest.mark.parametrize("pin", EXPECTED)
async def test_pin_tells_what_it_lacks_whatever_came_later(house: Warehouse, pin: str) -> None:
    assert await missing(house, pin) == EXPECTED[pin]
    assert await described(house, pin) == EXPECTED[pin]
    await house.put(patient("e"))
    await house.refresh([PEOPLE, NAMES])
    await expire_anchors(house.database, NOTHING)
    assert await missing(house, pin) == EXPECTED[pin]
    assert await described(house, pin) == EXPECTED[pin]


async def test_model_is_warned_of_what_the_pin_lacks(house: Warehouse) -> None:
    (told,) = answer_payload(await ask(house, "people", "ill"))["warnings"]
    assert told == "2 resources could not be computed and are missing"
    assert answer_payload(await ask(house, "people", "whole"))["warnings"] == []


async def test_newest_anchor_tells_the_same_by_any_name(house: Warehouse) -> None:
    for as_of in (None, 3, "again"):
        assert await missing(house, as_of) == [1, 1, 1]


async def test_next_page_tells_what_its_anchor_lacks(house: Warehouse) -> None:
    first = await ask(house, "people", None, freshness="anchored", limit=2)
    assert first.missing_resources == 1
    await house.put(patient("d"))
    await house.refresh([PEOPLE, NAMES])
    on = {"freshness": "anchored", "limit": 2, "cursor": first.next_cursor}
    assert (await ask(house, "people", None, **on)).missing_resources == 1
    assert (await ask(house, "people", None)).missing_resources == 0


async def test_sql_of_a_question_tells_what_the_pin_lacks(house: Warehouse) -> None:
    runner = HybridRunner(house.database, None, cursor_key=b"key" * 8)
    sql = "SELECT p.id FROM people AS p JOIN people_names AS n ON n.id = p.id"
    for pin, (*_each, both) in EXPECTED.items():
        answer = await runner.query_sql(SqlQuery(sql=sql, as_of=pin))
        assert answer.missing_resources == both


async def test_view_defined_anew_keeps_what_it_lacked(house: Warehouse) -> None:
    await house.refresh([PEOPLE_ACTIVE])
    assert (await ask(house, "people", None)).missing_resources == 0
    assert (await ask(house, "people", "ill")).missing_resources == 2
    assert (await ask(house, "people_names", "ill")).missing_resources == 3


async def test_what_nobody_can_read_any_more_is_deleted(house: Warehouse) -> None:
    await expire_anchors(house.database, NOTHING)
    kept = "SELECT view_name, id FROM researchflow.missing ORDER BY 1, 2"
    assert len(await house.fetch(kept)) == 7
    await unpin(house.database, "ill")
    await expire_anchors(house.database, NOTHING)
    assert await house.fetch(kept) == [("people", "d"), ("people_names", "d")]


async def test_backup_brings_back_what_the_pins_lacked(house: Warehouse, tmp_path: Path) -> None:
    await save_backup(house.database, FolderTarget(tmp_path / "backup"))
    await house.fetch("DROP SCHEMA researchflow, sqlonfhir, sqlonfhir_live CASCADE")
    await restore_backup(house.database, FolderTarget(tmp_path / "backup"))
    await house.put(patient("d"), patient("a", **BROKEN))
    await house.refresh([PEOPLE, NAMES])
    await keep(house.database, BOTH)
    assert {pin: await missing(house, pin) for pin in EXPECTED} == EXPECTED
    assert {pin: await described(house, pin) for pin in EXPECTED} == EXPECTED
    assert await missing(house, None) == [1, 1, 1]


async def test_anchor_of_before_it_was_kept_says_so(house: Warehouse) -> None:
    """A schema of an earlier release, with its anchors, and dead letters of the last one."""
    await house.fetch("DROP TABLE researchflow.missing")
    await house.fetch("ALTER TABLE researchflow.anchor DROP COLUMN missing_kept")
    await house.fetch("COMMENT ON SCHEMA researchflow IS NULL")
    await house.database.install_schema()
    assert await missing(house, None) == [1, 1, 1]
    await house.put(patient("d"))
    await house.refresh([PEOPLE, NAMES])
    assert [await missing(house, pin) for pin in EXPECTED] == [[None] * 3, [None] * 3, [1, 1, 1]]
    assert await missing(house, None) == [0, 0, 0]
    (told,) = answer_payload(await ask(house, "people", "ill"))["warnings"]
    assert "may be missing" in told


async def test_anchor_of_an_earlier_release_in_between_is_not_taken_for_kept(
    house: Warehouse,
) -> None:
    """One that still ran beside this one: it published 4 and kept nothing."""
    kept = await house.fetch("TABLE researchflow.missing")
    await house.put(patient("d"), patient("e", **BROKEN), patient("f", **BROKEN))
    await house.refresh([PEOPLE, NAMES])
    await house.fetch("TRUNCATE researchflow.missing")
    for row in kept:
        await house.fetch("INSERT INTO researchflow.missing VALUES ($1, $2, $3, $4, $5)", *row)
    await house.fetch("UPDATE researchflow.anchor SET missing_kept = false WHERE anchor = 4")
    await house.put(patient("e"))
    await house.refresh([PEOPLE, NAMES])
    assert [await missing(house, at) for at in (3, 4, 5)] == [[1, 1, 1], [2, 2, 2], [1, 1, 1]]
