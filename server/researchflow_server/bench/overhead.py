"""What the protocol adds: a tool call over HTTP, minus what the runner itself took for it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp import Client
from rich.progress import Progress

from researchflow_server import contract
from researchflow_server.bench.bare import TOOL, bare_process
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.demo.stage import server_process

WARM_UP_CALLS = 50
CALLS = 500
#: Above an empty tool of the bare SDK, which is the floor.
ADDED_MS_MAX = 3.0
QUESTION: dict[str, Any] = {
    "view": "patient_simple",
    "where": {"column": "gender", "op": "eq", "value": "female"},
    "limit": 10,
    "detail": "full",
}


async def tool_overhead(ward: Ward, bar: Progress) -> list[Figure]:
    """p50 and p99 of one caller's calls to a server process, in milliseconds.

    Every call is followed by one to a bare server of the SDK, so that both see the same machine:
    its p50 is what the protocol, the client and the machine cost before anything of ours.
    """
    await ward.runtime.refresher.refresh()
    async with (
        server_process(ward.runtime.settings) as server,
        bare_process() as bare_url,
        Client(server.url) as client,
        Client(bare_url) as bare,
    ):
        with _light_heap():
            overheads_ms, floors_ms = await _measure(client, bare, bar)
    data = f"{ward.data}, 10 rows an answer"
    above_ms = percentile(overheads_ms, 50) - percentile(floors_ms, 50)
    name = "tool call over HTTP minus the runner's time"
    return [
        Figure(f"{name}, p50", percentile(overheads_ms, 50), "ms", CALLS, data),
        Figure(f"{name}, p99", percentile(overheads_ms, 99), "ms", CALLS, data),
        Figure("an empty tool of the bare SDK, p50", percentile(floors_ms, 50), "ms", CALLS, ""),
        Figure("what ours adds to the bare SDK, p50", above_ms, "ms", CALLS, data, ADDED_MS_MAX),
    ]


@contextmanager
def _light_heap() -> Iterator[None]:
    """Spares the collector the hospital that this process made: no client carries one."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _measure(client: Client, bare: Client, bar: Progress) -> tuple[list[float], list[float]]:
    """Overheads of our calls and durations of the bare ones, taken in turns."""
    task = bar.add_task("calling query_view", total=WARM_UP_CALLS + CALLS)
    overheads_ms, floors_ms = [], []
    for _call in range(WARM_UP_CALLS + CALLS):
        took_ms, result = await _timed(client, contract.QUERY_VIEW, QUESTION)
        assert result.structured_content is not None
        overheads_ms.append(took_ms - float(result.structured_content["took_ms"]))
        floors_ms.append((await _timed(bare, TOOL, {}))[0])
        bar.advance(task)
    return overheads_ms[WARM_UP_CALLS:], floors_ms[WARM_UP_CALLS:]


async def _timed(client: Client, tool: str, arguments: dict[str, Any]) -> tuple[float, Any]:
    began_s = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    return (time.perf_counter() - began_s) * 1000, result
