"""Finding codes by words among many distinct ones, with and without changes that wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.progress import Progress

from researchflow_runners.codes.query import CodeQuery
from researchflow_runners.source.load import load_resources
from researchflow_runners.speed.change import Change
from researchflow_server.bench.figure import Figure, percentile
from researchflow_server.demo.stage import demo_settings, fresh_home
from researchflow_server.runtime import Runtime, open_runtime

CODES = 50_000
PATIENTS = 500
WAITING = 100
FIND_MS_MAX = 50.0
RUNS = 20
#: A word of many codes, a synonym, typos, a beginning, a code, words of every code, nothing.
TEXTS = (
    *("hypertension", "high blood pressure", "hypertention of the kidny", "fractur"),
    *("10012345", "disorder", "zzyzx"),
)
_HOW = ("acute", "chronic", "primary", "secondary", "congenital", "acquired", "mild", "severe")
_WHAT = ("hypertension", "diabetes", "asthma", "fracture", "infection", "ulcer", "edema", "burn")
_WHERE = ("heart", "kidney", "lung", "liver", "skin", "bone", "knee", "hip", "hand", "eye")


async def find_among_many(bar: Progress) -> list[Figure]:
    """The median of the slowest text's answers, in milliseconds."""
    task = bar.add_task("finding codes", total=2)
    with fresh_home(keep=False) as home:
        async with open_runtime(demo_settings(home), background=False) as runtime:
            source = runtime.stores.source
            patients = range(PATIENTS)
            await load_resources(source, [_patient(number) for number in patients])
            await load_resources(source, (_condition(number) for number in range(CODES)))
            await runtime.refresher.refresh()
            alone_ms = await _slowest(runtime)
            bar.advance(task)
            changes = [Change.put(_condition(number, shift=CODES)) for number in range(WAITING)]
            await runtime.writer.apply(changes, provenance="bench")
            merged_ms = await _slowest(runtime)
            bar.advance(task)
    data = f"{CODES:,} distinct codes in three views"
    name = "find_codes, slowest of the texts, p50"
    waiting = f"{data}, {WAITING} changes waiting"
    return [
        Figure(name, alone_ms, "ms", RUNS, data, FIND_MS_MAX),
        Figure(f"{name}, merged", merged_ms, "ms", RUNS, waiting, FIND_MS_MAX),
    ]


async def _slowest(runtime: Runtime) -> float:
    medians = []
    for text in TEXTS:
        took_ms = []
        for _run in range(RUNS + 1):
            began_s = time.perf_counter()
            await runtime.hybrid.find_codes(CodeQuery(text=text))
            took_ms.append((time.perf_counter() - began_s) * 1000)
        medians.append(percentile(took_ms[1:], 50))
    return max(medians)


def _patient(number: int) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"p{number}"}


def _condition(number: int, *, shift: int = 0) -> dict[str, Any]:
    """The condition of that number, with a code and a display of its own."""
    words = " ".join(_words(number))
    coding = {
        "system": "http://snomed.info/sct",
        "code": str(10_000_000 + number + shift),
        "display": f"{words.capitalize()} {number + shift} (disorder)",
    }
    return {
        "resourceType": "Condition",
        "id": f"c{number}",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "subject": {"reference": f"Patient/p{number % PATIENTS}"},
        "code": {"coding": [coding]},
    }


def _words(number: int) -> Iterator[str]:
    for words in (_HOW, _WHAT, _WHERE):
        number, place = divmod(number, len(words))
        yield words[place]
