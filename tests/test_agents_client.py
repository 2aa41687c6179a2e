"""The agents' door to the tools: typed errors, bounded retries, commands and exit codes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, TextContent

from agents_ward import over_http, stored, ward
from researchflow_agents import client as client_module
from researchflow_agents.client import ATTEMPTS_MAX, ToolClient
from researchflow_agents.errors import AgentError
from researchflow_server.contract import (
    Compare,
    DescribeViewInput,
    Query,
    RefreshViewsInput,
)
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

NOWHERE = "http://127.0.0.1:9/mcp"
CRITERIA = {"title": "women", "all_of": [{"kind": "demographics", "gender": "female"}]}


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """The ward, refreshed; these tests only read."""
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as opened,
    ):
        await opened.put(*stored(ward()))
        await opened.call("refresh_views")
        yield opened


class Failing(MCPServer[Any]):
    """A server whose every call fails in the same way."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__("failing")
        self.calls = 0
        self._error = {"message": "m", "hint": "h", **error}

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """The failure."""
        self.calls += 1
        payload = {"error": self._error}
        text = TextContent(type="text", text=json.dumps(payload))
        return CallToolResult(content=[text], structured_content=payload, is_error=True)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(client_module, "BACKOFF_S", 0.0)


async def test_typed_calls_give_typed_answers(server: ToolServer) -> None:
    async with ToolClient.connect(server.server) as client:
        names = [row[0] for row in (await client.list_views()).rows]
        assert "patient_demographics" in names
        described = await client.describe_view(DescribeViewInput(view="patient_simple"))
        assert described.resource == "Patient"
        assert (await client.get_statistics()).warehouse_up
        where = Compare(column="id", op="eq", value="leap")
        page = await client.query_view(Query(view="patient_simple", where=where))
        assert page.records()[0]["birth_date"] == "1960-02-29"


async def test_tool_error_keeps_its_code_field_and_hint(server: ToolServer) -> None:
    async with ToolClient.connect(server.server) as client:
        with pytest.raises(AgentError) as caught:
            await client.query_view(Query(view="patient_simpel"))
    info = caught.value.info
    assert (info.code, info.field, info.did_you_mean) == ("unknown_view", "view", "patient_simple")
    assert info.hint
    assert not info.retryable


@pytest.mark.parametrize(("retryable", "calls"), [(True, ATTEMPTS_MAX), (False, 1)])
@pytest.mark.usefixtures("no_waiting")
async def test_only_retryable_errors_are_retried_and_only_so_often(
    retryable: bool, calls: int
) -> None:
    failing = Failing({"code": "x", "retryable": retryable})
    async with ToolClient.connect(failing) as client:
        with pytest.raises(AgentError):
            await client.list_views()
    assert failing.calls == calls


@pytest.mark.usefixtures("no_waiting")
async def test_refresh_that_the_server_refused_for_now_is_tried_again() -> None:
    failing = Failing({"code": "refresh_running", "retryable": True})
    async with ToolClient.connect(failing) as client:
        with pytest.raises(AgentError):
            await client.refresh_views(RefreshViewsInput())
    assert failing.calls == ATTEMPTS_MAX


async def test_nobody_listening_is_a_retryable_error_that_names_the_address() -> None:
    with pytest.raises(AgentError) as caught:
        async with ToolClient.connect(NOWHERE):
            pass
    assert (caught.value.code, caught.value.retryable) == ("server_unreachable", True)
    assert NOWHERE in caught.value.message


@pytest.mark.usefixtures("no_waiting")
async def test_server_that_leaves_is_an_error_and_not_a_cancelled_caller(
    server: ToolServer,
) -> None:
    async with over_http(server) as url:
        client = ToolClient(url)
        assert (await client.list_views()).rows
    with pytest.raises(AgentError) as caught:
        await client.list_views()
    assert caught.value.code == "server_unreachable"


async def test_commands_count_and_extract_over_http(server: ToolServer, tmp_path: Path) -> None:
    criteria, request = tmp_path / "criteria.json", tmp_path / "request.json"
    criteria.write_text(json.dumps(CRITERIA))
    element = {"name": "who", "view": "patient_simple", "columns": ["id"], "patient_column": "id"}
    request.write_text(json.dumps({"title": "t", "phenotype": CRITERIA, "elements": [element]}))
    async with over_http(server) as url:
        counted, extracted = await asyncio.gather(
            _command("phenotype", "run", criteria, "--url", url, "--json"),
            _command("extraction", "run", request, "--url", url, "--out", tmp_path / "out"),
        )
    assert (counted[0], json.loads(counted[1])["count"]) == (0, 3)
    assert extracted[0] == 0, extracted
    assert (tmp_path / "out" / "who.csv").read_text().splitlines() == ["id", *_women()]


async def test_exit_codes_tell_the_fault(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(CRITERIA))
    before = {"kind": "lab", "codes": ["4548-4"], "label": "a1c", "before": "diagnosis"}
    bad.write_text(json.dumps({"title": "t", "all_of": [before]}))
    unreachable, unsupported, missing = await asyncio.gather(
        _command("phenotype", "run", good, "--url", NOWHERE, "--json"),
        _command("phenotype", "run", bad, "--url", NOWHERE),
        _command("phenotype", "run", tmp_path / "none.json"),
    )
    assert unreachable[0] == 3
    assert json.loads(unreachable[2])["error"]["code"] == "server_unreachable"
    assert unsupported[0] == missing[0] == 2
    assert '"before" of "a1c" cannot be expressed' in unsupported[2]
    assert "Traceback" not in unreachable[2] + unsupported[2] + missing[2]


def _women() -> list[str]:
    return ["leap", "unborn", "year"]


async def _command(agent: str, *arguments: object) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"researchflow_agents.{agent}"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
