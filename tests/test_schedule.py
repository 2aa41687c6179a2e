"""Refreshes come by themselves: in time, not too often, never for nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prometheus_server import until
from researchflow_runners.batch.schedule import (
    BACKOFF_MAX_S,
    CANCELLED_PAUSE_S,
    JITTER_SHARE_MAX,
    OVERLAY_PAUSE_S,
    Objectives,
    ScheduledView,
    ScheduleState,
    due_at,
    read_state,
)
from researchflow_server.runtime.background import background_work
from tool_server import tool_server
from warehouse import PEOPLE, compiled, open_warehouse, patient

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHIPPED = compiled(PEOPLE)
WITHIN_S = 40
LOOKS = """
SELECT coalesce(extract(epoch FROM min(checked_at)) * 1e6, 0)::bigint FROM researchflow.source_check
"""
ANCHORS = "SELECT count(*) FROM researchflow.anchor"


def view(name: str = "people", **more: Any) -> ScheduledView:
    """The shipped view, published long ago; `waiting_since` in `more` is a change that waits."""
    made = ScheduledView(name, SHIPPED[0].digest, NOW - timedelta(days=1), None)
    return replace(made, **more)


def waiting(seconds: float, name: str = "people") -> ScheduledView:
    """A view that lacks a change of so long ago."""
    return view(name, waiting_since=NOW - timedelta(seconds=seconds))


def state(*views: ScheduledView, **more: Any) -> ScheduleState:
    """An idle warehouse with these views."""
    idle = ScheduleState(NOW, False, "published", NOW - timedelta(hours=1), 0, 2.0, 0)
    return replace(idle, views=views or (view(),), **more)


def due_in(
    now: ScheduleState,
    objectives: Objectives | None = None,
    *,
    jitter: float = 0.0,
    began_at: datetime = NOW,
) -> float | None:
    """Seconds from now to the next refresh, or None."""
    wanted = objectives or Objectives(60)
    at = due_at(now, wanted, SHIPPED, began_at=began_at, jitter=jitter)
    return None if at is None else (at - NOW).total_seconds()


def test_nothing_is_due_while_nothing_waits() -> None:
    assert due_in(state()) is None


def test_change_is_due_so_early_that_it_is_in_time() -> None:
    assert due_in(state(waiting(0))) == 58
    assert due_in(state(waiting(100))) == 0
    assert due_in(state(waiting(0), took_s=500.0)) == 30


def test_the_view_with_the_nearest_objective_decides() -> None:
    objectives = Objectives(600, {"quick": 10})
    assert due_in(state(view(), waiting(0, "quick")), objectives) == 8
    assert due_in(state(view(), waiting(0)), objectives) == 598
    assert due_in(state(view(), waiting(0, "other")), Objectives(0, {"quick": 10})) is None


def test_view_with_an_objective_of_zero_is_not_refreshed_for_its_own_sake() -> None:
    objectives = Objectives(60, {"quick": 0})
    assert due_in(state(view(), waiting(0, "quick")), objectives) is None
    assert due_in(state(waiting(0, "quick"), waiting(0)), objectives) == 58
    assert Objectives(0, {"quick": 0}).is_on is False


def test_jitter_begins_earlier_and_is_bounded() -> None:
    draw = random.Random(7)
    for _draw in range(200):
        share = draw.random()
        found = due_in(state(waiting(0)), jitter=share)
        assert found is not None
        assert 58 - 60 * JITTER_SHARE_MAX <= found <= 58


def test_another_refresh_that_runs_is_left_to_it() -> None:
    assert due_in(state(waiting(100), running=True)) is None


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(1, 5), (2, 10), (3, 20), (7, 300), (1_000, BACKOFF_MAX_S)]
)
def test_failures_are_waited_out_ever_longer(failures: int, pause_s: float) -> None:
    failed = state(waiting(100), failures=failures, last_outcome="failed", last_ended_at=NOW)
    assert due_in(failed) == pause_s
    late = replace(failed, last_ended_at=NOW - timedelta(seconds=pause_s + 1))
    assert due_in(late) == -1
    assert due_in(failed, jitter=1.0) == pytest.approx(pause_s * (1 + JITTER_SHARE_MAX))


def test_cancelled_refresh_is_not_begun_again_at_once() -> None:
    cancelled = state(waiting(100), failures=1, last_outcome="cancelled", last_ended_at=NOW)
    assert due_in(cancelled) == CANCELLED_PAUSE_S


def test_overlay_beyond_its_bound_is_due_at_once_and_not_without_pause() -> None:
    objectives = Objectives(600, overlay_max=100)
    assert due_in(state(waiting=99), objectives) is None
    ended = NOW - timedelta(seconds=OVERLAY_PAUSE_S)
    assert due_in(state(waiting=100, last_ended_at=ended), objectives) == 0
    assert due_in(state(waiting=100, last_ended_at=NOW), objectives) == OVERLAY_PAUSE_S
    assert due_in(state(waiting=100, last_ended_at=None), objectives) == 0


def test_view_that_is_not_published_as_it_is_shipped_is_due_at_once() -> None:
    assert due_in(state(view("other"))) == 0
    assert due_in(state(view(digest="former"))) == 0


def test_process_of_an_older_release_leaves_the_refreshes_to_the_newer() -> None:
    newer = state(waiting(100), view(digest="newer", published_at=NOW))
    assert due_in(newer, began_at=NOW - timedelta(hours=1)) is None
    assert due_in(newer, began_at=NOW + timedelta(seconds=1)) is not None


async def test_state_is_read_from_the_warehouse(postgres_dsn: str) -> None:
    async with open_warehouse(postgres_dsn) as house:
        await house.put(patient("a"))
        async with house.database.session() as session:
            empty = await read_state(session)
        assert (empty.last_ended_at, empty.failures, empty.views) == (None, 0, ())
        await house.refresh([PEOPLE])
        await house.fetch(
            "INSERT INTO researchflow.refresh_run (outcome, finished_at)"
            " VALUES ('failed', now()), ('cancelled', now())"
        )
        await house.enter("a", 2, None)
        await house.fetch(
            "UPDATE researchflow.source_check SET pending = 1, oldest_pending_at = $1", NOW
        )
        async with house.database.session() as session:
            found = await read_state(session)
    assert (found.running, found.last_outcome, found.failures, found.waiting) == (
        False, "cancelled", 2, 1,
    )  # fmt: skip
    assert found.took_s > 0
    assert [(one.name, one.waiting_since) for one in found.views] == [("people", NOW)]


async def test_changes_that_only_a_refresh_can_take_wait_too(postgres_dsn: str) -> None:
    async with open_warehouse(postgres_dsn) as house:
        await house.put(patient("a"))
        await house.refresh([PEOPLE])
        await house.fetch("UPDATE researchflow.source_check SET pending = 30000")
        async with house.database.session() as session:
            assert (await read_state(session)).waiting == 30_000


async def test_anchor_moves_by_itself_and_only_with_the_source(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    quick = {"refresh_objective_s": 0.5, "snapshot_s": 0.1}
    async with tool_server(postgres_dsn, redis_url, tmp_path, **quick) as tools:
        await tools.put(patient("ada"))

        async def count(statement: str) -> Any:
            async with tools.runtime.stores.warehouse.session() as session:
                return await session.fetchval(statement)

        async def is_in(name: str) -> bool:
            listed = await tools.call("query_view", view="patient_simple", freshness="anchored")
            return name in {row[0] for row in listed["rows"]}

        async def has_looked_again() -> bool:
            return bool(await count("SELECT min(checked_at) FROM researchflow.source_check") > seen)

        async with background_work(tools.runtime):
            assert await until(lambda: is_built(count), timeout_s=WITHIN_S)
            assert await is_in("ada")
            for _look in range(3):
                seen = await count("SELECT clock_timestamp()")
                assert await until(has_looked_again, timeout_s=WITHIN_S)
            assert await count(ANCHORS) == 1
            await tools.put(patient("bea"))
            assert await until(lambda: is_in("bea"), timeout_s=WITHIN_S)
        assert await count(ANCHORS) == 2


async def test_objective_of_a_view_that_is_not_there_is_said_once(
    postgres_dsn: str, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = {
        "refresh_objectives": {"patient_simpel": 60.0, "patient_simple": 60.0},
        "pending_check_s": 0.1,
    }
    async with tool_server(postgres_dsn, redis_url, tmp_path, **chosen) as tools:

        async def looks() -> int:
            async with tools.runtime.stores.warehouse.session() as session:
                return int(await session.fetchval(LOOKS))

        async def has_looked_again() -> bool:
            return await looks() > seen

        async with background_work(tools.runtime):
            for _look in range(3):
                seen = await looks()
                assert await until(has_looked_again, timeout_s=WITHIN_S)
    said = [one.getMessage() for one in caplog.records if "OBJECTIVES" in one.getMessage()]
    assert said == ['RESEARCHFLOW_REFRESH_OBJECTIVES: there is no view "patient_simpel"']


async def is_built(count: Any) -> bool:
    """Whether there is an anchor."""
    return bool(await count(ANCHORS))
