"""The body of a request: bounded, JSON, its numbers as they were written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import anyio
import orjson
from starlette.requests import Request

from researchflow_runners.source.resource import BadResource, parse_json
from researchflow_server.operations.outcome import FHIR_JSON, OperationError

BODY_BYTES_MAX = 8 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
JSON_TYPES = (FHIR_JSON, "application/json")


async def read_body(request: Request) -> dict[str, Any] | None:
    """The JSON object in the body; None for a request without one.

    OperationError: `body_too_large` (413), `body_timeout` (408), `media_type_unsupported` (415),
    `body_invalid` (400).
    """
    raw = await _read(request)
    if not raw:
        return None
    _check_type(request.headers.get("content-type", ""))
    try:
        body = await anyio.to_thread.run_sync(parse_json, raw)
    except BadResource as error:
        raise _invalid(f'the body is not JSON that is taken: "{error.code}"') from error
    if not isinstance(body, dict):
        raise _invalid("the body is not a JSON object")
    return body


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """A part of a body in Python's own types; decimals keep the digits they are written with."""
    found: dict[str, Any] = json.loads(orjson.dumps(value), parse_float=Decimal)
    return found


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                parts.append(part)
    except TimeoutError as error:
        raise _too_slow() from error
    return b"".join(parts)


def _check_type(header: str) -> None:
    name, *settings = (part.strip().lower() for part in header.split(";"))
    charset = next((one[8:].strip('"') for one in settings if one.startswith("charset=")), "utf-8")
    if name in JSON_TYPES and charset == "utf-8":
        return
    raise OperationError(
        "the body is of a media type that is not supported",
        status=415,
        issue="not-supported",
        code="media_type_unsupported",
        field="Content-Type",
        allowed=JSON_TYPES,
        hint="send JSON in UTF-8 as one of the allowed media types",
    )


def _too_large() -> OperationError:
    return OperationError(
        f"the body has more than {BODY_BYTES_MAX} bytes",
        status=413,
        issue="too-long",
        code="body_too_large",
        hint="send fewer resources, or load them and run over what is stored",
    )


def _too_slow() -> OperationError:
    return OperationError(
        f"the body did not arrive within {BODY_TIMEOUT_S:g} s",
        status=408,
        issue="timeout",
        code="body_timeout",
        hint="send it again",
    )


def _invalid(message: str) -> OperationError:
    return OperationError(
        message,
        status=400,
        issue="structure",
        code="body_invalid",
        hint="send one JSON object: a Parameters resource or a ViewDefinition",
    )
