"""What the protocol adds: a tool call over HTTP, minus what the runner itself took for it."""

from __future__ import annotations

import time

from mcp import Client
from rich.progress import Progress

from researchflow_server import contract
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.demo.stage import server_process

WARM_UP_CALLS = 50
CALLS = 500
OVERHEAD_MS_MAX = 3.0
QUESTION = {
    "view": "patient_simple",
    "where": {"column": "gender", "op": "eq", "value": "female"},
    "limit": 10,
}


async def tool_overhead(ward: Ward, bar: Progress) -> list[Figure]:
    """p50 and p99 of one caller's calls to a server process, in milliseconds."""
    await ward.runtime.refresher.refresh()
    async with server_process(ward.runtime.settings) as server, Client(server.url) as client:
        overheads_ms = await _measure(client, bar)
    data = f"{ward.data}, 10 rows an answer"
    return [
        Figure(
            "tool call over HTTP minus the runner's time, p50",
            percentile(overheads_ms, 50),
            "ms",
            CALLS,
            data,
            OVERHEAD_MS_MAX,
        ),
        Figure(
            "tool call over HTTP minus the runner's time, p99",
            percentile(overheads_ms, 99),
            "ms",
            CALLS,
            data,
        ),
    ]


async def _measure(client: Client, bar: Progress) -> list[float]:
    task = bar.add_task("calling query_view", total=WARM_UP_CALLS + CALLS)
    overheads_ms = []
    for _call in range(WARM_UP_CALLS + CALLS):
        began_s = time.perf_counter()
        result = await client.call_tool(contract.QUERY_VIEW, QUESTION)
        total_ms = (time.perf_counter() - began_s) * 1000
        assert result.structured_content is not None
        overheads_ms.append(total_ms - float(result.structured_content["took_ms"]))
        bar.advance(task)
    return overheads_ms[WARM_UP_CALLS:]
