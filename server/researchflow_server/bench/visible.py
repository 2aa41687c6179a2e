"""From an insert's call to the first answer that shows it, over MCP and HTTP."""

from __future__ import annotations

import time

from mcp import Client
from rich.progress import Progress

from researchflow_server import contract
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.demo.stage import server_process

INSERTS = 200
P50_MS_MAX = 20.0
P99_MS_MAX = 200.0


async def insert_to_visible(ward: Ward, bar: Progress) -> list[Figure]:
    """p50 and p99 of insert and query together, one caller."""
    await ward.runtime.refresher.refresh()
    task = bar.add_task("inserting and looking", total=INSERTS)
    times_ms = []
    async with server_process(ward.runtime.settings) as server, Client(server.url) as client:
        for number in range(INSERTS):
            times_ms.append(await _seen_after_ms(client, f"bench-{number}"))
            bar.advance(task)
    return [
        Figure(
            f"insert to visible over MCP, p{percent}",
            percentile(times_ms, percent),
            "ms",
            INSERTS,
            ward.data,
            bound,
        )
        for percent, bound in ((50, P50_MS_MAX), (99, P99_MS_MAX))
    ]


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
