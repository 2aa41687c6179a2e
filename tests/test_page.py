"""The page's files over HTTP and as an MCP App: what is served, to whom, and under which rules."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import TextResourceContents

from researchflow_server.embedded import Services
from researchflow_server.http import Listener, http_app
from researchflow_server.mcp.page_app import SHOWN
from researchflow_server.page import APP_URI, app_document
from researchflow_server.page.document import OWN, PARTS, SCRIPTS, page_document, text_of
from tool_server import Era, ToolServer, module_stores, tool_server

#: What the client of one SSE event takes.
EVENT_BYTES_MAX = 1024 * 1024


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    async with (
        module_stores(services, number=10) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        yield server


@pytest_asyncio.fixture(scope="module")
async def http(tools: ToolServer) -> AsyncIterator[httpx2.AsyncClient]:
    app = http_app(tools.server, tools.runtime)
    with Listener(app, host="127.0.0.1", port=0, variable="port") as listener:
        serving = asyncio.create_task(listener.serve())
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}") as client:
            yield client
        listener.stop()
        await serving


async def test_the_page_and_every_file_it_names_are_served_under_strict_rules(
    http: httpx2.AsyncClient,
) -> None:
    page = await http.get("/")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == len(SCRIPTS) + 2
    for path in ("", *named):
        response = await http.get(f"/{path}")
        assert response.status_code == 200, path
        rules = response.headers["content-security-policy"]
        assert rules.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in rules
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        again = await http.get(f"/{path}", headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_a_page_of_another_site_gets_nothing(
    http: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    for path in ("/", "/page/page.js"):
        assert (await http.get(path, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "path", ["/page/", "/page/NOTICE", "/page/../settings.py", "/page/%2e%2e/"]
)
async def test_no_other_file_is_served(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_the_page_takes_no_writing(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/", content=b"{}")).status_code == 405


def test_vendored_parts_are_those_of_their_packages() -> None:
    folder = files("researchflow_server.page") / "parts"
    notice = (folder / "NOTICE").read_text()
    for name in PARTS:
        content = (folder / name).read_bytes()
        told = f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
        assert told in notice.partition(f"{name}\n")[2].partition("\n\n")[0]
    licences = set(re.findall(r"LICENSE\.[a-z-]+", notice))
    assert licences == {one.name for one in Path(str(folder)).iterdir() if "LICENSE" in one.name}


#: Ways to make markup of text, to keep or show data elsewhere, and to reach another place.
UNUSED = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("),
    *("localStorage", "sessionStorage", "location.", "history.", "document.title", "://"),
)


@pytest.mark.parametrize("name", OWN)
def test_own_scripts_make_no_markup_of_text_and_reach_nobody_else(name: str) -> None:
    text = text_of(name)
    assert [way for way in UNUSED if way in text] == []


def test_the_app_is_one_document_that_fetches_nothing() -> None:
    document = app_document()
    assert document.startswith("<!doctype html>")
    assert not re.search(r"(?m)^<(?:script|link)[^>]*(?:src|href)=", document)
    assert document.count("</script>") == len(SCRIPTS)
    assert len(json.dumps(document)) < EVENT_BYTES_MAX * 0.95
    assert len(page_document()) < 2_000


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_hosts_with_a_frame_are_told_of_the_page(tools: ToolServer, era: Era) -> None:
    framed = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
    async with Client(tools.server, mode=era, extensions=[framed]) as host:
        listed = (await host.list_tools()).tools
        bound = {tool.name for tool in listed if tool.meta == {"ui": {"resourceUri": APP_URI}}}
        assert bound == SHOWN
        (content,) = (await host.read_resource(APP_URI)).contents
    assert isinstance(content, TextResourceContents)
    assert (content.mime_type, content.text) == (APP_MIME_TYPE, app_document())


async def test_other_clients_pay_nothing_for_it(tools: ToolServer) -> None:
    assert all(tool.meta is None for tool in (await tools.client.list_tools()).tools)
