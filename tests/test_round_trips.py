"""How many round trips to PostgreSQL the ways that are to be quick take: each costs its latency."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.feed.tail import Tail
from researchflow_runners.hybrid.materialized import MaterializedViewRunner
from researchflow_runners.query.model import Compare, Query
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.change_log import Position
from researchflow_runners.store.database import Session
from speed_stack import SpeedStack, compiled, patient, speed_stack
from warehouse import PEOPLE, RESULTS, Warehouse, open_warehouse, result
from warehouse import compiled as compiled_here
from warehouse import patient as person

#: A transaction's beginning and end are one each.
INSERT_MAX = 12
LIVE_QUERY_MAX = 5
TAIL_ROUND_MAX = 20


@pytest_asyncio.fixture
async def stack(postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    views = [compiled("patient_simple"), compiled("patient_demographics")]
    async with speed_stack(postgres_dsn, redis_url, views) as opened:
        await opened.at_source("Patient", "p1", 1, patient("p1"))
        await opened.refresher.refresh()
        await insert(opened, "warm")
        yield opened


@pytest_asyncio.fixture
async def house(postgres_dsn: str, source_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn, source_dsn) as opened:
        await install_outbox(opened.source.database)
        await opened.put(person("old"))
        await opened.refresh((PEOPLE, RESULTS))
        yield opened


async def insert(stack: SpeedStack, patient_id: str) -> None:
    change = Change.put(patient(patient_id, "male"))
    (outcome,) = await stack.writer.apply([change], provenance="test")
    assert (outcome.outcome, outcome.failed_views) == ("stored", ())


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements of all sessions within the block."""
    seen: list[str] = []
    run = Session._run

    async def noted(
        session: Session, operation: Callable[..., Awaitable[Any]], *args: Any, **named: Any
    ) -> Any:
        seen.append(str(args[0]) if args else "")
        return await run(session, operation, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_run", noted)
        yield seen


async def test_an_insert_into_two_views_takes_few_round_trips(
    stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as statements:
        await insert(stack, "p2")
    assert 0 < len(statements) <= INSERT_MAX
    assert ("p2", "male") in await stack.live("patient_simple", "id, gender")


async def test_a_live_query_takes_few_round_trips(
    stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = MaterializedViewRunner(stack.database, cursor_key=b"k" * 32)
    asked = Query(view="patient_simple", where=Compare(column="id", op="eq", value="warm"))
    await runner.query(asked)
    with counted(monkeypatch) as statements:
        answer = await runner.query(asked)
    assert (answer.row_count, answer.speed.entries) == (1, 1)
    assert 0 < len(statements) <= LIVE_QUERY_MAX


async def test_a_round_of_the_tail_takes_few_round_trips(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = Tail(house.database, house.source, compiled_here(PEOPLE, RESULTS))
    await house.put(person("first"))
    await tail.catch_up()
    await house.put(person("a"))
    with counted(monkeypatch) as statements:
        done = await tail.catch_up()
    assert (done.kind, done.entries) == ("done", 1)
    assert 0 < len(statements) <= TAIL_ROUND_MAX
    await house.put(result("r1", "a", 5), person("b"))
    assert (await tail.catch_up()).entries == 2
    assert [row[0] for row in await house.live()] == ["a", "b", "first", "old"]


async def test_what_this_process_has_applied_is_not_applied_again(
    stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await stack.value("SELECT stream_id FROM researchflow.projection")
    with counted(monkeypatch) as statements:
        assert await stack.projector.reach({"Patient": place}) == 0
        assert statements == []
        assert await stack.projector.reach({"Patient": None}) == 0
        assert statements != []


async def test_a_change_after_the_log_was_lost_and_the_clock_set_back_is_applied(
    stack: SpeedStack,
) -> None:
    await stack.redis.flush_all()
    stack.projector._applied["Patient"] = Position("lost", "99999999999999-0")
    await insert(stack, "p2")
    assert ("p2", "male") in await stack.live("patient_simple", "id, gender")
