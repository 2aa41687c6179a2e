"""Payloads as MCP results: the same compact JSON as text and as structured content.

Clients differ in which of the two their model sees, so both carry all of it.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
from mcp_types import CallToolResult, TextContent

from researchflow_runners.errors import ResearchFlowError


def dumped(payload: Any) -> bytes:
    """Compact JSON; decimals keep every digit as text."""
    return orjson.dumps(payload, default=_json_value)


def plain(payload: Any) -> Any:
    """The payload in JSON's own types, equal to what `dumped` writes."""
    if isinstance(payload, dict):
        return {str(name): plain(value) for name, value in payload.items()}
    if isinstance(payload, list | tuple):
        return [plain(value) for value in payload]
    if payload is None or isinstance(payload, str | int | float | bool):
        return payload
    return _json_value(payload)


def success(payload: dict[str, Any]) -> CallToolResult:
    """The result of a call that did its job."""
    ready = plain(payload)
    return CallToolResult(content=[_text(ready)], structured_content=ready)


def failure(error: ResearchFlowError) -> CallToolResult:
    """The result of a call that did not: `{"error": {...}}`."""
    ready = {"error": error.as_dict()}
    return CallToolResult(content=[_text(ready)], structured_content=ready, is_error=True)


def _text(ready: Any) -> TextContent:
    return TextContent(type="text", text=dumped(ready).decode())


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"no JSON form for {type(value).__name__}")
