"""What needed pages of rows and counting by hand is one question over the synthetic hospital.

Each answer equals what plain Python counts in all rows of the view, fetched page by page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median, quantiles
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, open_clinic
from oracle_filters import days, period
from oracle_questions import age
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.source.load import load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_server.embedded import Services
from tool_server import module_stores

VIEWS = (
    "condition_diagnoses",
    "immunizations",
    "observation_components",
    "observation_labs",
    "patient_demographics",
)
HBA1C, EGFR, GLUCOSE, LDL, SYSTOLIC = "4548-4", "33914-3", "2345-7", "13457-7", "8480-6"
HYPERTENSION = "I10"
Json = dict[str, Any]
Row = dict[str, Any]


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    async with (
        module_stores(services, number=10) as (dsn, redis_url),
        open_clinic(dsn, redis_url, views=compiled(*VIEWS)) as opened,
    ):
        await load_resources(opened.source.database, hospital(patients=40, conditions=160))
        await opened.refresh()
        yield opened


async def every_row(clinic: Clinic, view: str, **asked: Any) -> list[Row]:
    rows: list[Row] = []
    cursor: str | None = None
    while cursor is not None or not rows:
        page: Answer = await clinic.ask(
            view, limit=2_000, freshness="anchored", cursor=cursor, **asked
        )
        rows += page.as_dicts()
        cursor = page.next_cursor
        if cursor is None:
            break
    return rows


async def answered(clinic: Clinic, view: str, **asked: Any) -> list[tuple[Any, ...]]:
    answer: Answer = await clinic.ask(view, limit=1_000, **asked)
    assert not answer.truncated
    return list(answer.rows)


def of(code: str, column: str = "code") -> Json:
    return {"column": column, "op": "eq", "value": code}


def event(row: Row) -> tuple[datetime, datetime] | None:
    """What the date of a row may mean: the first date that it has of those that tell it."""
    names = ("effective_datetime", "effective_period_start", "issued")
    texts = [row[name] for name in names if row.get(name) is not None]
    return period(texts[0]) if texts else None


def by_patient(rows: Iterable[Row]) -> dict[str, list[tuple[tuple[datetime, datetime], Row]]]:
    """The rows of each patient with their dates, by date and of one date by id."""
    found = defaultdict(list)
    for row in rows:
        at = event(row)
        if at is not None and row["patient_id"] is not None:
            found[row["patient_id"]].append((at, row))
    return {
        patient: sorted(dated, key=lambda one: (one[0], one[1]["id"]))
        for patient, dated in found.items()
    }


def newest(dated: list[tuple[tuple[datetime, datetime], Row]]) -> Row:
    return next(row for at, row in dated if at == dated[-1][0])


def ages(patient: Row | None, at: str | None) -> tuple[int | None, int | None]:
    """The youngest and the oldest that the patient may have been."""
    if patient is None or patient["birth_date"] is None or at is None:
        return None, None
    told, born = days(at), days(patient["birth_date"])
    if patient["deceased_date"] is not None:
        died = days(patient["deceased_date"])
        told = (min(told[0], died[0]), min(told[1], died[1]))
    return age(born[1], told[0]), age(born[0], told[1])


async def test_patients_whose_last_value_is_above_a_bound(clinic: Clinic) -> None:
    rows = await every_row(clinic, "observation_labs", where=of(HBA1C))
    last = [newest(dated) for dated in by_patient(rows).values()]
    high = [row for row in last if row["value_quantity"] and row["value_quantity"] > 6]
    above = {"column": "value_quantity", "op": "gt", "value": 6}
    latest = {"key": "patient_id", "where": above}
    counted = await answered(
        clinic, "observation_labs", where=of(HBA1C), latest_per=latest, aggregates=[{"fn": "count"}]
    )
    assert counted == [(len(high),)]
    assert 0 < len(high) < len(last)


async def test_median_and_quartiles_by_decade_of_age_at_measurement(clinic: Clinic) -> None:
    people = {row["id"]: row for row in await every_row(clinic, "patient_demographics")}
    expected: dict[str | None, list[Decimal]] = defaultdict(list)
    for row in await every_row(clinic, "observation_components", where=of(SYSTOLIC)):
        young, old = (
            None if one is None else one // 10 * 10
            for one in ages(people.get(row["patient_id"]), row["effective_datetime"])
        )
        decade = f"{young}-{young + 9}" if young is not None and young == old else None
        if row["value_quantity"] is not None:
            expected[decade].append(row["value_quantity"])
    fns = [
        {"fn": "median", "column": "value_quantity"},
        {"fn": "percentile", "p": 0.25, "column": "value_quantity"},
        {"fn": "percentile", "p": 0.75, "column": "value_quantity"},
    ]
    found = await answered(
        clinic,
        "observation_components",
        where=of(SYSTOLIC),
        group_by=[{"age_at": "effective_datetime", "width": 10}],
        aggregates=fns,
    )
    assert {row[0]: row[1] for row in found} == {
        decade: median(values) for decade, values in expected.items()
    }
    for decade, _middle, low, high in found:
        if len(expected[decade]) > 1:
            first, _second, third = quantiles(expected[decade], n=4, method="inclusive")
            assert (low, high) == (pytest.approx(first), pytest.approx(third))


async def test_new_diagnoses_per_year(clinic: Clinic) -> None:
    where = of(HYPERTENSION, "icd10_code")
    rows = await every_row(clinic, "condition_diagnoses", where=where)
    years = Counter(year(row["onset_datetime"]) for row in rows)
    group = {"column": "onset_datetime", "bucket": "year"}
    found = await answered(clinic, "condition_diagnoses", where=where, group_by=[group])
    assert dict(found) == years
    assert len(years) > 2


def year(text: str | None) -> str | None:
    return None if text is None else str(days(text)[0].year)


async def test_patients_with_three_results_over_two_years(clinic: Clinic) -> None:
    rows = await every_row(clinic, "observation_labs", where=of(EGFR))
    results: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        results[row["patient_id"]].append(row)
    expected = {one for one, found in results.items() if len(found) >= 3 and span(found) >= 730}
    expected.discard(None)  # type: ignore[arg-type]
    asked: Json = {
        "where": of(EGFR),
        "aggregates": [{"fn": "count"}, {"fn": "span_days", "column": "effective_datetime"}],
        "having": {
            "all_of": [
                {"column": "count", "op": "ge", "value": 3},
                {"column": "span_days_effective_datetime", "op": "ge", "value": 730},
            ]
        },
    }
    found = await answered(clinic, "observation_labs", group_by=["patient_id"], **asked)
    assert {row[0] for row in found} - {None} == expected
    cohort = {"column": "id", "query": {"view": "observation_labs", **asked}}
    counted = await answered(
        clinic, "patient_demographics", where=cohort, aggregates=[{"fn": "count"}]
    )
    shown = {row["id"] for row in await every_row(clinic, "patient_demographics")}
    assert counted == [(len(expected & shown),)]
    assert expected


def span(rows: list[Row]) -> int:
    periods = [period(row["effective_datetime"]) for row in rows if row["effective_datetime"]]
    begun = [begin for begin, end in periods if end - begin <= timedelta(days=1)]
    return (max(begun) - min(begun)).days if begun else 0


async def test_change_from_first_to_last_value(clinic: Clinic) -> None:
    rows = [
        row
        for row in await every_row(clinic, "observation_labs", where=of(HBA1C))
        if row["value_quantity"] is not None
    ]
    expected = {
        patient: newest(dated)["value_quantity"] - dated[0][1]["value_quantity"]
        for patient, dated in by_patient(rows).items()
    }
    found = await answered(
        clinic,
        "observation_labs",
        where={"all_of": [of(HBA1C), {"column": "patient_id", "op": "not_null"}]},
        group_by=["patient_id"],
        aggregates=[{"fn": "change", "column": "value_quantity"}],
        having={"column": "change_value_quantity", "op": "not_null"},
    )
    assert dict(found) == expected


async def test_most_frequent_labs_have_one_name_each(clinic: Clinic) -> None:
    rows = await every_row(clinic, "observation_labs", columns=["code", "code_display"])
    expected = Counter(row["code"] for row in rows)
    found = await answered(
        clinic,
        "observation_labs",
        group_by=["code", "code_display"],
        aggregates=[{"fn": "count"}, {"fn": "median", "column": "effective_datetime"}],
        order_by=[{"column": "count", "descending": True}],
    )
    assert {code: count for code, _name, count, _middle in found} == expected
    assert [row[2] for row in found] == sorted(expected.values(), reverse=True)


async def test_median_age_at_diagnosis_by_sex(clinic: Clinic) -> None:
    people = {row["id"]: row for row in await every_row(clinic, "patient_demographics")}
    told: dict[str | None, list[int]] = defaultdict(list)
    for row in await every_row(clinic, "condition_diagnoses"):
        patient = people.get(row["patient_id"])
        young, old = ages(patient, row["onset_datetime"])
        told[patient and patient["gender"]] += [young] if young is not None and young == old else []
    found = await answered(
        clinic,
        "condition_diagnoses",
        group_by=["patient.gender"],
        aggregates=[{"fn": "median", "age_at": "onset_datetime"}],
    )
    assert dict(found) == {sex: median(ages) if ages else None for sex, ages in told.items()}
    assert {"female", "male"} <= {sex for sex, ages in told.items() if ages}


async def test_shots_per_season(clinic: Clinic) -> None:
    rows = await every_row(clinic, "immunizations")
    seasons: Counter[str | None] = Counter()
    for row in rows:
        shot = row["occurrence_datetime"]
        begun = {day.year - (day.month < 7) for day in days(shot)} if shot else set()
        season = f"{min(begun)}-07/{min(begun) + 1}-06" if len(begun) == 1 else None
        seasons[season] += 1
    group = {"column": "occurrence_datetime", "bucket": "year", "starts": "07"}
    found = await answered(clinic, "immunizations", group_by=[group])
    assert dict(found) == seasons
    assert len(seasons) > 1


async def test_a_wide_table_of_last_values(clinic: Clinic) -> None:
    codes = [HBA1C, GLUCOSE, LDL]
    where = {"column": "code", "op": "in", "value": codes}
    expected = {}
    rows = await every_row(clinic, "observation_labs", where=where)
    for code in codes:
        for patient, dated in by_patient(row for row in rows if row["code"] == code).items():
            last = newest(dated)
            expected[patient, code] = (last["id"], last["value_quantity"])
    found = await answered(
        clinic,
        "observation_labs",
        columns=["patient_id", "code", "id", "value_quantity"],
        where=where,
        latest_per=["patient_id", "code"],
    )
    assert {row[:2]: row[2:] for row in found} == expected


async def test_a_code_in_two_units_is_refused_with_the_way_out(clinic: Clinic) -> None:
    with pytest.raises(QueryError) as caught:
        await answered(
            clinic,
            "observation_labs",
            aggregates=[{"fn": "median", "column": "value_quantity"}],
        )
    assert (caught.value.code, caught.value.allowed) == ("units_mixed", ("value_unit",))
    assert 'add "value_unit" to group_by' in str(caught.value.hint)
