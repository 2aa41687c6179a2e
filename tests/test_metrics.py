"""/metrics and /healthz: closed labels, honest numbers, and the statistics tool says the same."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import researchflow_runners
from clinic import condition, patient
from researchflow_runners.store.database import Database
from researchflow_server.embedded import Services
from researchflow_server.metrics.endpoint import readiness
from researchflow_server.metrics.families import REFUSALS, state_families
from researchflow_server.metrics.snapshot import SNAPSHOT_AGE_MAX_S, Snapshot, take_snapshot
from researchflow_server.metrics.tally import RefreshState, RefreshTally
from tool_server import ToolServer, module_stores, tool_server

Labels = dict[str, str]
#: Functions that make an error, and where among their arguments the code stands.
GIVEN_A_CODE = {"_store_error": 0, "_refusal": 0, "_unreadable": 1}
#: The function of the same name for classic arguments takes a field there.
NO_CODES = {"search_params"}


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server that has answered, refused, taken changes and refreshed."""
    async with (
        module_stores(services, number=8) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(patient("ada"), condition("c1", "ada"))
        await server.call("query_view", view="patient_simple")
        await server.call("refresh_views")
        await server.call("query_view", view="patient_simple")
        await server.call("cache_resources", resources=[patient("bea"), {"resourceType": "No"}])
        await server.call("query_view", view="patient_simple")
        await server.error("query_view", view="nothing")
        await server.put(patient("carl"))
        await server.runtime.check_source()
        yield server


def scrape(tools: ToolServer) -> dict[str, list[tuple[Labels, float]]]:
    """The samples of a scrape, by name."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    text = generate_latest(tools.runtime.metrics.registry).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    (found,) = (number for given, number in samples[name] if labels.items() <= given.items())
    return found


async def test_statistics_and_scrape_tell_the_same_numbers(tools: ToolServer) -> None:
    told = await tools.call("get_statistics", detail="full")
    samples = scrape(tools)
    for name, labels, number in told["counters"]["rows"]:
        assert value(samples, name, **labels) == number
    columns = told["views"]["columns"]
    for row in told["views"]["rows"]:
        state = dict(zip(columns, row, strict=True))
        as_of = datetime.fromisoformat(state["data_as_of"]).timestamp()
        name = state["view"]
        assert value(samples, "researchflow_view_data_as_of_timestamp_seconds", view=name) == as_of
        assert value(samples, "researchflow_view_pending_resources", view=name) == state["pending"]
        dead = value(samples, "researchflow_view_dead_letters", view=name)
        assert dead == state["dead_letters"]
    for resource_type, origin, entries in told["overlay"]["rows"]:
        assert entries == value(
            samples,
            "researchflow_overlay_entries",
            resource_type=resource_type,
            origin=origin,
        )
    published = value(samples, "researchflow_refresh_runs_total", outcome="published")
    assert published == told["refresh"]["published"] == 1
    runner = told["runner"]
    assert runner["total_queries"] == sum(
        number for _labels, number in samples["researchflow_answers_total"]
    )


async def test_statistics_add_up(tools: ToolServer) -> None:
    runner = (await tools.call("get_statistics", detail="full"))["runner"]
    routed = runner["materialized_queries"] + runner["postgres_queries"]
    assert runner["total_queries"] == routed == 3
    assert runner["materialized_percentage"] == pytest.approx(200 / 3)


async def test_answers_writes_and_refusals_are_counted_by_outcome(tools: ToolServer) -> None:
    samples = scrape(tools)
    answers = "researchflow_answers_total"
    assert value(samples, answers, view="patient_simple", route="direct") == 1
    assert value(samples, answers, view="patient_simple", route="materialized") == 2
    assert value(samples, "researchflow_answers_refused_total", code="unknown_view") == 1
    assert value(samples, "researchflow_overlay_writes_total", outcome="stored") == 1
    assert value(samples, "researchflow_overlay_writes_total", outcome="rejected") == 1
    hits = value(
        samples, "researchflow_overlay_lookups_total", view="patient_simple", outcome="hit"
    )
    assert hits == 1
    assert value(samples, "researchflow_resource_cache_requests_total", outcome="hit") >= 1


async def test_a_change_at_the_source_makes_its_views_stale_and_no_others(
    tools: ToolServer,
) -> None:
    await tools.runtime.fresh_snapshot()
    samples = scrape(tools)
    pending = "researchflow_view_pending_resources"
    oldest = "researchflow_view_oldest_pending_timestamp_seconds"
    assert value(samples, pending, view="patient_simple") == 1
    assert value(samples, pending, view="condition_simple") == 0
    assert {labels["view"] for labels, _number in samples[oldest]} == {
        "patient_simple",
        "patient_demographics",
    }


async def test_latency_is_labelled_by_tool_and_error_code(tools: ToolServer) -> None:
    count = "mcp_server_operation_duration_seconds_count"
    await tools.error("zzz_tool")
    samples = scrape(tools)
    calls = {
        (labels["gen_ai_tool_name"], labels["error_type"]): number
        for labels, number in samples[count]
        if labels["mcp_method_name"] == "tools/call"
    }
    assert calls[("query_view", "")] == 3
    assert calls[("query_view", "unknown_view")] == 1
    assert calls[("other", "unknown_tool")] == 1
    assert {labels["network_transport"] for labels, _number in samples[count]} == {"pipe"}


async def test_no_identifier_of_a_patient_is_exported(tools: ToolServer) -> None:
    text = generate_latest(tools.runtime.metrics.registry).decode()
    told = json.dumps(await tools.call("get_statistics", detail="full"))
    assert not [name for name in ("ada", "bea", "carl") if f'"{name}"' in text + told]


async def test_refresh_durations_end_in_the_count_of_runs(tools: ToolServer) -> None:
    await tools.runtime.fresh_snapshot()
    samples = scrape(tools)
    name = "researchflow_refresh_duration_seconds"
    assert value(samples, f"{name}_bucket", le="+Inf") == value(samples, f"{name}_count") == 1
    assert value(samples, f"{name}_sum") > 0


def told(state: RefreshState) -> tuple[int, int, int]:
    return state.outcomes["published"], state.outcomes["failed"], state.changed


async def test_refreshes_are_counted_once_and_stay_counted(postgres_dsn: str) -> None:
    run = """INSERT INTO researchflow.refresh_run (started_at, finished_at, outcome, changed)
             VALUES (clock_timestamp() - interval '2 s', {}, '{}', 5)"""
    database = await Database.connect(postgres_dsn)
    await database.install_schema()
    async with database.session() as session:
        await session.execute(run.format("clock_timestamp() - interval '1 s'", "failed"))
        tally = RefreshTally()
        assert (await tally.look(session)).outcomes["failed"] == 0
        await session.execute(run.format("NULL", "running"))
        await session.execute(run.format("clock_timestamp()", "published"))
        for _look in range(2):
            state = await tally.look(session)
            assert told(state) == (1, 0, 5)
        await session.execute(
            "UPDATE researchflow.refresh_run SET outcome = 'failed', finished_at = now() "
            "WHERE outcome = 'running'"
        )
        assert (await tally.look(session)).outcomes["failed"] == 1
        await session.execute("DELETE FROM researchflow.refresh_run")
        state = await tally.look(session)
        assert (told(state), sum(state.bucket_counts)) == ((1, 1, 5), 2)
    await database.close()


def snapshot(**changes: Any) -> Snapshot:
    now = datetime.now(UTC)
    return replace(Snapshot(now, now, warehouse_up=True, redis_up=True), **changes)


LONG_AGO = timedelta(seconds=2 * SNAPSHOT_AGE_MAX_S)


@pytest.mark.parametrize(
    ("changes", "age", "status", "problems"),
    [
        ({}, timedelta(), 200, 0),
        ({"redis_up": False}, timedelta(), 200, 1),
        ({"warehouse_up": False}, timedelta(), 503, 1),
        ({}, LONG_AGO, 503, 1),
    ],
)
def test_readiness_is_honest(
    changes: dict[str, bool], age: timedelta, status: int, problems: int
) -> None:
    look = snapshot(**changes, seen_at=datetime.now(UTC) - age)
    found, told = readiness(look)
    assert (found, len(told)) == (status, problems)


def test_not_ready_before_the_first_look() -> None:
    found, told = readiness(None)
    assert (found, len(told)) == (503, 1)


async def test_a_look_that_grew_old_is_exported_no_more(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tools.runtime.fresh_snapshot()
    fresh = scrape(tools)
    assert tools.runtime.metrics.snapshot is not None
    old = tools.runtime.metrics.snapshot.seen_at - timedelta(seconds=2 * SNAPSHOT_AGE_MAX_S)
    stalled = replace(tools.runtime.metrics.snapshot, seen_at=old)
    monkeypatch.setattr(tools.runtime.metrics, "snapshot", stalled)
    samples = scrape(tools)
    assert value(samples, "researchflow_warehouse_up") == 0
    assert value(samples, "researchflow_redis_up") == 0
    gone = {name for name in fresh if name not in samples}
    state = (
        "researchflow_view_",
        "researchflow_refresh_",
        "researchflow_overlay_entries",
        "researchflow_feed_",
    )
    counted = ("_lookups_total", "_cache_requests_total")
    assert gone == {n for n in fresh if n.startswith(state) and not n.endswith(counted)}
    assert gone


async def test_a_ledger_that_differs_from_the_source_is_exported(tools: ToolServer) -> None:
    await tools.runtime.fresh_snapshot()
    assert value(scrape(tools), "researchflow_feed_differing_types") == 0
    assert value(scrape(tools), "researchflow_feed_reconciliation_missing") == 0
    async with tools.runtime.stores.warehouse.session() as session:
        await session.execute("UPDATE researchflow.source_count SET ledger_sum = ledger_sum + 1")
    await tools.runtime.fresh_snapshot()
    samples = scrape(tools)
    assert value(samples, "researchflow_feed_differing_types") > 0
    assert value(samples, "researchflow_feed_outbox", reader="refresh") == 0


async def test_no_creation_times_are_exported(tools: ToolServer) -> None:
    assert not [name for name in scrape(tools) if name.endswith("_created")]


async def test_every_code_of_a_refusal_is_counted_from_the_start(tools: ToolServer) -> None:
    counted = {labels["code"] for labels, _n in scrape(tools)["researchflow_answers_refused_total"]}
    assert counted == set(REFUSALS)
    assert refusal_codes() - counted == set()


def refusal_codes() -> set[str]:
    """The codes that stand in the packages through which every query goes."""
    root = Path(researchflow_runners.__file__).parent
    trees = [
        ast.parse(path.read_text())
        for package in ("query", "hybrid", "store")
        for path in (root / package).rglob("*.py")
    ]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    words = [word.value for call in calls for word in call.keywords if word.arg == "code"]
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in GIVEN_A_CODE:
            words.append(call.args[GIVEN_A_CODE[call.func.id]])
    codes = {word.value for word in words if isinstance(word, ast.Constant)}
    return {str(code) for code in codes} - NO_CODES


def test_without_a_warehouse_no_age_is_exported() -> None:
    names = {family.name for family in state_families(snapshot(warehouse_up=False))}
    assert names == {"researchflow_warehouse_up", "researchflow_redis_up"}


async def test_a_scrape_reads_memory_only(
    services: Services, tmp_path: Path, postgres_dsn: str, redis_url: str
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.runtime.fresh_snapshot()
        await server.runtime.stores.warehouse.close()
        assert value(scrape(server), "researchflow_warehouse_up") == 1
        await server.runtime.fresh_snapshot()
        assert value(scrape(server), "researchflow_warehouse_up") == 0


async def test_a_fresh_look_begins_after_it_was_asked_for(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def held(*stores: Any) -> Snapshot:
        seen = await take_snapshot(*stores)
        began.set()
        await go_on.wait()
        return seen

    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        monkeypatch.setattr("researchflow_server.runtime.runtime.take_snapshot", held)
        early = asyncio.create_task(server.runtime.fresh_snapshot())
        await began.wait()
        await server.runtime.refresher.refresh()
        late = [asyncio.create_task(server.runtime.fresh_snapshot()) for _caller in range(2)]
        await asyncio.sleep(0)
        go_on.set()
        assert (await early).views == ()
        first, second = await asyncio.gather(*late)
    assert first is second
    assert {view.anchor for view in first.views} == {1}
