"""Latency and outcome of every message, on the SDK's middleware.

The SDK marks its middleware as provisional; this is the only module of ours built on it. It sees
both protocol eras and the wire form of results, so nothing else needs to measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

TOOL_CALL = "tools/call"
INITIALIZED = "notifications/initialized"
#: A stream that stands for as long as its client likes: no latency.
LISTEN = "subscriptions/listen"
#: Label values come from closed sets; anything else that a client sends becomes this.
OTHER = "other"
METHODS = frozenset(
    {
        "completion/complete", "initialize", "logging/setLevel", "notifications/cancelled",
        INITIALIZED, "notifications/progress", "ping", "prompts/get",
        "prompts/list", "resources/list", "resources/read", "resources/subscribe",
        "resources/templates/list", "resources/unsubscribe", "server/discover", "tools/list",
        TOOL_CALL,
    }
)  # fmt: skip
VERSIONS = frozenset({*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS})

#: method, tool (empty unless a call), error (empty when well), transport, protocol, seconds.
Observe = Callable[[str, str, str, str, str, float], None]


class LatencyMiddleware:
    """Reports each message once, when it has been answered, refused or cancelled."""

    def __init__(self, observe: Observe, tool_names: tuple[str, ...]) -> None:
        self._observe = observe
        self._tool_names = frozenset(tool_names)

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """The result of the rest of the chain, unchanged."""
        if ctx.method == LISTEN:
            return await call_next(ctx)
        started = time.perf_counter()
        error = "cancelled"
        try:
            result = await call_next(ctx)
            error = _error_of(result)
            return result
        except MCPError as refused:
            error = str(refused.error.code)
            raise
        except ValueError:
            error = "invalid_params"
            raise
        finally:
            self._report(ctx, error, time.perf_counter() - started)

    def _report(self, ctx: ServerRequestContext[Any, Any], error: str, seconds: float) -> None:
        method = ctx.method if ctx.method in METHODS else OTHER
        tool = ""
        if method == TOOL_CALL:
            asked = (ctx.params or {}).get("name")
            tool = asked if asked in self._tool_names else OTHER
        version = ctx.protocol_version if ctx.protocol_version in VERSIONS else OTHER
        transport = "pipe" if ctx.request is None else "tcp"
        self._observe(method, tool, error, transport, version, seconds)


class ArrivalMiddleware:
    """Hands over each connection of the handshake era once its client is ready to hear."""

    def __init__(self, arrived: Callable[[Connection], None]) -> None:
        self._arrived = arrived

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """The result of the rest of the chain, unchanged."""
        result = await call_next(ctx)
        if ctx.method == INITIALIZED:
            self._arrived(ctx.session._connection)
        return result


def _error_of(result: HandlerResult) -> str:
    """The error code that a result carries, empty for success."""
    if isinstance(result, CallToolResult):
        return _code(result.structured_content) if result.is_error else ""
    if isinstance(result, BaseModel) or result is None:
        return ""
    return _code(result.get("structuredContent")) if result.get("isError") else ""


def _code(content: Any) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else "tool_error"
