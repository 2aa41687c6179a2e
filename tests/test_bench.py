"""The benchmarks measure what they say, at sizes that say nothing about speed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from rich.progress import Progress

from researchflow_server.bench import codes, growth
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.peers import against_peers
from researchflow_server.bench.views import measured_definitions, view_speed

RESOURCES = 20


@pytest.fixture
def bar() -> Progress:
    """A progress bar that shows nothing."""
    return Progress(disable=True)


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The rows that the other engine gives by view, an exception for one that fails; pysof is not
    there."""
    rows: dict[str, Any] = {}

    def evaluate(_resources: list[Any], definition: dict[str, Any]) -> list[dict[str, Any]]:
        found = rows.get(definition["name"], [])
        if isinstance(found, Exception):
            raise found
        return list(found)

    module = ModuleType("sqlonfhir")
    module.evaluate = evaluate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sqlonfhir", module)
    monkeypatch.setitem(sys.modules, "pysof", None)
    return rows


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


async def test_every_view_is_measured_against_the_floor_on_every_version(bar: Progress) -> None:
    found = by_name(await view_speed(bar, count=RESOURCES, runs=1))
    for definition in measured_definitions():
        for major in (16, 18):
            figure = found[f"{definition['name']} / parse, PostgreSQL {major}"]
            assert figure.value is not None
            assert figure.value > 0
            assert figure.at_most == 2.0
            assert figure.data.startswith(f"{RESOURCES} {definition['resource']}, ")
    assert found["patient_simple / parse, PostgreSQL 16"].data == "20 Patient, 20 rows"
    # Two patients are inactive.
    assert found["patient_demographics / parse, PostgreSQL 18"].data == "20 Patient, 19 rows"
    assert {"slowest planning, PostgreSQL 16", "slowest compilation"} <= found.keys()


async def test_rows_of_another_engine_are_compared_with_ours(
    bar: Progress, strangers: dict[str, Any]
) -> None:
    same = {
        "id": "patient-00001", "patient_id": "patient-00001", "active": True,
        "birth_date": "1985-02-23", "gender": "female",
    }  # fmt: skip
    strangers["patient_simple"] = [same, {**same, "gender": "male"}]
    strangers["encounters"] = IndexError("out of range\nand more")
    found = by_name(await against_peers(bar, count=RESOURCES, sample=5))
    told = found["patient_simple / sqlonfhir"]
    assert told.data.endswith("of 5 resources 2 rows, 1 as our 5")
    assert told.value is not None
    assert found["observation_labs / sqlonfhir"].at_least == 40.0
    failed = found["encounters / sqlonfhir"]
    assert (failed.value, failed.data) == (None, "fails: IndexError: out of range")
    assert failed.holds
    absent = found["any view / pysof"]
    assert absent.value is None
    assert absent.data.startswith("cannot be imported here: ")


async def test_growth_is_measured_over_told_refreshes(
    bar: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "SIZES", (200, 400))
    monkeypatch.setattr(growth, "CHANGED", 20)
    monkeypatch.setattr(growth, "RUNS", 1)
    found = await growth.refresh_growth(bar)
    assert [figure.data for figure in found].count("400 resources") == 11
    assert all(figure.value is not None and figure.value > 0 for figure in found)
    assert found[-1].at_most == growth.GROWTH_MAX


async def test_codes_are_found_with_and_without_changes_waiting(
    bar: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (("CODES", 40), ("PATIENTS", 3), ("WAITING", 2), ("RUNS", 1)):
        monkeypatch.setattr(codes, name, small)
    alone, merged = await codes.find_among_many(bar)
    assert (alone.data, alone.at_most) == ("40 distinct codes in three views", 50.0)
    assert merged.data.endswith("2 changes waiting")
    assert alone.value is not None
    assert merged.value is not None
    assert min(alone.value, merged.value) > 0
