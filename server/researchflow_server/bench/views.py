"""Each view as a SELECT against the parse floor, on every PostgreSQL that the wheel carries.

The floor is the least that any reading of JSON text in PostgreSQL costs: `count(text::jsonb)`
detoasts and parses each text once and keeps nothing. count() needs to know whether its argument
is null, so the cast runs for every row; no statement of ours could pass over it. The view is
measured the same way: `count()` of each of its columns, companions of dates included, so that all
are computed and none is sent anywhere. Both run on one core, by turns, so that noise falls on both,
and the figure is the ratio of the best times. A view's time includes its planning.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.resources import files
from statistics import median
from typing import Any

from rich.progress import Progress, TaskID

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.sql import Sql, compose, ident, join
from researchflow_runners.views import shipped_views
from researchflow_server.bench.corpus import RESOURCES, Corpus, corpus
from researchflow_server.bench.figure import Figure
from researchflow_server.embedded.postgres import INSTALLATIONS

RUNS = 5
PLANS = 5
FLOOR_RATIO_MAX = 2.0
PLAN_MS_MAX = 5.0
COMPILE_MS_MAX = 20.0
_PARSE = "SELECT count(text::jsonb) FROM {}"
_PLAN = "EXPLAIN (SUMMARY, FORMAT JSON) {}"


async def view_speed(bar: Progress, *, count: int = RESOURCES, runs: int = RUNS) -> list[Figure]:
    """The ratio of each view to the floor, and the slowest planning and compilation."""
    definitions = measured_definitions()
    figures = [_compilation(definitions)]
    views = [compile_view(one) for one in definitions]
    for major in sorted(INSTALLATIONS):
        task = bar.add_task(f"views on PostgreSQL {major}", total=len(views) + 1)
        async with corpus(major, [one.resource for one in views], count=count) as filled:
            bar.advance(task)
            figures += await _ratios(filled, views, runs, bar, task)
            figures.append(await _planning(filled, views))
    return figures


def measured_definitions() -> list[dict[str, Any]]:
    """The shipped ViewDefinitions, and one of nested iterations, branches and a walk."""
    deep = files(__package__).joinpath("deep_view.json").read_bytes()
    return [*shipped_views(), json.loads(deep)]


def consumed(view: CompiledView, table: Sql) -> Sql:
    """One row that says how many values each column of the view has."""
    names = [name for column in view.columns for name, _type in column.physical]
    counts = [compose("count({})", ident(name)) for name in ("_res_id", *names)]
    return compose("SELECT {} FROM ({}) AS v", join(", ", counts), view.select(table))


async def seconds_of(filled: Corpus, statement: Sql) -> tuple[float, int]:
    """How long the statement takes, and its first value."""
    began_s = time.perf_counter()
    first = await filled.session.fetchval(statement)
    return time.perf_counter() - began_s, int(first)


async def _ratios(
    filled: Corpus, views: Sequence[CompiledView], runs: int, bar: Progress, task: TaskID
) -> list[Figure]:
    figures = []
    for view in views:
        table = filled.table(view.resource)
        floor, select = compose(_PARSE, table), consumed(view, table)
        floors_s, selects_s = [], []
        # One more, since the first of each fills the caches.
        for _run in range(runs + 1):
            floors_s.append((await seconds_of(filled, floor))[0])
            took_s, rows = await seconds_of(filled, select)
            selects_s.append(took_s)
        name = f"{view.name} / parse, PostgreSQL {filled.major}"
        data = f"{filled.count:,} {view.resource}, {rows:,} rows"
        ratio = min(selects_s) / min(floors_s)
        figures.append(Figure(name, ratio, "ratio", runs, data, FLOOR_RATIO_MAX))
        bar.advance(task)
    return figures


async def _planning(filled: Corpus, views: Sequence[CompiledView]) -> Figure:
    """The planning time of the view that takes longest to plan."""
    slowest_ms, slowest = 0.0, ""
    for view in views:
        statement = compose(_PLAN, view.select(filled.table(view.resource)))
        times_ms = [
            json.loads(await filled.session.fetchval(statement))[0]["Planning Time"]
            for _plan in range(PLANS)
        ]
        slowest_ms, slowest = max((slowest_ms, slowest), (median(times_ms), view.name))
    name = f"slowest planning, PostgreSQL {filled.major}"
    return Figure(name, slowest_ms, "ms", PLANS, slowest, PLAN_MS_MAX)


def _compilation(definitions: Sequence[dict[str, Any]]) -> Figure:
    """The time of the definition that takes longest to compile."""
    slowest_ms, slowest = 0.0, ""
    for definition in definitions:
        times_ms = []
        for _run in range(PLANS):
            began_s = time.perf_counter()
            compile_view(definition)
            times_ms.append((time.perf_counter() - began_s) * 1000)
        slowest_ms, slowest = max((slowest_ms, slowest), (median(times_ms), definition["name"]))
    return Figure("slowest compilation", slowest_ms, "ms", PLANS, slowest, COMPILE_MS_MAX)
