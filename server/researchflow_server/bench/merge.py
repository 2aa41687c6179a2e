"""What merging the speed layer adds to a query: live minus anchored, at the median."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.progress import Progress

from researchflow_runners.query.model import Aggregate, AllOf, Compare, Filter, Query
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.speed.change import Change
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import CONDITIONS, PATIENTS, Ward

WAITING = 1_000
CALLS = 300
ADDED_MS_MAX = 1.0
VIEW = "observation_labs"
HBA1C, GLUCOSE = "4548-4", "2345-7"


async def merge_cost(ward: Ward, bar: Progress) -> list[Figure]:
    """The added milliseconds of a point query and of a cohort count."""
    await ward.runtime.refresher.refresh()
    changed = _laboratory()
    await _make_wait(ward, changed, bar)
    patient = str(changed[0]["subject"]["reference"]).removeprefix("Patient/")
    rows = await _rows(ward)
    data = f"{rows:,} rows in {VIEW}, {WAITING:,} changes waiting"
    point = Query(view=VIEW, where=Compare(column="patient_id", op="eq", value=patient))
    figures: list[Figure] = []
    for name, query, bound in (
        ("point query", point, ADDED_MS_MAX),
        ("cohort count", _above(HBA1C, 8), ADDED_MS_MAX),
        ("wide cohort count", _above(GLUCOSE, 125), None),
    ):
        live_ms, anchored_ms, matched = await _paired(ward, query, bar, name)
        added = median(live_ms) - median(anchored_ms)
        told = f"{data}, {matched:,} match"
        figures += [
            Figure(f"{name}, batch alone, p50", median(anchored_ms), "ms", CALLS, told),
            Figure(f"{name}, merged, p50", median(live_ms), "ms", CALLS, told),
            Figure(f"{name}, merged minus batch, p50", added, "ms", CALLS, told, bound),
        ]
    return figures


def _above(code: str, value: float) -> Query:
    """How many patients have a result of this code above the value, and how many results."""
    high: list[Filter] = [
        Compare(column="code", op="eq", value=code),
        Compare(column="value_quantity", op="gt", value=value),
    ]
    counts = [Aggregate(fn="count"), Aggregate(fn="count_distinct", column="patient_id")]
    return Query(view=VIEW, where=AllOf(all_of=high), aggregates=counts)


async def _rows(ward: Ward) -> int:
    query = Query(view=VIEW, aggregates=[Aggregate(fn="count")], freshness="anchored")
    answer = await ward.runtime.hybrid.query(query)
    return int(answer.rows[0][0])


def _laboratory() -> list[dict[str, Any]]:
    """Every so many of the observations, so that the changes spread over all patients."""
    observations = [
        one
        for one in hospital(patients=PATIENTS, conditions=CONDITIONS)
        if one["resourceType"] == "Observation"
    ]
    return observations[:: len(observations) // WAITING][:WAITING]


async def _make_wait(ward: Ward, changed: Sequence[dict[str, Any]], bar: Progress) -> None:
    task = bar.add_task(f"inserting {WAITING:,} changes", total=1)
    changes = [Change(resource=one) for one in changed]
    outcomes = await ward.runtime.writer.apply(changes, provenance="bench")
    assert all(one.outcome == "stored" for one in outcomes)
    bar.advance(task)


async def _paired(
    ward: Ward, query: Query, bar: Progress, name: str
) -> tuple[list[float], list[float], int]:
    """Milliseconds of both freshnesses, taken in turns so that noise falls on both, and how many
    rows matched."""
    task = bar.add_task(f"asking, {name}", total=CALLS)
    anchored = query.model_copy(update={"freshness": "anchored"})
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(CALLS + CALLS // 10):
        for which, asked in enumerate((query, anchored)):
            began_s = time.perf_counter()
            answer = await ward.runtime.hybrid.query(asked)
            if number >= CALLS // 10:
                times[which].append((time.perf_counter() - began_s) * 1000)
        bar.advance(task)
        await asyncio.sleep(0)
    matched = int(answer.rows[0][0]) if query.aggregates else answer.row_count
    return *times, matched
