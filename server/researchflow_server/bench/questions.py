"""What our own part of an answer costs: beside the bare SQL, and for what it checks besides.

Both of a pair follow each other, so that they meet the same load of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from operator import sub
from statistics import median
from typing import Any

from rich.progress import Progress

from researchflow_runners.hybrid.looks import Looks
from researchflow_runners.query.model import Query, SqlQuery
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import Ward

CALLS = 200
WARM_UP_CALLS = 20
SQL_MS_MAX = 2.0
CHECK_MS_MAX = 0.3
TEXT = """
SELECT patient_id, count(*) AS n, max(value_quantity) AS highest FROM {}observation_labs
WHERE code = '4548-4' GROUP BY patient_id HAVING max(value_quantity) > 9 ORDER BY patient_id
"""
_DIABETIC = {
    "view": "condition_diagnoses",
    "where": {"column": "icd10_code", "op": "starts_with", "value": "E11"},
}
#: Rows are found, and two branches could match nothing without a trace of it in them.
BRANCHED = {
    "view": "patient_simple",
    "where": {
        "all_of": [
            {"column": "gender", "op": "eq", "value": "female"},
            {"column": "id", "op": "not_in", "query": _DIABETIC},
            {
                "any_of": [
                    {"column": "id", "query": {"view": "medication_requests"}},
                    {"column": "id", "query": {**_DIABETIC, "view": "condition_simple"}},
                ]
            },
        ]
    },
    "aggregates": [{"fn": "count"}],
}

Timed = Callable[[], Awaitable[Any]]


async def question_cost(ward: Ward, bar: Progress) -> list[Figure]:
    """The added milliseconds of query_sql, and of the check for filters that match nothing."""
    await ward.runtime.refresher.refresh()
    return [*await _sql(ward, bar), *await _zero_check(ward, bar)]


async def _sql(ward: Ward, bar: Progress) -> list[Figure]:
    hybrid = ward.runtime.hybrid
    asked = SqlQuery(sql=TEXT.format(""), limit=1_000, freshness="anchored")
    async with ward.runtime.stores.warehouse.session() as session:
        ours_ms, bare_ms = await _paired(
            lambda: hybrid.query_sql(asked),
            lambda: session.fetch(TEXT.format("sqlonfhir.")),
            bar,
            "query_sql",
        )
    rows = (await hybrid.query_sql(asked)).row_count
    told = f"{ward.data}, {rows:,} rows"
    added = median(map(sub, ours_ms, bare_ms))
    return [
        Figure("the same SQL, bare connection, p50", median(bare_ms), "ms", CALLS, told),
        Figure("query_sql minus the bare SQL, p50", added, "ms", CALLS, told, SQL_MS_MAX),
    ]


async def _zero_check(ward: Ward, bar: Progress) -> list[Figure]:
    views = ward.runtime.hybrid.materialized
    asked = Query.model_validate(BRANCHED)
    checking, unchecked = views.looks, _Unchecked()

    async def ask(looks: Looks) -> None:
        views.looks = looks
        await ward.runtime.hybrid.query(asked)

    try:
        ours_ms, bare_ms = await _paired(
            lambda: ask(checking), lambda: ask(unchecked), bar, "zero check"
        )
    finally:
        views.looks = checking
    added = median(map(sub, ours_ms, bare_ms))
    told = f"{ward.data}, a count over three views"
    name = "the looks beside an answer, rows found, p50"
    return [
        Figure("a cohort count without it, p50", median(bare_ms), "ms", CALLS, told),
        Figure(name, added, "ms", CALLS, told, CHECK_MS_MAX),
    ]


class _Unchecked(Looks):
    """Looks at nothing."""

    async def warnings(self, *_args: Any, **_named: Any) -> tuple[str, ...]:
        return ()


async def _paired(
    one: Timed, other: Timed, bar: Progress, name: str
) -> tuple[list[float], list[float]]:
    """Milliseconds of both, taken in turns."""
    task = bar.add_task(f"asking, {name}", total=CALLS)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP_CALLS + CALLS):
        for which, call in enumerate((one, other)):
            began_s = time.perf_counter()
            await call()
            if number >= WARM_UP_CALLS:
                times[which].append((time.perf_counter() - began_s) * 1000)
        bar.advance(task, number >= WARM_UP_CALLS)
    return times
