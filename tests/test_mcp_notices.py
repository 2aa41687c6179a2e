"""Clients hear of views and anchors that change: both eras, every transport, any server's doing."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    ToolListChangedNotification,
)
from starlette.types import Message, Receive, Scope, Send

from composed import sql_view
from researchflow_runners.batch.anchors import pin_anchor
from researchflow_server.embedded import Services
from researchflow_server.http import MCP_PATH, Listener, streams
from researchflow_server.http.app import mcp_app
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.mcp.notices import SUBSCRIPTIONS_MAX
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import child_environment
from tool_server import Era, ToolServer, in_own_task, module_stores, tool_server
from warehouse import patient

Transport = Literal["memory", "http", "stdio"]

VIEW = "researchflow://views/patient_simple"
ANCHORS = "researchflow://anchors"
NUMBERS = count(1)
WAIT_S = 20.0


class Heard:
    """What one client was told, in words: `tools`, `resources` or the address of a resource."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._heard = asyncio.Event()

    def say(self, word: str) -> None:
        self.words.append(word)
        self._heard.set()

    def event(self, event: object) -> None:
        if isinstance(event, ResourceUpdated):
            self.say(event.uri)
        elif isinstance(event, ToolsListChanged | ResourcesListChanged):
            self.say("tools" if isinstance(event, ToolsListChanged) else "resources")

    async def message(self, message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.say(str(message.params.uri))
        elif isinstance(message, ToolListChangedNotification | ResourceListChangedNotification):
            is_tools = isinstance(message, ToolListChangedNotification)
            self.say("tools" if is_tools else "resources")

    async def all(self, *words: str) -> None:
        """Returns when each of these was told, as often as it is given."""
        async with asyncio.timeout(WAIT_S):
            while Counter(words) - Counter(self.words):
                self._heard.clear()
                await self._heard.wait()


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server with one patient, refreshed; tests add patients and views of their own."""
    home: Path = tmp_path_factory.mktemp("notices")
    async with (
        module_stores(services, number=13) as (dsn, redis_url),
        tool_server(dsn, redis_url, home) as opened,
    ):
        await opened.put(patient("ada", gender="female"))
        await opened.call("refresh_views")
        yield opened


async def refreshed(server: ToolServer) -> None:
    """One patient more, in the next anchor."""
    await server.put(patient(f"patient-{next(NUMBERS)}", gender="male"))
    await server.call("refresh_views")


async def women(server: ToolServer, name: str, columns: str = "id") -> str:
    """Registers SQL over the patients; gives its address."""
    sql = f"SELECT {columns} FROM people WHERE gender = 'female'"
    await server.call("register_view", definition=sql_view(name, sql, people="patient_simple"))
    return f"researchflow://views/{name}"


@asynccontextmanager
async def listening(
    server: ToolServer, transport: Transport, era: Era, *uris: str
) -> AsyncIterator[Heard]:
    """A client of a server of its own over the same stores, that hears of lists and these."""
    heard = Heard()
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(_served(server, transport))
        client = await stack.enter_async_context(
            in_own_task(Client(target, mode=era, message_handler=heard.message))
        )
        if era == "legacy":
            for uri in uris:
                with pytest.warns(MCPDeprecationWarning):
                    await client.subscribe_resource(uri)
            yield heard
            return
        opened = client.listen(
            tools_list_changed=True, resources_list_changed=True, resource_subscriptions=uris
        )
        subscription = await stack.enter_async_context(in_own_task(opened))

        async def hear() -> None:
            async for event in subscription:
                heard.event(event)

        hearing = asyncio.create_task(hear())
        stack.callback(hearing.cancel)
        yield heard


@asynccontextmanager
async def _served(server: ToolServer, transport: Transport) -> AsyncIterator[Any]:
    """What a client is given to reach another server of the same stores."""
    settings = server.runtime.settings
    if transport == "stdio":
        yield stdio_client(
            StdioServerParameters(
                command=sys.executable,
                args=["-m", "researchflow_server", "serve"],
                env=child_environment(settings),
            )
        )
        return
    async with open_runtime(settings, background=False) as runtime:
        other = ResearchFlowServer(runtime)
        if transport == "memory":
            yield other
            return
        app = mcp_app(other, settings)
        with Listener(
            app, host="127.0.0.1", port=0, variable="port", on_stop=other.notices.end
        ) as listener:
            serving = asyncio.create_task(listener.serve())
            try:
                yield f"http://127.0.0.1:{listener.port}{MCP_PATH}"
            finally:
                listener.stop()
                await serving


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["memory", "http", "stdio"])
async def test_client_hears_what_another_server_changed(
    server: ToolServer, transport: Transport, era: Era
) -> None:
    name = f"women_{next(NUMBERS)}"
    async with listening(server, transport, era, VIEW, ANCHORS) as heard:
        await women(server, name)
        await heard.all("tools", "resources")
        assert VIEW not in heard.words
        heard.words.clear()
        await refreshed(server)
        await heard.all(VIEW, ANCHORS, "resources")
        assert "tools" not in heard.words
        await server.call("drop_view", view=name)
        await heard.all("tools", "resources", "resources")


async def test_sql_view_is_told_as_changed_with_what_it_reads_and_when_it_goes(
    server: ToolServer,
) -> None:
    uri = await women(server, "women")
    async with listening(server, "memory", "auto", uri) as heard:
        await refreshed(server)
        await heard.all(uri)
        await server.call("drop_view", view="women")
        await heard.all(uri, uri, "tools")


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_only_what_was_subscribed_is_told(server: ToolServer, era: Era) -> None:
    async with listening(server, "memory", era, VIEW) as heard:
        await refreshed(server)
        await heard.all(VIEW, "resources")
        assert set(heard.words) == {VIEW, "resources"}


async def test_refresh_that_moves_no_row_of_a_view_tells_of_the_anchor_alone(
    server: ToolServer,
) -> None:
    async with listening(server, "memory", "auto", VIEW, ANCHORS) as heard:
        await server.put({"resourceType": "Encounter", "id": "e", "status": "finished"})
        await server.call("refresh_views")
        await heard.all(ANCHORS)
        await pin_anchor(server.runtime.stores.warehouse, "paper", 1)
        await heard.all(ANCHORS, ANCHORS)
        assert VIEW not in heard.words


async def test_redefined_view_is_told_as_changed(server: ToolServer) -> None:
    uri = await women(server, "redefined")
    async with listening(server, "memory", "auto", uri) as heard:
        await women(server, "redefined", columns="id, gender")
        await heard.all(uri, "tools", "resources")


async def test_nothing_is_looked_at_while_nobody_hears(server: ToolServer) -> None:
    notices = server.server.notices
    assert notices._watch is None
    async with server.client.listen(tools_list_changed=True):
        watch = notices._watch
        assert watch is not None
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait([watch])
    assert notices._watch is None


async def test_both_eras_are_told_what_the_server_can_do(server: ToolServer) -> None:
    for era in ("auto", "legacy"):
        async with Client(server.server, mode=era) as client:
            capabilities = client.server_capabilities
            assert capabilities is not None
            assert capabilities.resources is not None
            assert (capabilities.resources.subscribe, capabilities.resources.list_changed) == (
                True,
                True,
            )
            assert capabilities.tools is not None
            assert capabilities.tools.list_changed is True


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_subscription_to_a_view_that_is_not_there_names_the_nearest(
    server: ToolServer, era: Era
) -> None:
    with pytest.raises(MCPError, match="patient_simple"):
        async with listening(server, "memory", era, f"{VIEW[:-1]}a"):
            pass


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_server_stops_at_once_under_a_standing_stream(server: ToolServer, era: Era) -> None:
    loop = asyncio.get_running_loop()
    other = ResearchFlowServer(server.runtime)
    app = mcp_app(other, server.runtime.settings)
    with Listener(
        app, host="127.0.0.1", port=0, variable="port", on_stop=other.notices.end
    ) as listener:
        serving = asyncio.create_task(listener.serve())
        url = f"http://127.0.0.1:{listener.port}{MCP_PATH}"
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(in_own_task(Client(url, mode=era)))
            if era == "auto":
                opened = client.listen(tools_list_changed=True)
                await stack.enter_async_context(in_own_task(opened))
            began_s = loop.time()
            listener.stop()
            await serving
            assert loop.time() - began_s < 3


async def test_more_subscriptions_than_there_may_be_are_refused(server: ToolServer) -> None:
    uris = [f"{ANCHORS}/{number}" for number in range(SUBSCRIPTIONS_MAX + 1)]
    with pytest.raises(MCPError, match=f"at most {SUBSCRIPTIONS_MAX}"):
        async with server.client.listen(resource_subscriptions=uris):
            pass


async def test_stream_beyond_the_bound_is_refused_and_the_end_frees_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "STREAMS_MAX", 1)
    ended, never = asyncio.Event(), asyncio.Event()
    sent: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Message:
        await never.wait()
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    bounded = streams.StandingStreams(app, path=MCP_PATH, ended=ended)
    scope = {"type": "http", "method": "GET", "path": MCP_PATH, "headers": []}
    first = asyncio.create_task(bounded(scope, receive, send))
    await asyncio.sleep(0)
    await bounded(scope, receive, send)
    assert sent[0]["status"] == 405
    ended.set()
    async with asyncio.timeout(WAIT_S):
        await first
