"""One connection to an MCP server, kept in a task of its own.

The SDK's client cancels whatever runs inside it when its transport breaks. In a task of its own
that ends this session only, and the caller gets an error it can act on.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.server.mcpserver import MCPServer
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, CallToolResult

from researchflow_agents.errors import PROTOCOL_ERROR, SERVER_UNREACHABLE, AgentError

#: A URL of a streamable HTTP endpoint, a command to start, or a server in this process.
Server: TypeAlias = str | StdioServerParameters | MCPServer[Any]

CONNECT_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 10.0
#: Above the 50 s after which the server itself gives up on a call.
CALL_TIMEOUT_S = 90.0
CALLS_WAITING_MAX = 16

_Call: TypeAlias = tuple[str, dict[str, Any], "asyncio.Future[CallToolResult]"]
_AWAY = (CONNECTION_CLOSED, REQUEST_TIMEOUT)


class Session:
    """Calls go one after the other; after a failure the session is over: open another one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._calls: asyncio.Queue[_Call | None] = asyncio.Queue(CALLS_WAITING_MAX)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve())

    @classmethod
    async def open(cls, server: Server) -> Session:
        """A session that has greeted the server; AgentError `server_unreachable`."""
        session = cls(server)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.wait(
                    (session._opened, session._task), return_when=asyncio.FIRST_COMPLETED
                )
        except TimeoutError as error:
            await session.close()
            raise unreachable(server) from error
        except asyncio.CancelledError:
            session._task.cancel()
            raise
        if not session._opened.done():
            raise unreachable(server) from session._task.exception()
        return session

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """What the tool answered, a failure included; AgentError when it could not be asked."""
        answer: asyncio.Future[CallToolResult] = asyncio.get_running_loop().create_future()
        await self._calls.put((tool, arguments, answer))
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise unreachable(self._server) from _cause(self._task)
        try:
            return answer.result()
        except MCPError as error:
            if error.error.code in _AWAY:
                raise unreachable(self._server) from error
            raise _refused(tool) from error

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return not self._task.done()

    async def close(self) -> None:
        """Ends the session; a server that was started for it ends too."""
        if not self._task.done() and not self._calls.full():
            self._calls.put_nowait(None)
            await asyncio.wait((self._task,), timeout=CLOSE_TIMEOUT_S)
        self._task.cancel()
        await asyncio.wait((self._task,))
        _cause(self._task)

    async def _serve(self) -> None:
        async with Client(self._server, read_timeout_seconds=CALL_TIMEOUT_S) as client:
            self._opened.set_result(None)
            while (request := await self._calls.get()) is not None:
                tool, arguments, answer = request
                try:
                    result = await client.call_tool(tool, arguments)
                except MCPError as error:
                    _settle(answer, error)
                else:
                    _settle(answer, result)


def _settle(answer: asyncio.Future[CallToolResult], outcome: CallToolResult | MCPError) -> None:
    """Gives the outcome to a caller who may have left."""
    if answer.done():
        return
    if isinstance(outcome, MCPError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _cause(task: asyncio.Task[None]) -> BaseException | None:
    """What ended the session; None when it was cancelled or ended by itself."""
    return None if task.cancelled() else task.exception()


def unreachable(server: Server) -> AgentError:
    """The error of a server that does not answer."""
    return AgentError.of(
        SERVER_UNREACHABLE,
        f'the MCP server "{_name(server)}" does not answer',
        hint="start it with `researchflow serve --http`, or correct the address",
        retryable=True,
    )


def _refused(tool: str) -> AgentError:
    return AgentError.of(
        PROTOCOL_ERROR,
        f'the server does not take calls of "{tool}"',
        hint="check that the address is a ResearchFlow server of this version",
    )


def _name(server: Server) -> str:
    if isinstance(server, StdioServerParameters):
        return server.command
    return server if isinstance(server, str) else server.name
