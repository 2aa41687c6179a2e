"""What is told of an answer: rows and date always, the rest when it is not as usual, or asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, patient
from researchflow_server import contract
from researchflow_server.embedded import Services
from researchflow_server.tools import detail as detail_module
from tool_server import ToolServer, module_stores, tool_server

COUNT = {"view": "patient_simple", "aggregates": [{"fn": "count"}]}
SQL = {"sql": "SELECT count(*) AS count FROM patient_simple"}
ALWAYS = {"columns", "rows", "row_count", "truncated", "anchor", "data_as_of", "staleness_s"}


@pytest_asyncio.fixture(scope="module")
async def quiet(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """Two patients in an anchor, nothing waiting; its tests only read."""
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(patient("ada"), patient("bea"), condition("c1", "ada"))
        await server.call("refresh_views")
        yield server


@pytest_asyncio.fixture
async def busy(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """One patient in an anchor, for a test that changes something."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        yield server


def size_bytes(payload: dict[str, Any]) -> int:
    return len(json.dumps(payload, separators=(",", ":")).encode())


@pytest.mark.parametrize(("tool", "asked"), [("query_view", COUNT), ("query_sql", SQL)])
async def test_one_count_is_its_rows_and_its_date(
    quiet: ToolServer, tool: str, asked: dict[str, Any]
) -> None:
    told = await quiet.call(tool, **asked)
    assert set(told) == ALWAYS
    assert (told["rows"], told["anchor"], told["staleness_s"]) == ([[2]], 1, 0)
    assert size_bytes(told) <= 170


@pytest.mark.parametrize(("tool", "asked"), [("query_view", COUNT), ("query_sql", SQL)])
async def test_full_answer_tells_all_and_says_no_other_thing(
    quiet: ToolServer, tool: str, asked: dict[str, Any]
) -> None:
    concise = contract.QueryViewOutput.model_validate(await quiet.call(tool, **asked))
    told = await quiet.call(tool, **asked, detail="full")
    assert set(told) == set(contract.FullAnswer.model_fields) - {"ties"}
    full = contract.FullAnswer.model_validate(told)
    measured = {"types", "computed_at", "took_ms", "age_s", "checked_at", "pending", "speed"}
    assert full.model_dump(exclude=measured) == concise.model_dump(exclude=measured)


async def test_cut_answer_is_continued_whatever_is_told_of_it(quiet: ToolServer) -> None:
    asked = {"view": "patient_simple", "columns": ["id"], "limit": 1}
    first = await quiet.call("query_view", **asked)
    assert set(first) == ALWAYS | {"next_cursor"}
    for detail in ("concise", "full"):
        more = {**asked, "cursor": first["next_cursor"], "detail": detail}
        assert (await quiet.call("query_view", **more))["rows"] == [["bea"]]


async def test_what_is_not_as_usual_is_told(quiet: ToolServer) -> None:
    anchored = await quiet.call("query_view", **COUNT, freshness="anchored")
    assert set(anchored) == ALWAYS | {"freshness"}
    assert anchored["freshness"] == "anchored"


async def test_waiting_changes_are_told_with_what_they_added(busy: ToolServer) -> None:
    await busy.call("cache_resources", resources=[patient("bea")])
    told = await busy.call("query_view", **COUNT)
    assert set(told) == ALWAYS | {"speed", "warnings"}
    assert (told["rows"], told["speed"]["rows_added"]) == ([[2]], 1)
    assert told["speed"]["provisional"] == 1


async def test_pending_changes_are_told_with_the_look_that_saw_them(busy: ToolServer) -> None:
    await busy.put(patient("bea"))
    await busy.runtime.check_source()
    told = await busy.call("query_view", **COUNT)
    assert told["pending"] == 1
    assert told["staleness_s"] > 0
    assert told["checked_at"] >= told["data_as_of"]


async def test_a_look_long_ago_is_told(busy: ToolServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "checked_at" not in await busy.call("query_view", **COUNT)
    monkeypatch.setattr(detail_module, "CHECKED_WITHIN", timedelta(0))
    assert "checked_at" in await busy.call("query_view", **COUNT)


async def test_direct_answer_says_its_route(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.put(patient("ada"))
        told = await server.call("query_view", **COUNT)
    assert (told["rows"], told["route"], told["anchor"]) == ([[1]], "direct", None)
    assert told["staleness_s"] == 0


async def test_speed_layer_that_is_off_is_told(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    off = tool_server(postgres_dsn, redis_url, tmp_path, use_speed_layer=False)
    async with off as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        told = await server.call("query_view", **COUNT)
    assert [one["code"] for one in told["degradations"]] == ["speed_layer_disabled"]


async def test_list_of_views_has_one_date_and_the_exceptions(busy: ToolServer) -> None:
    listed = contract.ListViewsOutput.model_validate(await busy.call("list_views"))
    full = await busy.call("list_views", detail="full")
    assert listed.columns == ["view", "resource", "description"]
    assert [row[0] for row in listed.rows] == [row[0] for row in full["rows"]]
    assert listed.data_as_of == full["rows"][0][full["columns"].index("data_as_of")]
    assert listed.unusual == {}
    assert all(row[2] and row[2].count(". ") == 0 for row in listed.rows)
    assert size_bytes(await busy.call("list_views")) < 0.7 * size_bytes(full)
    await busy.put(patient("bea"))
    await busy.runtime.check_source()
    stale = contract.ListViewsOutput.model_validate(await busy.call("list_views"))
    assert stale.unusual["patient_simple"] == {"pending": 1}
    assert "encounters" not in stale.unusual


async def test_views_that_are_not_materialised_are_named(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        listed = await server.call("list_views")
        described = await server.call("describe_view", view="encounters")
    assert listed["unusual"]["encounters"]["materialized"] is False
    assert listed["data_as_of"] is None
    assert described["materialized"] is False


async def test_described_view_leaves_out_what_goes_without_saying(quiet: ToolServer) -> None:
    full = await quiet.call("describe_view", view="condition_simple", detail="full")
    told = await quiet.call("describe_view", view="condition_simple")
    assert told["columns"] == ["column", "type", "description", "system"]
    assert [row[0] for row in told["rows"]] == [row[0] for row in full["rows"]]
    assert (told["anchor"], told["data_as_of"]) == (full["anchor"], full["data_as_of"])
    assert not {"pending", "dead_letters", "materialized", "reads"} & set(told)
    assert size_bytes(told) < 0.9 * size_bytes(full)


async def test_statistics_stay_small_however_many_views_there_are(
    busy: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = contract.GetStatisticsOutput.model_validate(await busy.call("get_statistics"))
    assert (usual.views.rows, usual.view_count) == ([], len(busy.runtime.views))
    monkeypatch.setattr("researchflow_server.tools.get_statistics.NAMED_MAX", 1)
    await busy.put(patient("bea"))
    await busy.runtime.check_source()
    stale = await busy.call("get_statistics")
    assert [row[0] for row in stale["views"]["rows"]] == ["patient_demographics"]
    assert stale["warnings"] == ['1 more such views: ask with detail "full"']
    assert size_bytes(stale) < 2_000


async def test_full_statistics_stay_within_a_result(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path, result_bytes_max=3_000) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        told = await server.call("get_statistics", detail="full")
    assert size_bytes(told) <= 3_000
    rows, count = told["views"]["rows"], told["view_count"]
    assert told["warnings"][0] == f"views cut to {len(rows)} of {count} rows"
