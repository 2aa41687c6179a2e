"""Bad input over HTTP: one clear error each, nothing of it in the log, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
import pytest_asyncio
from mcp import Client

from clinic import patient
from researchflow_runners.batch.result import Progress
from researchflow_server.contract import TOOL_NAMES
from researchflow_server.embedded import Services
from researchflow_server.http import BODY_BYTES_MAX, MCP_PATH, Listener, mcp_app
from tool_server import ToolServer, module_stores, tool_server

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": MODERN,
}
ERROR_BYTES_MAX = 8_000
CLIENTS = 16
NAME = "Zaphod"
LONE = "\ud800"


class Endpoint:
    """The tools behind a port, and a way to send what no proper client would."""

    def __init__(self, tools: ToolServer, url: str, http: httpx2.AsyncClient) -> None:
        self.tools = tools
        self.url = url
        self._http = http

    async def post(self, body: str | bytes, *, method: str, name: str) -> httpx2.Response:
        headers = HEADERS | {"mcp-method": method, "mcp-name": name}
        return await self._http.post(self.url, content=body, headers=headers)

    async def request(self, method: str, **params: Any) -> httpx2.Response:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
        name = str(params.get("name", params.get("uri", "")))
        return await self.post(json.dumps(asked), method=method, name=name)

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The error of a call; it is short whatever was sent."""
        response = await self.request("tools/call", name=tool, arguments=arguments)
        assert response.status_code == 200, response.text[:500]
        assert len(response.content) < ERROR_BYTES_MAX
        result = response.json()["result"]
        assert result["isError"], response.text[:500]
        error: dict[str, Any] = result["structuredContent"]["error"]
        return error

    async def still_answers(self) -> None:
        response = await self.request("tools/call", name="list_views", arguments={})
        assert response.json()["result"]["isError"] is False


@pytest_asyncio.fixture(scope="module")
async def endpoint(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Endpoint]:
    """A server with one patient, over HTTP."""
    async with (
        module_stores(services, number=11) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        httpx2.AsyncClient(timeout=30) as http,
    ):
        await tools.put(patient("ada"))
        await tools.call("refresh_views")
        app = mcp_app(tools.server, tools.runtime.settings)
        with Listener(app, host="127.0.0.1", port=0, variable="port") as listener:
            serving = asyncio.create_task(listener.serve())
            yield Endpoint(tools, f"http://127.0.0.1:{listener.port}{MCP_PATH}", http)
            listener.stop()
            await serving


def where(**comparison: Any) -> dict[str, Any]:
    return {"view": "patient_simple", "where": {"column": "gender", "op": "eq", **comparison}}


def nested(levels: int, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"column": "gender", "op": "eq", "value": "male"}
    for _level in range(levels):
        found = {key: found if key == "not" else [found]}
    return {"view": "patient_simple", "where": found}


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "field"),
    [
        ("query_view", where(value=float("nan")), "value_type", "where.value"),
        ("query_view", where(value=float("-inf")), "value_type", "where.value"),
        (
            "query_view",
            {"view": "patient_simple", "limit": float("nan")},
            "invalid_argument",
            "limit",
        ),
        ("query_view", where(value=f"a{LONE}"), "invalid_argument", "where.value"),
        ("query_view", {"view": LONE}, "invalid_argument", "view"),
        ("query_view", {"view": "patient_simple", LONE: 1}, "invalid_argument", None),
        ("cache_resources", {"delete": [f"Patient/{LONE}"]}, "invalid_argument", "delete.0"),
        ("query_view", {"view": "x" * 3_000_000}, "unknown_view", "view"),
        (
            "query_view",
            {"view": "patient_simple", "columns": ["x" * 3_000_000]},
            "unknown_column",
            "columns[0]",
        ),
        ("query_view", nested(900, "not"), "invalid_argument", None),
        ("query_view", nested(60, "all_of"), "filter_too_large", "where"),
        ("refresh_views", {"run_id": 2**70}, "unknown_run", "run_id"),
        ("refresh_views", {"run_id": -1}, "unknown_run", "run_id"),
        ("x" * 3_000, {}, "unknown_tool", None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
async def test_what_no_client_should_send_is_one_short_error(
    endpoint: Endpoint,
    caplog: pytest.LogCaptureFixture,
    tool: str,
    arguments: dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    error = await endpoint.error(tool, **arguments)
    assert error["code"] == code
    if field is not None:
        assert error["field"] == field
    assert error["retryable"] is False
    assert "Traceback" not in caplog.text
    await endpoint.still_answers()


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Patient", "id": LONE},
        {"resourceType": LONE, "id": "a"},
        {"resourceType": "Patient", "id": "a", LONE: 1},
        {"resourceType": "Patient", "id": "a", "gender": LONE},
        {"resourceType": "Patient", "id": "a", "multipleBirthInteger": float("nan")},
    ],
)
async def test_a_resource_that_is_not_json_is_rejected_beside_a_good_one(
    endpoint: Endpoint, resource: dict[str, Any]
) -> None:
    found = {"resources": [resource, patient("ada")], "dry_run": True}
    response = await endpoint.request("tools/call", name="cache_resources", arguments=found)
    rows = response.json()["result"]["structuredContent"]["rows"]
    assert [row[1] == "rejected" for row in rows] == [True, False]


async def test_no_filter_of_two_kinds_is_run(endpoint: Endpoint) -> None:
    one = {"column": "gender", "op": "eq", "value": "male"}
    both = {"view": "patient_simple", "where": {"all_of": [one], "any_of": [one]}}
    error = await endpoint.error("query_view", **both)
    assert (error["code"], error["field"]) == ("unknown_argument", "where.all_of")
    assert error.get("did_you_mean") is None
    assert "all_of" in error["hint"]


@pytest.mark.parametrize(
    ("name", "guess"), [("anyof", "any_of"), ("allOf", "all_of"), ("querry", "query")]
)
async def test_a_misspelt_kind_of_filter_is_named(
    endpoint: Endpoint, name: str, guess: str
) -> None:
    error = await endpoint.error("query_view", view="patient_simple", where={name: []})
    assert (error["code"], error["did_you_mean"]) == ("unknown_argument", guess)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"jsonrpc":', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', 400),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, 400),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + "9" * 5_000 + "}", 400),
        ("[]", 400),
        (b" " * (BODY_BYTES_MAX + 1), 413),
    ],
    ids=["cut off", "not utf-8", "deep", "a long number", "a batch", "5 MB"],
)
async def test_a_body_that_is_no_request_is_refused(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, body: str | bytes, status: int
) -> None:
    response = await endpoint.post(body, method="tools/call", name="list_views")
    assert response.status_code == status
    assert "Traceback" not in caplog.text
    await endpoint.still_answers()


@pytest.mark.parametrize(
    ("method", "params"),
    [("prompts/get", {"name": NAME}), ("resources/read", {"uri": f"patient://{NAME}"})],
)
async def test_what_we_do_not_offer_is_refused_without_a_trace(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, method: str, params: dict[str, str]
) -> None:
    with caplog.at_level(logging.WARNING):
        response = await endpoint.request(method, **params)
    assert response.json()["error"]["code"] == -32602
    assert caplog.text == ""


async def test_many_clients_get_their_own_answers(endpoint: Endpoint) -> None:
    async def ask(number: int) -> None:
        async with Client(endpoint.url) as client:
            for limit in (number + 1, number + 2):
                right = await client.call_tool(
                    "query_view", {"view": "patient_simple", "limit": limit}
                )
                wrong = await client.call_tool("query_view", {"view": f"view_{number}"})
                assert right.structured_content is not None
                assert right.structured_content["rows"][0][0] == "ada"
                assert wrong.structured_content is not None
                assert f'"view_{number}"' in wrong.structured_content["error"]["message"]

    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(ask(number))


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_call_that_its_client_gives_up_ends(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, era: Any
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(*_args: object, **_named: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(endpoint.tools.runtime.hybrid, "query", endless)
    async with Client(endpoint.url, mode=era) as client:
        call = asyncio.create_task(client.call_tool("query_view", {"view": "patient_simple"}))
        await begun.wait()
        call.cancel()
        async with asyncio.timeout(10):
            await ended.wait()
    await endpoint.still_answers()


async def test_a_refresh_outlives_a_client_that_leaves(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = endpoint.tools.runtime
    go_on, left = asyncio.Event(), asyncio.Event()
    real = runtime.refresher.refresh

    async def paused(tell: Any, **change: Any) -> Any:
        await tell(Progress("compute", 0, 2))
        left.set()
        await go_on.wait()
        await tell(Progress("compute", 1, 2))
        return await real(tell, **change)

    monkeypatch.setattr(runtime.refresher, "refresh", paused)
    await endpoint.tools.put(patient("eve"))
    told = asyncio.Event()

    async def watch(*_args: object) -> None:
        told.set()

    async with Client(endpoint.url) as client:
        call = asyncio.create_task(client.call_tool("refresh_views", {}, progress_callback=watch))
        async with asyncio.timeout(10):
            await left.wait()
            await told.wait()
        call.cancel()
        go_on.set()
        found = await client.call_tool("refresh_views", {"wait_s": 30})
    assert found.structured_content is not None
    assert found.structured_content["status"] in ("published", "unchanged")
    answer = await endpoint.tools.call("query_view", view="patient_simple")
    assert "eve" in {row[0] for row in answer["rows"]}


async def test_a_client_that_does_not_listen_holds_up_no_refresh(endpoint: Endpoint) -> None:
    async def deaf(_progress: Progress) -> None:
        await asyncio.Event().wait()

    refreshes = endpoint.tools.runtime.refreshes
    with anyio.fail_after(20):
        deaf_call = asyncio.create_task(refreshes.start(wait_s=10, watcher=deaf))

        async def listen(_progress: Progress) -> None:
            return

        found = await refreshes.start(wait_s=10, watcher=listen)
        assert found.status == "unchanged"
        assert (await deaf_call).status == "unchanged"


async def test_no_tool_declares_a_header_parameter(endpoint: Endpoint) -> None:
    """Their check is left out for ours; see ResearchFlowServer."""
    listed = await endpoint.tools.client.list_tools()
    assert [tool.name for tool in listed.tools] == list(TOOL_NAMES)
    assert "x-mcp-header" not in json.dumps([tool.input_schema for tool in listed.tools])


async def test_a_client_that_hangs_up_in_its_body_is_one_line(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(endpoint.url.partition("127.0.0.1:")[2].partition("/")[0])
    head = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += "Accept: application/json, text/event-stream\r\nContent-Length: 999\r\n\r\n"
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with caplog.at_level(logging.INFO):
        writer.write(f'{head}{{"jsonrpc"'.encode())
        await writer.drain()
        await endpoint.still_answers()
        writer.transport.abort()
        await endpoint.still_answers()
        await endpoint.still_answers()
    left = [record for record in caplog.records if record.name.startswith("researchflow")]
    assert [record.message for record in left] == ["a client left before its request was whole"]
    assert all(record.exc_info is None for record in caplog.records)
