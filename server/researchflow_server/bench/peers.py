"""Other engines of SQL on FHIR over the same resources, in the same run.

sqlonfhir evaluates in Python and gets resources that are parsed already; pysof evaluates in Rust
and gets a bundle as text. Ours reads texts from a table. Each figure says how many rows the engine
gives, and how many of them are ours.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from typing import Any, TypeAlias

import orjson
from anyio import to_thread
from rich.progress import Progress

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.sql import compose, ident, join, param
from researchflow_server.bench.corpus import RESOURCES, Corpus, corpus
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.views import consumed, measured_definitions, seconds_of
from researchflow_server.embedded.postgres import MAJOR_DEFAULT

RUNS = 3
SAMPLE = 2_000
PYTHON_TIMES_MIN = 40.0
RUST_TIMES_MIN = 10.0
_SAMPLE = "(SELECT * FROM {} WHERE res_id <= {})"

Row: TypeAlias = dict[str, Any]
#: Rows of a ViewDefinition over resources, and the seconds that they took.
Run: TypeAlias = Callable[[Mapping[str, Any], Sequence[Row]], tuple[list[Row], float]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another engine; `load` imports it."""

    name: str
    load: Callable[[], Run]
    sample: int
    times_min: float


async def against_peers(
    bar: Progress, *, count: int = RESOURCES, sample: int = SAMPLE
) -> list[Figure]:
    """How many times as many resources a second as the other engine ours reads."""
    views = [compile_view(one) for one in measured_definitions()]
    peers = (
        Peer("sqlonfhir", _python, sample, PYTHON_TIMES_MIN),
        Peer("pysof", _rust, sample * 10, RUST_TIMES_MIN),
    )
    figures: list[Figure] = []
    async with corpus(MAJOR_DEFAULT, [one.resource for one in views], count=count) as filled:
        rates = [await _rate(filled, view) for view in views]
        for peer in peers:
            task = bar.add_task(f"asking {peer.name}", total=len(views))
            try:
                run = peer.load()
            except (ImportError, OSError) as error:
                figures.append(_untold(f"any view / {peer.name}", "cannot be imported here", error))
                continue
            for view, rate in zip(views, rates, strict=True):
                figures.append(await _compared(filled, view, rate, peer, run))
                bar.advance(task)
    return figures


async def _rate(filled: Corpus, view: CompiledView) -> float:
    """Resources a second of ours, at best."""
    statement = consumed(view, filled.table(view.resource))
    return filled.count / min([(await seconds_of(filled, statement))[0] for _run in range(RUNS)])


async def _compared(
    filled: Corpus, view: CompiledView, rate: float, peer: Peer, run: Run
) -> Figure:
    name = f"{view.name} / {peer.name}"
    resources = filled.sample(view.resource, peer.sample)
    try:
        rows, seconds = await to_thread.run_sync(run, view.definition, resources)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        return _untold(name, "fails", error)
    theirs, ours = _counted(rows), await _own_rows(filled, view, len(resources))
    peer_rate = len(resources) / seconds
    data = (
        f"{rate:,.0f} against {peer_rate:,.0f} a second; of {len(resources):,} resources "
        f"{len(rows):,} rows, {(theirs & ours).total():,} as our {ours.total():,}"
    )
    return Figure(name, rate / peer_rate, "times", 1, data, at_least=peer.times_min)


def _untold(name: str, what: str, error: Exception) -> Figure:
    # A loader says after "(" where the file lies.
    reason = (str(error).splitlines() or [""])[0].partition(" (")[0]
    return Figure(name, None, "times", 0, f"{what}: {type(error).__name__}: {reason}")


async def _own_rows(filled: Corpus, view: CompiledView, sample: int) -> Counter[frozenset[Any]]:
    source = compose(_SAMPLE, filled.table(view.resource), param(sample, "bigint"))
    columns = join(", ", [ident(column.name) for column in view.columns])
    rows = await filled.session.fetch(
        compose("SELECT {} FROM ({}) AS v", columns, view.select(source))
    )
    return _counted([dict(row) for row in rows])


def _counted(rows: Sequence[Row]) -> Counter[frozenset[Any]]:
    return Counter(frozenset((name, _plain(value)) for name, value in row.items()) for row in rows)


def _plain(value: Any) -> object:
    """A number by its worth, all else as it is."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal(str(value)).normalize()
    return value if isinstance(value, str | bool | None) else orjson.dumps(value)


def _python() -> Run:
    engine = import_module("sqlonfhir")

    def run(definition: Mapping[str, Any], resources: Sequence[Row]) -> tuple[list[Row], float]:
        own = orjson.loads(orjson.dumps(definition))
        began_s = time.perf_counter()
        rows = engine.evaluate(resources, own)
        return rows, time.perf_counter() - began_s

    return run


def _rust() -> Run:
    # The package itself imports without its engine, and tells no reason.
    import_module("pysof._pysof")
    engine = import_module("pysof")

    def run(definition: Mapping[str, Any], resources: Sequence[Row]) -> tuple[list[Row], float]:
        entries = [{"resource": one} for one in resources]
        bundle = orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})
        own = orjson.dumps(definition)
        began_s = time.perf_counter()
        lines = engine.run_view_definition(own, bundle, "ndjson")
        seconds = time.perf_counter() - began_s
        return [orjson.loads(line) for line in lines.splitlines()], seconds

    return run
