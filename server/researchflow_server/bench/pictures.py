"""How long a picture takes: the call of the tool, its question included, once the renderer runs."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import Progress

from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.bench.ward import Ward
from researchflow_server.contract import DrawInput
from researchflow_server.tools.draw import run
from researchflow_server.tools.spec import Call

RUNS = 25
PICTURE_MS_MAX = 300.0
BARS: dict[str, Any] = {
    "chart": "bar",
    "query": {
        "view": "patient_simple",
        "group_by": ["gender"],
        "aggregates": [{"fn": "count"}],
    },
    "x": "gender",
    "y": "count",
}
HISTOGRAM: dict[str, Any] = {
    "chart": "histogram",
    "query": {
        "view": "observation_labs",
        "where": {"column": "code", "op": "eq", "value": "4548-4"},
    },
    "x": "value_quantity",
}


async def picture_time(ward: Ward, bar: Progress) -> list[Figure]:
    """The first picture, which starts the renderer, then p50 of the same one and of a histogram of
    one laboratory test's values; milliseconds."""
    await ward.runtime.refresher.refresh()
    task = bar.add_task("drawing", total=2 * RUNS + 2)

    async def timed(asked: dict[str, Any]) -> float:
        began_s = time.perf_counter()
        await run(_call(ward), DrawInput.model_validate(asked))
        bar.advance(task)
        return (time.perf_counter() - began_s) * 1000

    first_ms = await timed(BARS)
    bars_ms = [await timed(BARS) for _run in range(RUNS)]
    histograms_ms = [await timed(HISTOGRAM) for _run in range(RUNS)]
    labs = await ward.value("SELECT count(*) FROM sqlonfhir.observation_labs")
    data = ward.data
    return [
        Figure("the first picture, which starts the renderer", first_ms, "ms", 1, data),
        Figure("a bar chart, p50", percentile(bars_ms, 50), "ms", RUNS, data, PICTURE_MS_MAX),
        Figure("a histogram, p50", percentile(histograms_ms, 50), "ms", RUNS, f"{labs:,} values"),
    ]


def _call(ward: Ward) -> Call:
    async def unheard(_done: float, _total: float, _message: str) -> None:
        return None

    return Call(ward.runtime, unheard, ward.runtime.settings.result_bytes_max)
