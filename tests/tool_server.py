"""The tools over real stores, called as an MCP client calls them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import asyncpg
from mcp import Client
from mcp_types import CallToolResult, TextContent
from redis.asyncio import Redis

from researchflow_runners.source.load import load_resources
from researchflow_server.embedded import Services
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import read_settings

Era = Literal["auto", "legacy"]
OpenedT = TypeVar("OpenedT")


class ToolServer:
    """A runtime, its MCP server and a client of it in this process."""

    def __init__(self, runtime: Runtime, server: ResearchFlowServer, client: Client) -> None:
        self.runtime = runtime
        self.server = server
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that went well."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, result.structured_content
        return content(result)

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The error of a call that failed."""
        result = await self.result(tool, **arguments)
        assert result.is_error, result.structured_content
        error: dict[str, Any] = content(result)["error"]
        return error

    async def result(self, tool: str, **arguments: Any) -> CallToolResult:
        """The whole result of a call."""
        return await self.client.call_tool(tool, arguments)

    async def put(self, *resources: dict[str, Any]) -> None:
        """Stores resources in the FHIR server."""
        await load_resources(self.runtime.stores.source, resources)


@asynccontextmanager
async def tool_server(
    dsn: str,
    redis_url: str,
    home: Path,
    *,
    era: Era = "auto",
    background: bool = False,
    **settings: Any,
) -> AsyncIterator[ToolServer]:
    """A server of these stores; nothing is materialised yet."""
    chosen = read_settings({}, home=home, database_url=dsn, redis_url=redis_url, **settings)
    async with open_runtime(chosen, background=background) as runtime:
        server = ResearchFlowServer(runtime)
        async with in_own_task(Client(server, mode=era)) as client:
            yield ToolServer(runtime, server, client)


def content(result: CallToolResult) -> dict[str, Any]:
    """The structured content, after a check that the text says the same."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert json.loads(block.text) == result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


@asynccontextmanager
async def in_own_task(manager: AbstractAsyncContextManager[OpenedT]) -> AsyncIterator[OpenedT]:
    """The opened manager, closed in the task that opened it, as a client demands.

    A fixture is set up in one task and torn down in another.
    """
    opened: asyncio.Future[OpenedT] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def keep() -> None:
        try:
            async with manager as value:
                opened.set_result(value)
                await done.wait()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    keeper = asyncio.create_task(keep())
    try:
        yield await opened
    finally:
        done.set()
        await keeper


@asynccontextmanager
async def module_stores(services: Services, *, number: int) -> AsyncIterator[tuple[str, str]]:
    """A database and a Redis database that the tests of one module share."""
    name = f"module_{number}"
    connection = await asyncpg.connect(services.postgres_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE hapi_template")
        redis_url = services.redis.url_of(number)
        redis = Redis.from_url(redis_url)
        # What an earlier module left there would be taken over by a new warehouse.
        await redis.flushdb()
        await redis.aclose()
        yield services.postgres.dsn_of(name), redis_url
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
