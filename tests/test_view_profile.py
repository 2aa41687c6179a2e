"""A view's profile equals plain counting, is of one anchor, and fits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from composed import keep, sql_view
from researchflow_runners.hybrid.column_profile import TEXT_CHARS_MAX, TOP_MAX
from researchflow_runners.hybrid.profile import ProfileRunner
from researchflow_runners.query.model import LIMIT_MAX, Query
from researchflow_runners.source.synthetic import hospital
from researchflow_server.embedded import Services
from tool_server import ToolServer, content, module_stores, tool_server

Json = dict[str, Any]

LONG = "x" * 200
LAB = {
    "resourceType": "Observation", "status": "final",
    "category": [{"coding": [{"code": "laboratory"}]}],
    "subject": {"reference": "Patient/patient-00001"},
}  # fmt: skip
#: One code in two units and without one, two displays of one code, dates of every precision.
LABS: list[Json] = [
    {
        **LAB, "id": f"unit-{number}", "effectiveDateTime": date,
        "code": {"coding": [{"system": "http://loinc.org", "code": "33914-3", "display": shown}]},
        "valueQuantity": {"value": value, **({"unit": unit} if unit else {})},
    }
    for number, (date, shown, value, unit) in enumerate([
        ("2020", "eGFR", 60.5, "mL/min"),
        ("2020-02", "eGFR", 61, "mL/min"),
        ("2019-12-31T23:59:59Z", "GFR", 1.2, "mL/s"),
        ("2030-01-01", "eGFR", 7, None),
    ])
] + [{**LAB, "id": "long", "code": {"text": LONG}, "valueString": LONG}]  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    home: Path = tmp_path_factory.mktemp("profile")
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        tool_server(dsn, redis_url, home) as opened,
    ):
        await opened.put(*hospital(6, 24), *LABS)
        await opened.call("refresh_views")
        yield opened


async def profile(server: ToolServer, view: str) -> tuple[Json, dict[str, Json]]:
    """The payload, and each column's line by name."""
    payload = await server.call("describe_view", view=view, show="profile")
    names = payload["columns"]
    lines = [dict(zip(names, row, strict=True)) for row in payload["rows"]]
    return payload, {line["column"]: line for line in lines}


async def plain_rows(server: ToolServer, view: str) -> list[Json]:
    answer = await server.runtime.hybrid.query(
        Query(view=view, freshness="anchored", limit=LIMIT_MAX)
    )
    names = [column.name for column in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def written(value: Any) -> str:
    """The value as the profile writes it, long texts cut."""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]}… ({len(text)} characters)"


def most_frequent(values: list[Any]) -> list[list[Any]]:
    counted = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    few = len(counted) <= TOP_MAX
    return [[written(value), n] for value, n in counted if few or n > 1][:TOP_MAX]


@pytest.mark.parametrize(
    "view", ["patient_demographics", "condition_diagnoses", "observation_labs", "patient_events"]
)
async def test_every_column_is_counted_as_plain_python_counts_it(
    server: ToolServer, view: str
) -> None:
    found, lines = await profile(server, view)
    rows = await plain_rows(server, view)
    assert found["view_rows"] == len(rows)
    assert list(lines) == list(rows[0])
    columns = {
        one.name: one for one in server.runtime.hybrid.materialized.existence.guess()[view].columns
    }
    for name, line in lines.items():
        values = [row[name] for row in rows if row[name] is not None]
        assert line["nulls"] == len(rows) - len(values)
        assert line["distinct"] == len(set(values))
        column = columns[name]
        if column.key_of or column.is_key:
            assert (line["min"], line["max"], line["top"]) == (None, None, [])
        elif column.has_range or len(line["units"]) > 1:
            continue
        else:
            assert [one[:2] for one in line["top"]] == most_frequent(values)
            ends = (min(values), max(values)) if values else None
            assert (line["min"], line["max"]) == (
                (written(ends[0]), written(ends[1])) if ends else (None, None)
            )


async def test_missing_values_of_every_column_are_one_call(server: ToolServer) -> None:
    _found, lines = await profile(server, "patient_demographics")
    rows = await plain_rows(server, "patient_demographics")
    wanted = {name: sum(row[name] is None for row in rows) for name in rows[0]}
    assert {name: line["nulls"] for name, line in lines.items()} == wanted


async def test_numbers_of_several_units_are_told_by_unit(server: ToolServer) -> None:
    _found, lines = await profile(server, "observation_labs")
    line = lines["value_quantity"]
    by_unit: dict[str | None, list[Decimal]] = {}
    for row in await plain_rows(server, "observation_labs"):
        if row["value_quantity"] is not None:
            by_unit.setdefault(row["value_unit"], []).append(row["value_quantity"])
    wanted = {
        unit: [len(found), str(min(found)), str(max(found))] for unit, found in by_unit.items()
    }
    assert {unit: rest for unit, *rest in line["units"]} == wanted
    assert wanted[None] == [1, "7", "7"]
    assert (line["min"], line["max"], line["top"]) == (None, None, [])


async def test_dates_are_least_and_most_by_the_period_they_mean(server: ToolServer) -> None:
    _found, lines = await profile(server, "observation_labs")
    dates = [
        row["effective_datetime"]
        for row in await plain_rows(server, "observation_labs")
        if row["effective_datetime"]
    ]
    assert lines["effective_datetime"]["max"] == "2030-01-01"
    assert lines["effective_datetime"]["min"] == min(dates)
    assert "2020" in dates


async def test_code_is_told_with_the_words_it_displays_as_most_often(server: ToolServer) -> None:
    _found, lines = await profile(server, "observation_labs")
    rows = await plain_rows(server, "observation_labs")
    for code, n, words in lines["code"]["top"]:
        shown = Counter(row["code_display"] for row in rows if row["code"] == code)
        assert n == sum(shown.values())
        assert shown[words] == max(shown.values())
    assert lines["value_string"]["max"] == written(LONG)


async def test_profile_is_of_the_anchor_and_new_with_the_next(server: ToolServer) -> None:
    before, lines = await profile(server, "patient_simple")
    waiting = {"resourceType": "Patient", "id": "waiting", "gender": "other"}
    await server.call("cache_resources", resources=[waiting])
    assert await profile(server, "patient_simple") == (before, lines)
    await server.put(waiting)
    refreshed = await server.call("refresh_views")
    after, _lines = await profile(server, "patient_simple")
    assert (after["view_rows"], after["anchor"]) == (before["view_rows"] + 1, refreshed["anchor"])
    assert after["data_as_of"] == refreshed["data_as_of"]


async def test_profile_tells_of_resources_that_its_rows_lack(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as opened:
        broken = {"resourceType": "Patient", "id": "broken", "birthDate": "1950-02-30"}
        await opened.put({"resourceType": "Patient", "id": "whole"}, broken)
        await opened.call("refresh_views")
        found, lines = await profile(opened, "patient_simple")
        assert (found["view_rows"], lines["birth_date"]["nulls"]) == (1, 1)
        assert found["warnings"] == ["1 resources could not be computed and are missing"]


async def test_profile_is_counted_once_for_each_anchor(server: ToolServer) -> None:
    runner = ProfileRunner(server.runtime.hybrid.materialized)
    first = await runner.profile("encounters")
    async with server.runtime.stores.warehouse.session() as session:
        (table,) = await session.fetch(
            "SELECT base_table FROM researchflow.view_catalogue WHERE view_name = 'encounters'"
        )
        await session.execute(f"UPDATE researchflow.{table[0]} SET status = 'other'")
    try:
        assert await runner.profile("encounters") == first
        other = await ProfileRunner(server.runtime.hybrid.materialized).profile("encounters")
        assert other != first
    finally:
        async with server.runtime.stores.warehouse.session() as session:
            await session.execute(f"UPDATE researchflow.{table[0]} SET status = 'finished'")


async def test_column_that_takes_too_long_is_named_and_the_next_call_goes_on(
    server: ToolServer,
) -> None:
    runner = ProfileRunner(server.runtime.hybrid.materialized, timeout_s=0)
    found = await runner.profile("immunizations")
    assert found.columns == ()
    assert "vaccine_code" in found.uncounted
    runner = ProfileRunner(server.runtime.hybrid.materialized)
    assert (await runner.profile("immunizations")).uncounted == ()


async def test_empty_view_and_sql_view_have_profiles(server: ToolServer) -> None:
    sql = "SELECT id, gender, active FROM patients WHERE gender = 'nobody'"
    await keep(server.runtime.stores.warehouse, sql_view("nobody", sql, patients="patient_simple"))
    found, lines = await profile(server, "nobody")
    assert found["view_rows"] == 0
    assert lines["gender"] == {
        "column": "gender", "type": "code", "nulls": 0, "distinct": 0, "min": None, "max": None,
        "top": [], "units": [],
    }  # fmt: skip


async def test_profile_of_an_unknown_view_is_an_error(server: ToolServer) -> None:
    error = await server.error("describe_view", view="patient_simpel", show="profile")
    assert (error["code"], error["did_you_mean"]) == ("unknown_view", "patient_simple")


async def test_long_profile_keeps_every_column_and_fewer_values(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await server.result("describe_view", view="observation_labs", show="profile")
    bytes_max = len(json.dumps(content(whole), separators=(",", ":"))) * 3 // 4
    monkeypatch.setattr(
        server.runtime,
        "settings",
        server.runtime.settings.model_copy(update={"result_bytes_max": bytes_max}),
    )
    found, lines = await profile(server, "observation_labs")
    assert len(json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()) <= bytes_max
    assert len(lines) == len(content(whole)["rows"])
    assert any("most frequent values are shown" in warning for warning in found["warnings"])
