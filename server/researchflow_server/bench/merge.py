"""What merging the speed layer adds to a query: the median of live minus anchored, call by call.

A live call and an anchored one follow each other, so both meet the same load of the machine; the
difference of the two medians would take the one's bad moments for the other's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from statistics import median
from typing import Any

from rich.progress import Progress

from researchflow_runners.query.group_model import Aggregate
from researchflow_runners.query.model import AllOf, Compare, Filter, Query
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.speed.change import Change
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import CONDITIONS, PATIENTS, Ward

CALLS = 300
VIEW = "observation_labs"
HBA1C, GLUCOSE = "4548-4", "2345-7"
WRITTEN_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class _Aim:
    """So many changes waiting, and what merging them may add: milliseconds, or a percentage of
    what the cohort count takes on the batch alone."""

    waiting: int
    point_ms_max: float
    count_ms_max: float | None = None
    count_percent_max: float | None = None


AIMS = (
    _Aim(1_000, 1.0, count_ms_max=1.0),
    _Aim(10_000, 2.0, count_percent_max=10.0),
)


async def merge_cost(ward: Ward, bar: Progress) -> list[Figure]:
    """The added milliseconds of a point query and of cohort counts, with ever more waiting."""
    await ward.runtime.refresher.refresh()
    changed = _laboratory(AIMS[-1].waiting)
    figures: list[Figure] = []
    written = 0
    for aim in AIMS:
        await _make_wait(ward, changed[written : aim.waiting], bar)
        written = aim.waiting
        figures += await _measure(ward, aim, changed[0], bar)
    return figures


async def _measure(ward: Ward, aim: _Aim, first: dict[str, Any], bar: Progress) -> list[Figure]:
    data = f"{await _rows(ward):,} rows in {VIEW}, {aim.waiting:,} changes waiting"
    patient = str(first["subject"]["reference"]).removeprefix("Patient/")
    point = Query(view=VIEW, where=Compare(column="patient_id", op="eq", value=patient))
    figures: list[Figure] = []
    for name, query, ms_max, percent_max in (
        ("point query", point, aim.point_ms_max, None),
        ("cohort count", _above(HBA1C, 8), aim.count_ms_max, aim.count_percent_max),
        ("wide cohort count", _above(GLUCOSE, 125), None, None),
    ):
        live_ms, anchored_ms, matched = await _paired(ward, query, bar, name)
        alone = median(anchored_ms)
        added = median(map(sub, live_ms, anchored_ms))
        told = f"{data}, {matched:,} match"
        figures += [
            Figure(f"{name}, batch alone, p50", alone, "ms", CALLS, told),
            Figure(f"{name}, merged, p50", median(live_ms), "ms", CALLS, told),
            Figure(f"{name}, merged minus batch, p50", added, "ms", CALLS, told, ms_max),
            Figure(
                f"{name}, merging adds, p50", added / alone * 100, "%", CALLS, told, percent_max
            ),
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


def _laboratory(count: int) -> list[dict[str, Any]]:
    """So many of the observations; the first thousand, too, are spread over all patients."""
    observations = [
        one
        for one in hospital(patients=PATIENTS, conditions=CONDITIONS)
        if one["resourceType"] == "Observation"
    ]
    spread = observations[:: len(observations) // count][:count]
    assert len(spread) == count
    step = count // WRITTEN_AT_ONCE
    return [one for first in range(step) for one in spread[first::step]]


async def _make_wait(ward: Ward, changed: Sequence[dict[str, Any]], bar: Progress) -> None:
    task = bar.add_task("inserting changes", total=len(changed))
    for first in range(0, len(changed), WRITTEN_AT_ONCE):
        changes = [Change(resource=one) for one in changed[first : first + WRITTEN_AT_ONCE]]
        outcomes = await ward.runtime.writer.apply(changes, provenance="bench")
        assert all(one.outcome == "stored" for one in outcomes)
        bar.advance(task, len(changes))


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
