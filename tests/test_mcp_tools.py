"""The six tools, asked over MCP: both protocol eras, in memory, stdio and HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client, StdioServerParameters

from clinic import condition, lab, patient
from researchflow_runners.views import EVENTS_VIEW
from researchflow_server import contract
from researchflow_server.embedded import Services
from researchflow_server.http import Listener, mcp_app
from researchflow_server.settings import child_environment
from tool_server import Era, ToolServer, content, module_stores, tool_server

ERAS: tuple[Era, ...] = ("auto", "legacy")
CLIENT_TIMEOUT_S = 30
COHORT = {
    "column": "id",
    "op": "in",
    "query": {
        "view": "condition_simple",
        "where": {"column": "icd10_code", "op": "eq", "value": "E11"},
    },
}


@pytest_asyncio.fixture(scope="module", params=["auto", "legacy"])
async def read(
    request: pytest.FixtureRequest,
    services: Services,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ToolServer]:
    """A clinic of three patients, refreshed; its tests only read."""
    era: Era = request.param
    async with (
        module_stores(services, number=7) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home"), era=era) as server,
    ):
        await fill(server)
        yield server


@pytest_asyncio.fixture
async def tools(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """The same clinic for this test alone."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await fill(server)
        yield server


async def fill(server: ToolServer) -> None:
    """Three patients, two of them with diabetes."""
    await server.put(
        patient("ada", birthDate="1960-05-01"),
        patient("bea", birthDate="1990-01-01"),
        patient("carl", gender="male"),
        condition("c1", "ada"),
        condition("c2", "carl"),
        lab("l1", "ada", 8.10),
    )
    await server.call("refresh_views")


async def test_catalogue_is_ordered_titled_and_small(read: ToolServer) -> None:
    listed = await read.client.list_tools()
    assert tuple(tool.name for tool in listed.tools) == contract.TOOL_NAMES
    assert all(tool.title and tool.description and tool.annotations for tool in listed.tools)
    catalogue = listed.model_dump_json(by_alias=True, exclude_none=True).encode()
    instructions = (read.client.instructions or "").encode()
    assert len(instructions) < 1_500
    assert len(catalogue) + len(instructions) < 9_000


async def test_sql_over_views_is_answered_dated(read: ToolServer) -> None:
    answer = await read.call(
        "query_sql",
        sql="SELECT gender, count(*) AS n FROM patient_simple WHERE id <> :x GROUP BY gender"
        " ORDER BY n DESC",
        parameters={"x": "nobody"},
    )
    grouped = await read.call(
        "query_view",
        view="patient_simple",
        group_by=["gender"],
        aggregates=[{"fn": "count", "name": "n"}],
        order_by=[{"column": "n", "descending": True}],
    )
    assert answer["rows"] == grouped["rows"]
    assert (answer["anchor"], answer["data_as_of"]) == (grouped["anchor"], grouped["data_as_of"])
    assert "freshness" not in answer


async def test_only_tools_that_write_say_so(read: ToolServer) -> None:
    listed = await read.client.list_tools()
    writing = {
        tool.name
        for tool in listed.tools
        if tool.annotations and not tool.annotations.read_only_hint
    }
    assert writing == {
        contract.CACHE_RESOURCES,
        contract.REFRESH_VIEWS,
        contract.REGISTER_VIEW,
        contract.DROP_VIEW,
    }


async def test_view_arguments_are_enumerated(read: ToolServer) -> None:
    schemas = {tool.name: tool.input_schema for tool in (await read.client.list_tools()).tools}
    views = [*read.runtime.views, EVENTS_VIEW]
    assert schemas["query_view"]["properties"]["view"]["enum"] == views


async def test_list_views_dates_every_view(read: ToolServer) -> None:
    listed = await read.call("list_views", detail="full")
    by_name = {row[0]: dict(zip(listed["columns"], row, strict=True)) for row in listed["rows"]}
    assert list(by_name) == [*read.runtime.views, EVENTS_VIEW]
    assert by_name["patient_simple"]["materialized"] is True
    assert by_name["patient_simple"]["data_as_of"] is not None
    narrowed = await read.call("list_views", resource="Condition")
    assert {row[1] for row in narrowed["rows"]} == {"Condition"}


async def test_describe_view_tells_types_and_code_systems(read: ToolServer) -> None:
    described = await read.call("describe_view", view="condition_simple", detail="full")
    columns = {row[0]: row for row in described["rows"]}
    assert columns["icd10_code"][5] == "http://hl7.org/fhir/sid/icd-10-cm"
    assert columns["icd10_code"][1:4] == ["code", "text", False]
    assert "definition" not in described
    with_sql = await read.call("describe_view", view="condition_simple", show="sql")
    assert with_sql["sql"].lstrip().upper().startswith(("SELECT", "WITH"))
    with_definition = await read.call("describe_view", view="condition_simple", show="definition")
    assert with_definition["definition"]["resource"] == "Condition"


async def test_cohort_over_two_views_is_one_call(read: ToolServer) -> None:
    answer = contract.QueryViewOutput.model_validate(
        await read.call("query_view", view="patient_simple", where=COHORT, columns=["id"])
    )
    assert answer.records() == [{"id": "ada"}, {"id": "carl"}]
    assert (answer.route, answer.freshness, answer.anchor) == ("materialized", "live", 1)
    assert answer.staleness_s == 0


async def test_groups_come_with_their_counts(read: ToolServer) -> None:
    answer = await read.call(
        "query_view", view="patient_simple", group_by=["gender"], aggregates=[{"fn": "count"}]
    )
    assert answer["rows"] == [["female", 2], ["male", 1]]


async def test_decimals_keep_every_digit(tools: ToolServer) -> None:
    await tools.put(json.loads(json.dumps(lab("l2", "bea"))) | {"valueQuantity": {"value": 7}})
    await tools.call("cache_resources", resources=[lab("l3", "bea", 6.123456789)])
    answer = await tools.call(
        "query_view", view="observation_labs", columns=["id", "value_quantity"], detail="full"
    )
    assert ["l1", "8.1"] in answer["rows"]
    assert ["l3", "6.123456789"] in answer["rows"]
    assert answer["types"] == ["string", "decimal"]


async def test_insert_shows_at_once_and_moves_to_batch(tools: ToolServer) -> None:
    new = patient("dora")
    changed = await tools.call("cache_resources", resources=[new])
    assert [row[:2] for row in changed["rows"]] == [["Patient/dora", "stored"]]
    live = await tools.call("query_view", view="patient_simple")
    anchored = await tools.call(
        "query_view", view="patient_simple", freshness="anchored", detail="full"
    )
    assert (live["row_count"], live["speed"]["rows_added"]) == (4, 1)
    assert live["speed"]["provisional"] == 1
    assert (anchored["row_count"], anchored["speed"]["rows_added"]) == (3, 0)

    await tools.put(new)
    refreshed = await tools.call("refresh_views")
    assert (refreshed["status"], refreshed["anchor"], refreshed["changed"]) == ("published", 2, 1)
    after = await tools.call("query_view", view="patient_simple", detail="full")
    assert after["rows"] == live["rows"]
    assert (after["speed"]["entries"], after["anchor"]) == (0, 2)
    earlier = await tools.call("query_view", view="patient_simple", as_of=1)
    assert earlier["rows"] == anchored["rows"]


async def test_delete_leaves_the_live_answer(tools: ToolServer) -> None:
    await tools.call("cache_resources", delete=["Patient/ada"])
    answer = await tools.call("query_view", view="patient_simple", columns=["id"])
    assert [row[0] for row in answer["rows"]] == ["bea", "carl"]
    assert answer["speed"]["rows_removed"] == 1


async def test_dry_run_changes_nothing(tools: ToolServer) -> None:
    foreseen = await tools.call(
        "cache_resources", resources=[patient("eve")], delete=["Patient/nobody"], dry_run=True
    )
    assert [row[1] for row in foreseen["rows"]] == ["stored", "rejected"]
    answer = await tools.call("query_view", view="patient_simple")
    assert answer["row_count"] == 3


async def test_one_bad_resource_does_not_stop_the_others(tools: ToolServer) -> None:
    changed = await tools.call(
        "cache_resources", resources=[{"resourceType": "Patiant", "id": "x"}, patient("good")]
    )
    assert [row[1] for row in changed["rows"]] == ["rejected", "stored"]
    assert "resource_type_unknown" in changed["rows"][0][6]


async def test_refresh_reports_progress_and_can_be_asked_again(tools: ToolServer) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total, message))

    result = content(await tools.client.call_tool("refresh_views", {}, progress_callback=note))
    assert [message for _done, _total, message in steps][-1] == "publish"
    assert all(total is not None and done <= total for done, total, _message in steps)
    again = await tools.call("refresh_views", run_id=result["run_id"])
    assert again["anchor"] == result["anchor"]


async def test_refresh_that_takes_longer_answers_running(tools: ToolServer) -> None:
    begun = await tools.call("refresh_views", wait_s=0)
    ended = await tools.call("refresh_views", run_id=begun["run_id"])
    assert begun["status"] in ("running", "unchanged")
    assert (ended["status"], ended["anchor"]) == ("unchanged", 1)


async def test_callers_at_once_share_the_refresh_after_the_first(tools: ToolServer) -> None:
    ends = await asyncio.gather(*(tools.call("refresh_views") for _ in range(9)))
    assert {end["run_id"] for end in ends} == {2, 3}


async def test_arguments_sent_as_json_text_are_understood(read: ToolServer) -> None:
    answer = await read.call("query_view", view="patient_simple", where=json.dumps(COHORT))
    assert answer["row_count"] == 2


async def test_http_answers_like_memory_and_checks_host_and_origin(read: ToolServer) -> None:
    settings = read.runtime.settings
    app = mcp_app(read.server, settings)
    with Listener(app, host="127.0.0.1", port=0, variable="RESEARCHFLOW_HTTP_PORT") as listener:
        serving = asyncio.create_task(listener.serve())
        try:
            url = f"http://127.0.0.1:{listener.port}/mcp"
            answers = [await over(url, era) for era in ERAS]
            in_memory = await read.call("query_view", view="patient_simple")
            assert [answer["rows"] for answer in answers] == [in_memory["rows"]] * 2
            for header in ("Host: evil.example", "Origin: http://evil.example"):
                assert await _status(listener.port, header) in (403, 421)
        finally:
            listener.stop()
            await serving


async def _status(port: int, header: str) -> int:
    """The status of a tools/list that carries this header."""
    host = "" if header.startswith("Host") else f"Host: 127.0.0.1:{port}\r\n"
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /mcp HTTP/1.1\r\n{host}{header}\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return int(line.split()[1])


async def test_stdio_speaks_only_the_protocol_on_stdout(tools: ToolServer) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "researchflow_server", "serve"],
        env=child_environment(tools.runtime.settings),
    )
    answers = [await over(command, era) for era in ERAS]
    assert [answer["row_count"] for answer in answers] == [3, 3]


async def over(target: str | StdioServerParameters, era: Era) -> dict[str, Any]:
    """What another client of that era is told."""
    async with Client(target, mode=era, read_timeout_seconds=CLIENT_TIMEOUT_S) as client:
        return content(await client.call_tool("query_view", {"view": "patient_simple"}))
