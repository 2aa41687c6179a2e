"""From a commit in the source to the first answer that shows it, while changes keep arriving."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client
from rich.progress import Progress

from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.source.load import put_resource
from researchflow_runners.store.database import Database
from researchflow_server import contract
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.demo.stage import server_process

CHANGES = 100
ARRIVING_PER_S = 50
TIMEOUT_S = 30.0
P50_MS_MAX = 100.0
P99_MS_MAX = 1_000.0


async def commit_to_visible(ward: Ward, bar: Progress) -> list[Figure]:
    """p50 and p99 by outbox, one client that asks again and again."""
    source = ward.runtime.stores.source
    await install_outbox(source)
    await ward.runtime.refresher.refresh()
    task = bar.add_task("changing the source and looking", total=CHANGES)
    times_ms = []
    async with (
        server_process(ward.runtime.settings) as server,
        Client(server.url) as client,
        _arriving(source),
    ):
        await _seen_after_ms(source, client, "follow-first")
        for number in range(CHANGES):
            times_ms.append(await _seen_after_ms(source, client, f"follow-{number}"))
            bar.advance(task)
    name = f"commit in the source to visible over MCP, {ARRIVING_PER_S} changes/s arriving"
    return [
        Figure(f"{name}, p{percent}", percentile(times_ms, percent), "ms", CHANGES, ward.data, most)
        for percent, most in ((50, P50_MS_MAX), (99, P99_MS_MAX))
    ]


@asynccontextmanager
async def _arriving(source: Database) -> AsyncIterator[None]:
    """Other changes, one transaction each, until the block is left."""
    arriving = asyncio.create_task(_arrive(source))
    try:
        yield
    finally:
        if arriving.done():
            arriving.result()
        arriving.cancel()
        await asyncio.gather(arriving, return_exceptions=True)


async def _arrive(source: Database) -> None:
    clock = asyncio.get_running_loop()
    begun_at = clock.time()
    number = 0
    while True:
        number += 1
        await put_resource(source, _patient(f"arriving-{number % 500}", number))
        await asyncio.sleep(max(0.0, begun_at + number / ARRIVING_PER_S - clock.time()))


async def _seen_after_ms(source: Database, client: Client, patient_id: str) -> float:
    """From the commit's answer to the answer that shows it."""
    where = {"column": "id", "op": "eq", "value": patient_id}
    asked = {"view": "patient_simple", "where": where}
    await put_resource(source, _patient(patient_id, 0))
    began_s = time.perf_counter()
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = await client.call_tool(contract.QUERY_VIEW, asked)
            assert not found.is_error, found.structured_content
            assert found.structured_content is not None
            if found.structured_content["row_count"] == 1:
                return (time.perf_counter() - began_s) * 1000


def _patient(resource_id: str, number: int) -> dict[str, Any]:
    born = f"{1940 + number % 60}-01-01"
    return {"resourceType": "Patient", "id": resource_id, "gender": "other", "birthDate": born}
