"""The MCP tools as typed calls: the only way in which an agent reaches data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ValidationError

from researchflow_agents.errors import PROTOCOL_ERROR, SERVER_UNREACHABLE, AgentError
from researchflow_agents.session import Server, Session
from researchflow_server import contract
from researchflow_server.contract import (
    CacheResourcesInput,
    CacheResourcesOutput,
    DescribeViewInput,
    DescribeViewOutput,
    FullAnswer,
    GetStatisticsInput,
    GetStatisticsOutput,
    ListViewsInput,
    ListViewsOutput,
    Query,
    RefreshViewsInput,
    RefreshViewsOutput,
    ToolFailure,
)

OutputT = TypeVar("OutputT", bound=BaseModel)

ATTEMPTS_MAX = 4
BACKOFF_S = 0.25
ECHO_MAX = 200

#: Asking twice asks the same; a version guards a change, so storing it twice stores it once.
#: An agent reads types and instants that a concise answer leaves out.
FULL = {"detail": "full"}
ANSWERING = frozenset(
    {contract.LIST_VIEWS, contract.DESCRIBE_VIEW, contract.QUERY_VIEW, contract.GET_STATISTICS}
)
REPEATABLE = frozenset(contract.TOOL_NAMES) - {contract.REFRESH_VIEWS, contract.CACHE_RESOURCES}


class ToolClient:
    """Typed calls of one server; reconnects by itself.

    Every call may raise AgentError: a tool's own with its code, hint and field, or
    `server_unreachable`. A retryable error is retried, ATTEMPTS_MAX attempts in all. A connection
    that broke during `refresh_views` or `cache_resources` is not: whether it ran is unknown.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session: Session | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, server: Server) -> AsyncIterator[ToolClient]:
        """A client that is connected; AgentError `server_unreachable` when nobody answers."""
        client = cls(server)
        client._session = await Session.open(server)
        try:
            yield client
        finally:
            await client._disconnect()

    async def list_views(self, arguments: ListViewsInput | None = None) -> ListViewsOutput:
        """The views there are."""
        return await self._call(contract.LIST_VIEWS, arguments, ListViewsOutput)

    async def describe_view(self, arguments: DescribeViewInput) -> DescribeViewOutput:
        """One view's columns."""
        return await self._call(contract.DESCRIBE_VIEW, arguments, DescribeViewOutput)

    async def query_view(self, arguments: Query) -> FullAnswer:
        """One page of a dated answer."""
        return await self._call(contract.QUERY_VIEW, arguments, FullAnswer)

    async def cache_resources(self, arguments: CacheResourcesInput) -> CacheResourcesOutput:
        """Makes changes visible at once."""
        return await self._call(contract.CACHE_RESOURCES, arguments, CacheResourcesOutput)

    async def refresh_views(self, arguments: RefreshViewsInput | None = None) -> RefreshViewsOutput:
        """Starts a refresh, or reports one."""
        return await self._call(contract.REFRESH_VIEWS, arguments, RefreshViewsOutput)

    async def get_statistics(
        self, arguments: GetStatisticsInput | None = None
    ) -> GetStatisticsOutput:
        """The server's numbers."""
        return await self._call(contract.GET_STATISTICS, arguments, GetStatisticsOutput)

    async def _call(self, tool: str, arguments: BaseModel | None, output: type[OutputT]) -> OutputT:
        sent = wire_arguments(arguments) if arguments is not None else {}
        if tool in ANSWERING:
            sent |= FULL
        for attempt in range(1, ATTEMPTS_MAX + 1):
            was_asked = False
            try:
                session = await self._connected()
                was_asked = True
                return _typed(tool, await session.call(tool, sent), output)
            except AgentError as error:
                unsure = was_asked and error.code == SERVER_UNREACHABLE and tool not in REPEATABLE
                if unsure or not error.retryable or attempt == ATTEMPTS_MAX:
                    raise
            await asyncio.sleep(BACKOFF_S * 2 ** (attempt - 1))
        raise AssertionError("every attempt returns or raises")

    async def _connected(self) -> Session:
        if self._session is None or not self._session.is_open:
            await self._disconnect()
            self._session = await Session.open(self._server)
        return self._session

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def wire_arguments(arguments: BaseModel) -> dict[str, Any]:
    """The arguments as they go over the wire: what was set, and nothing else."""
    return arguments.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _typed(tool: str, result: CallToolResult, output: type[OutputT]) -> OutputT:
    content = result.structured_content
    if result.is_error:
        raise _tool_error(tool, result)
    try:
        return output.model_validate(content)
    except ValidationError as error:
        # Pydantic's text repeats values, which may be a patient's.
        raise AgentError.of(
            PROTOCOL_ERROR,
            f'the answer of "{tool}" does not have the shape of the contract',
            field=".".join(str(part) for part in error.errors()[0]["loc"]) or None,
            hint="use a server and agents of the same version",
        ) from None


def _tool_error(tool: str, result: CallToolResult) -> AgentError:
    """The tool's own error; one without structure comes from the protocol layer."""
    if result.structured_content is not None and "error" in result.structured_content:
        return AgentError(ToolFailure.model_validate(result.structured_content).error)
    words = " ".join(part.text for part in result.content if isinstance(part, TextContent))
    return AgentError.of(
        PROTOCOL_ERROR,
        f'"{tool}" failed: {words[:ECHO_MAX] or "no reason given"}',
        hint="check that the address is a ResearchFlow server of this version",
    )
