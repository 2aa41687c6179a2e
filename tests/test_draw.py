"""The tool that draws: picture, data and date of one answer, whatever becomes of its renderer."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp_types import CallToolResult, ImageContent, TextContent

from clinic import condition, lab, patient
from researchflow_server.contract import DrawOutput
from researchflow_server.embedded import Services
from researchflow_server.pictures import PictureError, Renderer
from researchflow_server.pictures import renderer as renderer_module
from researchflow_server.tools.result import SPECIFICATION_KEY
from tool_server import ToolServer, module_stores, tool_server

BY_GENDER = {
    "view": "patient_simple",
    "group_by": ["gender"],
    "aggregates": [{"fn": "count"}],
}
BARS: dict[str, Any] = {"chart": "bar", "query": BY_GENDER, "x": "gender", "y": "count"}
SPECIFICATION = {
    "data": {"values": [{"a": 1}]},
    "mark": "bar",
    "encoding": {"x": {"field": "a"}},
}


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A clinic of four patients with labs, refreshed; its tests only read."""
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(
            patient("ada", birthDate="1960-05-01"),
            patient("bea", birthDate="1990-01-01"),
            patient("carl", gender="male"),
            patient("dan", gender="male"),
            condition("c1", "ada"),
            *(
                lab(f"l{n}", "ada", 5 + n / 10, effectiveDateTime=f"2021-{n:02}")
                for n in range(1, 9)
            ),
        )
        await server.call("refresh_views")
        yield server


@pytest_asyncio.fixture
async def mixed(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """A patient with a result in each of two units, and one without a unit."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        other = {"value": 48, "unit": "mmol/mol"}
        await server.put(
            patient("ada"),
            lab("l1", "ada", 6.5),
            lab("l2", "ada", effectiveDateTime="2022", valueQuantity=other),
            lab("l3", "ada", effectiveDateTime="2023", valueQuantity={"value": 7}),
        )
        await server.call("refresh_views")
        yield server


async def drawn(tools: ToolServer, **arguments: Any) -> tuple[DrawOutput, dict[str, Any]]:
    """The answer and the picture's specification, after a check of what every picture has."""
    result = await tools.result("draw", **arguments)
    assert not result.is_error, result.structured_content
    text, image = result.content
    assert isinstance(text, TextContent)
    assert isinstance(image, ImageContent)
    assert json.loads(text.text) == result.structured_content
    assert image.mime_type == "image/png"
    width, height = size_of(b64decode(image.data))
    assert 300 < width < 2_000
    assert 100 < height < 3_000
    assert result.meta is not None
    spec: dict[str, Any] = result.meta[SPECIFICATION_KEY]
    answer = DrawOutput.model_validate(result.structured_content)
    assert spec["title"]["subtitle"][0].startswith(f"anchor {answer.anchor} · data as of ")
    return answer, spec


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a picture, whose parts end where they should."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xae\x42\x60\x82")
    width, height = struct.unpack_from("!II", png, 16)
    return width, height


def numbers(count: int) -> dict[str, Any]:
    """A question with so many rows: what five digits of eight make."""
    digits = " CROSS JOIN ".join(f"observation_labs AS d{place}" for place in range(5))
    numbered = f"SELECT row_number() OVER (ORDER BY {', '.join(f'd{n}.id' for n in range(5))}) AS n"
    return {
        "sql": f"SELECT n, (n * 7919) % 1000 AS m FROM ({numbered} FROM {digits}) AS many"
        " WHERE n <= :count ORDER BY n",
        "parameters": {"count": count},
    }


def notes(spec: dict[str, Any]) -> str:
    return " / ".join(spec["title"]["subtitle"][1:])


async def test_a_picture_has_the_answers_rows_date_and_subtitle(tools: ToolServer) -> None:
    answer, spec = await drawn(tools, **BARS)
    asked = await tools.call("query_view", **BY_GENDER)
    assert answer.rows == asked["rows"] == [["female", 2], ["male", 2]]
    assert (answer.anchor, answer.data_as_of) == (asked["anchor"], asked["data_as_of"])
    assert answer.drawn_from == 2
    assert not notes(spec)


async def test_sql_is_drawn_as_a_typed_query_is(tools: ToolServer) -> None:
    sql = "SELECT gender, count(*) AS count FROM patient_simple WHERE id <> :x GROUP BY gender"
    query = {"sql": sql + " ORDER BY gender", "parameters": {"x": "nobody"}}
    answer, _spec = await drawn(tools, **{**BARS, "query": {**query, "detail": "full"}})
    assert answer.rows == [["female", 2], ["male", 2]]


@pytest.mark.parametrize(
    ("arguments", "columns", "first"),
    [
        ({"chart": "line", "x": "effective_datetime", "y": "value_quantity"},
         ["effective_datetime", "value_quantity"], ["2021-01", "5.1"]),
        ({"chart": "histogram", "x": "value_quantity"},
         ["from", "to", "count"], ["5.10", "5.15", 1]),
        ({"chart": "box", "x": "patient_id", "y": "value_quantity"},
         ["patient_id", "n", "min", "low", "q1", "median", "q3", "high", "max", "outliers"],
         ["ada", 8, "5.1", "5.1", "5.275", "5.45", "5.625", "5.8", "5.8", 0]),
    ],
)  # fmt: skip
async def test_rows_become_marks_of_every_chart(
    tools: ToolServer, arguments: dict[str, Any], columns: list[str], first: list[Any]
) -> None:
    query = {"view": "observation_labs", "order_by": [{"column": "effective_datetime"}]}
    if arguments["chart"] != "line":
        del query["order_by"]
    answer, _spec = await drawn(tools, query=query, **arguments)
    assert (answer.columns, answer.rows[0]) == (columns, first)
    assert answer.drawn_from == 8


@pytest.mark.parametrize(
    ("arguments", "apart"),
    [
        ({"chart": "histogram", "x": "value_quantity"}, "by"),
        ({"chart": "box", "y": "value_quantity"}, "x"),
        ({"chart": "line", "x": "effective_datetime", "y": "value_quantity"}, "by"),
        ({"chart": "bar", "x": "id", "y": "value_quantity"}, "by"),
    ],
)
async def test_numbers_of_several_units_are_drawn_apart_or_not_at_all(
    mixed: ToolServer, arguments: dict[str, Any], apart: str
) -> None:
    query: dict[str, Any] = {"view": "observation_labs"}
    for columns in ({}, {"columns": ["id", "effective_datetime", "value_quantity"]}):
        error = await mixed.error("draw", query={**query, **columns}, **arguments)
        assert (error["code"], error["allowed"]) == ("units_mixed", ["value_unit"])
    await drawn(mixed, query=query, **{**arguments, apart: "value_unit"})
    one = {"where": {"column": "value_unit", "op": "eq", "value": "%"}}
    answer, _spec = await drawn(mixed, query={**query, **one}, **arguments)
    assert answer.drawn_from == 1


async def test_survival_is_computed_from_sql(tools: ToolServer) -> None:
    sql = (
        "SELECT gender, length(id) AS days, gender = 'female' AS died FROM patient_simple"
        " ORDER BY id"
    )
    answer, _spec = await drawn(
        tools, chart="survival", query={"sql": sql}, x="days", y="died", by="gender"
    )
    assert answer.rows == [
        ["female", "0", 2, 0, 0, "1.000000", None, None],
        ["female", "3", 2, 2, 0, "0.000000", None, None],
        ["male", "0", 2, 0, 0, "1.000000", None, None],
        ["male", "3", 1 + 1, 0, 1, "1.000000", None, None],
        ["male", "4", 1, 0, 1, "1.000000", None, None],
    ]


async def test_a_cut_answer_says_so_in_the_picture_and_beside_it(tools: ToolServer) -> None:
    answer, spec = await drawn(tools, **{**BARS, "query": {**BY_GENDER, "limit": 1}})
    assert answer.truncated
    assert answer.next_cursor is None
    assert "cut: the first 1 rows only; more exist" in notes(spec)


async def test_a_picture_of_no_rows_says_so(tools: ToolServer) -> None:
    where = {"column": "id", "op": "eq", "value": "nobody"}
    answer, spec = await drawn(tools, **{**BARS, "query": {**BY_GENDER, "where": where}})
    assert answer.rows == []
    assert spec["data"]["values"] == [{"told": "no rows"}]


async def test_what_waits_in_the_speed_layer_is_in_the_subtitle(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        await server.call("cache_resources", resources=[patient("bea")])
        answer, spec = await drawn(server, **BARS)
    assert answer.rows == [["female", 2]]
    assert "1 newer changes merged" in spec["title"]["subtitle"][0]
    assert answer.warnings == ["1 waiting changes are not confirmed by the source"]
    assert answer.warnings[0] in notes(spec)


async def test_more_data_than_a_client_takes_is_cut_and_told(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tools.runtime.settings.model_copy(update={"result_bytes_max": 3_000})
    monkeypatch.setattr(tools.runtime, "settings", small)
    result = await tools.result("draw", chart="line", query=numbers(400), x="n", y="m")
    answer = DrawOutput.model_validate(result.structured_content)
    assert 0 < answer.row_count < 400
    assert answer.truncated
    assert answer.warnings[-1].startswith("the picture shows 400 rows, of which ")
    assert answer.drawn_from == 400


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (
            {"query": {"view": "patient_simple", "cursor": "abc"}},
            "invalid_argument",
            "query.cursor",
        ),
        ({"query": {"view": "patient_simpel"}}, "unknown_view", "view"),
        ({"query": {"vieuw": "patient_simple"}}, "unknown_argument", "query.vieuw"),
        ({"query": 1}, "invalid_argument", "query"),
        ({"x": "sex"}, "unknown_column", "x"),
        ({"y": None}, "missing_argument", "y"),
        ({"chart": "pie"}, "invalid_argument", "chart"),
        ({"title": "t" * 121}, "invalid_argument", "title"),
    ],
)
async def test_what_cannot_be_drawn_is_named(
    tools: ToolServer, change: dict[str, Any], code: str, field: str
) -> None:
    error = await tools.error("draw", **{**BARS, **change})
    assert (error["code"], error["field"]) == (code, field)


async def test_a_question_outside_query_points_into_it(tools: ToolServer) -> None:
    error = await tools.error("draw", chart="bar", sql="SELECT 1", x="a", y="b")
    assert error["code"] == "unknown_argument"
    assert 'query: {"sql": …}' in error["hint"]


async def test_a_million_groups_are_refused_with_the_way_out(tools: ToolServer) -> None:
    error = await tools.error("draw", chart="bar", query=numbers(30_000), x="n", y="m")
    assert (error["code"], error["field"]) == ("marks_too_many", "query")
    assert "200" in error["message"]
    assert "group_by" in error["hint"]


async def test_without_the_extra_one_command_is_told(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools.runtime, "renderer", Renderer(module="no_such_module"))
    error = await tools.error("draw", **BARS)
    assert error["code"] == "extra_missing"
    assert "pip install 'researchflow[draw]'" in error["hint"]


# The renderer


@pytest_asyncio.fixture
async def own_renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.close()


def worker(text: str) -> tuple[str, ...]:
    """The command of a worker that does as the text says."""
    return (sys.executable, "-c", text)


async def test_one_process_draws_one_picture_after_the_other(own_renderer: Renderer) -> None:
    assert own_renderer.pid is None
    pictures = await asyncio.gather(*(own_renderer.png(SPECIFICATION) for _n in range(3)))
    assert len(set(pictures)) == 1
    first = own_renderer.pid
    await own_renderer.png(SPECIFICATION)
    assert own_renderer.pid == first


@pytest.mark.failure("picture-hangs")
async def test_a_renderer_that_hangs_is_killed_and_the_next_one_draws() -> None:
    renderer = Renderer(command=worker("import time; time.sleep(60)"), timeout_s=0.5)
    with pytest.raises(PictureError) as caught:
        await renderer.png(SPECIFICATION)
    assert (caught.value.code, caught.value.retryable) == ("picture_timeout", True)
    assert renderer.pid is None
    renderer._command = renderer_module.COMMAND
    renderer._timeout_s = 30
    assert size_of(await renderer.png(SPECIFICATION))
    await renderer.close()


@pytest.mark.failure("picture-hangs")
async def test_a_renderer_that_dies_is_an_error_and_the_next_one_draws() -> None:
    renderer = Renderer(command=worker("raise SystemExit(3)"))
    with pytest.raises(PictureError) as caught:
        await renderer.png(SPECIFICATION)
    assert caught.value.code == "picture_failed"
    renderer._command = renderer_module.COMMAND
    assert size_of(await renderer.png(SPECIFICATION))
    await renderer.close()


@pytest.mark.failure("picture-hangs")
async def test_what_the_renderer_refuses_is_an_error_without_its_words(
    own_renderer: Renderer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PictureError) as caught:
        await own_renderer.png({"mark": "John Smith"})
    shown = f"{caught.value} {caught.value.hint} {caplog.text} {capfd.readouterr()}"
    assert caught.value.code == "picture_failed"
    assert "John Smith" not in shown
    assert size_of(await own_renderer.png(SPECIFICATION))


async def test_a_cancelled_picture_leaves_nothing_of_itself_to_the_next(
    own_renderer: Renderer,
) -> None:
    await own_renderer.png(SPECIFICATION)
    before = own_renderer.pid
    asked = asyncio.create_task(own_renderer.png({**SPECIFICATION, "width": 1_000}))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    wide = size_of(await own_renderer.png({**SPECIFICATION, "width": 300}))[0]
    assert wide < 700
    assert before is not None


async def test_an_idle_renderer_ends_and_another_begins() -> None:
    renderer = Renderer(idle_s=0.05)
    await renderer.png(SPECIFICATION)
    process = renderer._process
    assert process is not None
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert renderer.pid is None
    assert size_of(await renderer.png(SPECIFICATION))
    await renderer.close()


async def test_more_waiting_pictures_than_there_is_room_for_are_refused() -> None:
    renderer = Renderer(command=worker("import time; time.sleep(60)"), timeout_s=20)
    waiting = [asyncio.create_task(renderer.png(SPECIFICATION)) for _n in range(16)]
    await asyncio.sleep(0)
    with pytest.raises(PictureError) as caught:
        await renderer.png(SPECIFICATION)
    assert (caught.value.code, caught.value.retryable) == ("busy", True)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await renderer.close()


async def test_a_result_with_its_picture_fits_into_one_event(tools: ToolServer) -> None:
    result = await tools.result("draw", chart="line", query=numbers(5_000), x="n", y="m")
    assert isinstance(result, CallToolResult)
    assert not result.is_error, result.structured_content
    assert len(result.model_dump_json(by_alias=True)) < 1_000_000
