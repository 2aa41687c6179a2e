"""From an insert's call to the first answer that shows it, over MCP and HTTP."""

from __future__ import annotations

import time
from operator import sub, truediv

from mcp import Client
from rich.progress import Progress

from researchflow_server import contract
from researchflow_server.bench.bare import TOOL, bare_process
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.demo.stage import server_process

INSERTS = 200
#: Above what two calls of an empty tool of the bare SDK take: insert and query are two calls.
ADDED_P50_MS_MAX = 10.0
P99_MS_MAX = 200.0


async def insert_to_visible(ward: Ward, bar: Progress) -> list[Figure]:
    """p50 and p99 of insert and query together, one caller, beside the floor of two bare calls."""
    await ward.runtime.refresher.refresh()
    task = bar.add_task("inserting and looking", total=INSERTS)
    times_ms, floors_ms = [], []
    async with (
        server_process(ward.runtime.settings) as server,
        bare_process() as bare_url,
        Client(server.url) as client,
        Client(bare_url) as bare,
    ):
        for number in range(INSERTS):
            times_ms.append(await _seen_after_ms(client, f"bench-{number}"))
            floors_ms.append(await _two_calls_ms(bare))
            bar.advance(task)
    name, data = "insert to visible over MCP", ward.data
    # Pair by pair, because the machine's bad moments fall on both of a pair.
    added_ms = percentile(list(map(sub, times_ms, floors_ms)), 50)
    ratio = percentile(list(map(truediv, times_ms, floors_ms)), 50)
    added = f"{name} minus two bare calls, p50"
    return [
        Figure("two calls of the bare SDK, p50", percentile(floors_ms, 50), "ms", INSERTS, ""),
        Figure(f"{name}, p50", percentile(times_ms, 50), "ms", INSERTS, data),
        Figure(added, added_ms, "ms", INSERTS, data, ADDED_P50_MS_MAX),
        Figure(f"{name} / two bare calls, p50", ratio, "ratio", INSERTS, data),
        Figure(f"{name}, p99", percentile(times_ms, 99), "ms", INSERTS, data, P99_MS_MAX),
    ]


async def _two_calls_ms(bare: Client) -> float:
    began_s = time.perf_counter()
    for _call in range(2):
        await bare.call_tool(TOOL, {})
    return (time.perf_counter() - began_s) * 1000


async def _seen_after_ms(client: Client, patient_id: str) -> float:
    resource = {"resourceType": "Patient", "id": patient_id, "gender": "female"}
    where = {"column": "id", "op": "eq", "value": patient_id}
    began_s = time.perf_counter()
    written = await client.call_tool(contract.CACHE_RESOURCES, {"resources": [resource]})
    asked = {"view": "patient_simple", "where": where}
    found = await client.call_tool(contract.QUERY_VIEW, asked)
    elapsed_ms = (time.perf_counter() - began_s) * 1000
    assert not written.is_error, written.structured_content
    assert found.structured_content is not None
    assert found.structured_content["row_count"] == 1
    return elapsed_ms
