"""Rows whose date is too partial for a comparison are counted in the answer's warnings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, lab, open_clinic, patient
from researchflow_runners.hybrid import partial_dates
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import Query
from researchflow_server.embedded import Services
from tool_server import module_stores

Json = dict[str, Any]


def born(op: str, value: Any) -> Json:
    return {"column": "birth_date", "op": op, "value": value}


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    async with (
        module_stores(services, number=11) as (dsn, redis_url),
        open_clinic(dsn, redis_url) as opened,
    ):
        await opened.put(
            patient("year", birthDate="1950"),
            patient("month", birthDate="1950-06"),
            patient("day", birthDate="1950-06-15"),
            patient("man", birthDate="1950", gender="male"),
            patient("none"),
            lab("1", "day", effectiveDateTime="2024-03-01"),
            lab("2", "day", effectiveDateTime="2024-03-01T10:00:00Z"),
        )
        await opened.refresh()
        yield opened


def told(answer: Answer) -> tuple[str, ...]:
    return tuple(one for one in answer.warnings if "partial" in one)


@pytest.mark.parametrize(
    ("where", "rows", "undecided"),
    [
        (born("le", "1950-06"), 2, 2),
        (born("gt", "1950-06"), 0, 2),
        (born("lt", "1950-06-15"), 0, 3),
        (born("eq", "1950-06-15"), 1, 3),
        (born("in", ["1950-06", "1950-07"]), 2, 2),
        ({"not": born("le", "1950-06")}, 0, 2),
        ({"all_of": [born("ge", "1950-03"), born("le", "1950-09")]}, 2, 2),
        ({"all_of": [born("ge", "1950-03"), born("lt", "1949")]}, 0, 0),
        ({"all_of": [{"column": "gender", "op": "eq", "value": "male"}, born("le", "1950-06")]},
         0, 1),
        (born("le", "1950"), 4, 0),
        (born("ge", "1949-12-31"), 4, 0),
        ({"column": "birth_date", "op": "not_null"}, 4, 0),
    ],
)  # fmt: skip
async def test_rows_that_a_date_leaves_undecided_are_counted(
    clinic: Clinic, where: Json, rows: int, undecided: int
) -> None:
    answer = await clinic.ask("patient_simple", where=where)
    assert answer.row_count == rows
    assert [one.split()[0] for one in told(answer)] == ([str(undecided)] if undecided else [])


async def test_a_date_in_another_views_rows_is_counted_too(clinic: Clinic) -> None:
    query = {"view": "patient_simple", "column": "id", "where": born("le", "1950-06")}
    answer = await clinic.ask("observation_labs", where={"column": "patient_id", "query": query})
    (warning,) = told(answer)
    assert warning.startswith('2 rows of view "patient_simple" are undecided')


async def test_a_day_is_undecided_only_beside_a_time_of_it(clinic: Clinic) -> None:
    for value, count in (("2024-03-01T12:00:00Z", 1), ("2024-03-01", 0), ("2024-03", 0)):
        where = {"column": "effective_datetime", "op": "le", "value": value}
        answer = await clinic.ask("observation_labs", where=where)
        assert (answer.row_count, len(told(answer))) == (2 - count, count)


async def test_columns_without_partial_dates_are_looked_into_once(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = clinic.another_runner()
    for value in ("2024-01-05", "2024-02-05"):
        where = {"column": "effective_datetime", "op": "ge", "value": value}
        asked = Query.model_validate({"view": "observation_labs", "where": where})
        assert (await runner.query(asked)).row_count == 2
        monkeypatch.setattr(partial_dates, "_SOME", "no SQL")
        monkeypatch.setattr(partial_dates, "_COUNT", "no SQL")


async def test_a_count_that_takes_too_long_is_told_as_such(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = partial_dates._COUNT.replace("count(*)", "count(*) + length(pg_sleep(1)::text)")
    monkeypatch.setattr(partial_dates, "_COUNT", slow)
    monkeypatch.setattr("researchflow_runners.hybrid.absent.LOOK_MS", 20)
    asked = Query.model_validate({"view": "patient_simple", "where": born("le", "1950-06")})
    runner = clinic.another_runner()
    for _again in range(2):
        answer = await runner.query(asked)
        assert answer.row_count == 2
        (warning,) = told(answer)
        assert "takes too long" in warning
        # It is not counted again, which this would fail.
        monkeypatch.setattr(partial_dates, "_COUNT", "no SQL")
