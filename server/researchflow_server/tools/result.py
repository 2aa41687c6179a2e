"""Payloads as MCP results: the same compact JSON as text and as structured content.

Clients differ in which of the two their model sees, so both carry all of it.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from mcp_types import CallToolResult, ImageContent, TextContent

from researchflow_runners.errors import ResearchFlowError

#: A message repeats what the caller sent, and that may be megabytes.
ERROR_TEXT_MAX = 600
#: Where a result carries the specification of its picture, for a page that draws it itself.
SPECIFICATION_KEY = "researchflow/vega-lite"


@dataclass(frozen=True, slots=True)
class Illustrated:
    """A payload with its picture, a PNG, and the Vega-Lite specification that made it."""

    payload: dict[str, Any]
    png: bytes
    specification: dict[str, Any]


def dumped(payload: Any) -> bytes:
    """Compact JSON; decimals keep every digit as text, instants are ISO 8601, bytes base64."""
    return orjson.dumps(payload, default=_json_value)


def success(payload: dict[str, Any] | Illustrated) -> CallToolResult:
    """The result of a call that did its job."""
    if isinstance(payload, Illustrated):
        return _illustrated(payload)
    return _result(payload, is_error=False)


def _illustrated(found: Illustrated) -> CallToolResult:
    """The payload as of any other call, then the picture."""
    result = _result(found.payload, is_error=False)
    image = ImageContent(type="image", data=b64encode(found.png).decode(), mime_type="image/png")
    return result.model_copy(
        update={
            "content": [*result.content, image],
            "meta": {SPECIFICATION_KEY: found.specification},
        }
    )


def failure(error: ResearchFlowError) -> CallToolResult:
    """The result of a call that did not: `{"error": {...}}`."""
    return _result({"error": error_parts(error)}, is_error=True)


def error_parts(error: ResearchFlowError) -> dict[str, Any]:
    """The error as callers see it, each of its texts bounded."""
    return {name: _shown(part) for name, part in error.as_dict().items()}


def unicode_text(text: str) -> str:
    """The text with a replacement for what no encoding holds: lone surrogates."""
    return text.encode(errors="replace").decode()


def _shown(part: Any) -> Any:
    """A part of an error: what it repeats of a call may be long and is no text to rely on."""
    if not isinstance(part, str):
        return part
    shown = unicode_text(part)
    return shown if len(shown) <= ERROR_TEXT_MAX else f"{shown[:ERROR_TEXT_MAX]}…"


def _result(payload: dict[str, Any], *, is_error: bool) -> CallToolResult:
    text = dumped(payload)
    return CallToolResult(
        content=[TextContent(type="text", text=text.decode())],
        structured_content=orjson.loads(text),
        is_error=is_error,
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"no JSON form for {type(value).__name__}")
