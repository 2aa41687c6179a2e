"""Where a tool call enters: arguments checked, work done, every outcome a well-formed result."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel

from researchflow_runners.errors import QueryError, ResearchFlowError, StoreError
from researchflow_runners.naming import nearest
from researchflow_runners.store.database import UNDO_TIMEOUT_S
from researchflow_server.fault import internal_error, place_of, sole
from researchflow_server.runtime import Runtime
from researchflow_server.tools.arguments import ECHO_MAX, parse_arguments
from researchflow_server.tools.result import Illustrated, failure, success
from researchflow_server.tools.spec import Call, ToolSpec

logger = logging.getLogger(__name__)

#: Below the shortest time after which known clients give up on a call.
CALL_TIMEOUT_S = 50.0
REPORT_HINT = "report it with the time of the call; the server's log names the place"


async def call(
    spec: ToolSpec[Any],
    runtime: Runtime,
    arguments: dict[str, Any],
    context: Context[Any, Any],
) -> CallToolResult:
    """The result of one call; never raises but for cancellation."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S - UNDO_TIMEOUT_S):
            return success(await _run(spec, runtime, arguments, context))
    except ResearchFlowError as error:
        return failure(error)
    except TimeoutError:
        return failure(_timed_out(spec.name))
    except Exception as error:  # noqa: BLE001  the outermost edge
        known = sole(error)
        if known is not None:
            return failure(known)
        # Neither the text nor the traceback's values: both may carry a patient's data.
        logger.error("tool %s failed: %s", spec.name, place_of(error))
        return failure(internal_error(spec.name, REPORT_HINT))


async def _run(
    spec: ToolSpec[Any], runtime: Runtime, arguments: dict[str, Any], context: Context[Any, Any]
) -> dict[str, Any] | Illustrated:
    parsed: BaseModel = parse_arguments(spec.arguments, arguments, tool=spec.name)

    async def progress(done: float, total: float, message: str) -> None:
        await context.report_progress(done, total, message)

    bytes_max = runtime.settings.result_bytes_max
    return await spec.run(Call(runtime, progress, bytes_max), parsed)


def unknown_tool(name: str, known: tuple[str, ...]) -> CallToolResult:
    """The result of calling a tool that does not exist."""
    guess = nearest(name, known)
    return failure(
        QueryError(
            f'there is no tool "{name[:ECHO_MAX]}"',
            code="unknown_tool",
            allowed=known,
            did_you_mean=guess,
            hint=f'call "{guess}"' if guess else "call one of the allowed tools",
        )
    )


def _timed_out(name: str) -> StoreError:
    return StoreError(
        f'"{name}" took longer than {CALL_TIMEOUT_S:.0f} s and was stopped',
        code="call_timeout",
        hint="narrow the filter or lower the limit, then try again",
    )
