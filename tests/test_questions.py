"""Questions that people ask, put to the tools, against plain Python over the raw records."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.source.load import load
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

#: Resources of each type in ../shared/data/synthea, counted when the data were chosen.
COUNTS = {
    "AllergyIntolerance": 224, "CarePlan": 1_006, "Condition": 2_494, "DiagnosticReport": 3_389,
    "Encounter": 10_238, "Goal": 651, "ImagingStudy": 200, "Immunization": 4_294,
    "MedicationRequest": 2_582, "Observation": 49_275, "Organization": 102, "Patient": 347,
    "Practitioner": 102, "Procedure": 7_750,
}  # fmt: skip
HYPERTENSION, DIABETES, PREDIABETES = "38341003", "44054006", "15777000"
GLUCOSE, HBA1C, CREATININE = "2339-0", "4548-4", "38483-4"
PAGE = 1_000
Json = dict[str, Any]


@dataclass
class Records:
    """The raw records, by patient."""

    patients: dict[str, Json] = field(default_factory=dict)
    conditions: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    labs: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    medications: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    procedures: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))

    def having(self, code: str) -> set[str]:
        """Patients with a condition of that SNOMED code."""
        return {
            one
            for one, found in self.conditions.items()
            if any(each["code"] == code for row in found for each in row["code"]["coding"])
        }

    def measured(self, code: str, holds: Callable[[Decimal, datetime], bool]) -> Counter[str]:
        """How many laboratory results of that LOINC code hold, by patient."""
        return Counter(one for one, value, at in self.results(code) if holds(value, at))

    def results(self, code: str) -> Iterator[tuple[str, Decimal, datetime]]:
        """Patient, value and instant of each laboratory result of that LOINC code."""
        for one, found in self.labs.items():
            for row in found:
                if any(each["code"] == code for each in row["code"]["coding"]):
                    yield one, row["valueQuantity"]["value"], instant(row["effectiveDateTime"])

    def aged(self, today: date, lowest: int, below: int = 999) -> set[str]:
        """Patients of at least that age and below the other."""
        return {
            one
            for one, row in self.patients.items()
            if lowest <= age(row["birthDate"], today) < below
        }

    def of_gender(self, gender: str) -> set[str]:
        return {one for one, row in self.patients.items() if row["gender"] == gender}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def age(born: str, today: date) -> int:
    day = date.fromisoformat(born)
    return today.year - day.year - ((today.month, today.day) < (day.month, day.day))


def lines(folder: Path, resource_type: str) -> Iterator[Json]:
    with gzip.open(folder / f"{resource_type}.ndjson.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line, parse_float=Decimal, parse_int=Decimal)


@pytest.fixture(scope="module")
def records(shared_dir: Path) -> Records:
    """The raw records that the questions are about."""
    folder = shared_dir / "data" / "synthea"
    found = Records({row["id"]: row for row in lines(folder, "Patient")})
    for resource_type, kept, statuses in (
        ("Condition", found.conditions, None),
        ("Observation", found.labs, {"final", "amended", "corrected"}),
        ("MedicationRequest", found.medications, {"active", "completed", "on-hold", "stopped"}),
        ("Procedure", found.procedures, {"completed", "in-progress"}),
    ):
        for row in lines(folder, resource_type):
            if statuses is not None and row["status"] not in statuses:
                continue
            if resource_type != "Observation" or is_laboratory(row):
                kept[row["subject"]["reference"].removeprefix("Patient/")].append(row)
    return found


def is_laboratory(row: Json) -> bool:
    return any(
        each.get("code") == "laboratory" for one in row["category"] for each in one["coding"]
    )


@pytest_asyncio.fixture(scope="module")
async def synthea(
    services: Services, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server of the whole data, refreshed."""
    async with (
        module_stores(services, number=11) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await load(server.runtime.stores.source, [shared_dir / "data" / "synthea"])
        await server.call("refresh_views")
        yield server


def within(view: str, *where: Json, least: int = 1, op: str = "in") -> Json:
    """Patients who occur in at least so many rows of the other view."""
    asked: Json = {"view": view, "min_rows": least}
    if where:
        asked["where"] = {"all_of": list(where)}
    return {"column": "id", "op": op, "query": asked}


def is_(column: str, op: str, value: Any) -> Json:
    return {"column": column, "op": op, "value": value}


def diagnosed(code: str, op: str = "in") -> Json:
    return within("condition_simple", is_("snomed_code", "eq", code), op=op)


def older(years: int, today: date) -> Json:
    """At least so old: born on or before the day that many years ago."""
    return is_("birth_date", "le", years_before(today, years).isoformat())


def younger(years: int, today: date) -> Json:
    return is_("birth_date", "gt", years_before(today, years).isoformat())


def years_before(day: date, years: int) -> date:
    """The day so many years earlier; leap days are reached on the first of March."""
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year - years)


async def count(server: ToolServer, *where: Json) -> int:
    """How many patients; the same number as rows, and as distinct keys."""
    asked: Json = {"where": {"all_of": list(where)}} if where else {}
    fns = [{"fn": "count"}, {"fn": "count_distinct", "column": "id"}]
    counted = await server.call("query_view", view="patient_simple", aggregates=fns, **asked)
    ids = await rows(server, "patient_simple", ["id"], **asked)
    assert counted["rows"] == [[len(ids), len({each[0] for each in ids})]]
    return len(ids)


async def rows(server: ToolServer, view: str, columns: list[str], **asked: Any) -> list[list[Any]]:
    """All rows, page by page."""
    found: list[list[Any]] = []
    cursor: Json = {}
    while True:
        answer = await server.call(
            "query_view", view=view, columns=columns, limit=PAGE, **asked, **cursor
        )
        found += answer["rows"]
        if "next_cursor" not in answer:
            return found
        cursor = {"cursor": answer["next_cursor"]}


@pytest.fixture
def today() -> date:
    return datetime.now(UTC).date()


async def test_every_resource_of_the_data_is_there(synthea: ToolServer) -> None:
    async with synthea.runtime.source.snapshot() as snapshot:
        assert await snapshot.counts() == COUNTS
    async with synthea.runtime.stores.warehouse.session() as session:
        found = await session.fetch("SELECT res_type, count(*) FROM researchflow.ledger GROUP BY 1")
    held = {row[0]: row[1] for row in found}
    assert held == {name: COUNTS[name] for name in held}
    assert set(held) == {view.resource for view in synthea.runtime.views.values()}


async def test_counts_by_gender_and_age(synthea: ToolServer, records: Records, today: date) -> None:
    assert await count(synthea) == COUNTS["Patient"]
    assert await count(synthea, is_("gender", "eq", "female")) == len(records.of_gender("female"))
    assert await count(synthea, younger(65, today)) == len(records.aged(today, 0, 65))
    assert await count(synthea, older(18, today)) == len(records.aged(today, 18))


async def test_break_down_by_gender_and_age_bracket(
    synthea: ToolServer, records: Records, today: date
) -> None:
    answer = await synthea.call(
        "query_view",
        view="patient_simple",
        group_by=["gender", {"column": "birth_date", "age_brackets": [18, 40, 65]}],
    )
    brackets = {"under 18": (0, 18), "18-39": (18, 40), "40-64": (40, 65), "65+": (65, 999)}
    expected = {
        (gender, name): len(records.of_gender(gender) & records.aged(today, *bounds))
        for gender in ("female", "male")
        for name, bounds in brackets.items()
    }
    found = {(row[0], row[1]): row[2] for row in answer["rows"]}
    assert found == {key: n for key, n in expected.items() if n}


async def test_conditions_with_gender_and_age(
    synthea: ToolServer, records: Records, today: date
) -> None:
    women = await count(
        synthea, is_("gender", "eq", "female"), diagnosed(HYPERTENSION),
        older(18, today), younger(65, today),
    )  # fmt: skip
    assert women == len(
        records.of_gender("female") & records.having(HYPERTENSION) & records.aged(today, 18, 65)
    )
    men = await count(synthea, is_("gender", "eq", "male"), diagnosed(DIABETES), older(18, today))
    assert men == len(
        records.of_gender("male") & records.having(DIABETES) & records.aged(today, 18)
    )
    assert women
    assert men


async def test_conditions_together_and_excluded(
    synthea: ToolServer, records: Records, today: date
) -> None:
    diabetic, hypertensive = records.having(DIABETES), records.having(HYPERTENSION)
    everybody = set(records.patients)
    both = await count(synthea, diagnosed(DIABETES), diagnosed(HYPERTENSION))
    assert both == len(diabetic & hypertensive)
    excluded = len(everybody - diabetic)
    assert await count(synthea, diagnosed(DIABETES, "not_in")) == excluded
    assert await count(synthea, {"not": diagnosed(DIABETES)}) == excluded
    either = {"any_of": [diagnosed(DIABETES), diagnosed(PREDIABETES)]}
    assert await count(synthea, either) == len(diabetic | records.having(PREDIABETES))
    middle = await count(
        synthea, diagnosed(HYPERTENSION), {"not": diagnosed(DIABETES)},
        older(40, today), younger(60, today),
    )  # fmt: skip
    assert middle == len((hypertensive - diabetic) & records.aged(today, 40, 60))


async def test_prescriptions_or_none(synthea: ToolServer, records: Records) -> None:
    treated = len(records.medications)
    assert await count(synthea, within("medication_requests")) == treated
    untreated = COUNTS["Patient"] - treated
    assert await count(synthea, within("medication_requests", op="not_in")) == untreated


async def test_procedure_after_a_year(synthea: ToolServer, records: Records) -> None:
    for year in (2010, 2018):
        after = is_("performed_period_start", "gt", str(year))
        expected = {
            one
            for one, found in records.procedures.items()
            if any(instant(row["performedPeriod"]["start"]).year > year for row in found)
        }
        assert await count(synthea, within("procedure_history", after)) == len(expected) > 0


async def test_laboratory_thresholds(synthea: ToolServer, records: Records, today: date) -> None:
    high = within("observation_labs", is_("code", "eq", GLUCOSE), is_("value_quantity", "gt", 125))
    assert await count(synthea, high) == len(records.measured(GLUCOSE, lambda v, _at: v > 125)) > 0
    begin = datetime(2016, 6, 1, tzinfo=UTC)
    recent = within(
        "observation_labs", is_("code", "eq", HBA1C), is_("value_quantity", "gt", "5.5"),
        is_("effective_datetime", "ge", "2016-06"),
    )  # fmt: skip
    found = records.measured(HBA1C, lambda value, at: value > Decimal("5.5") and at >= begin)
    old = await count(synthea, recent, diagnosed(DIABETES), older(50, today))
    assert old == len(found.keys() & records.having(DIABETES) & records.aged(today, 50)) > 0


async def test_at_least_three_results_over_two_years(synthea: ToolServer, records: Records) -> None:
    begin, end = datetime(2015, 1, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC)
    where = (
        is_("code", "eq", CREATININE), is_("effective_datetime", "ge", "2015"),
        is_("effective_datetime", "le", "2016"),
    )  # fmt: skip
    found = records.measured(CREATININE, lambda _value, at: begin <= at < end)
    for least in (1, 2, 3):
        asked = within("observation_labs", *where, least=least)
        expected = sum(times >= least for times in found.values())
        assert await count(synthea, asked) == expected > 0


async def test_result_in_the_half_year_before_the_diagnosis(
    synthea: ToolServer, records: Records
) -> None:
    onsets = await rows(
        synthea, "condition_diagnoses", ["patient_id", "onset_datetime"],
        where=is_("snomed_code", "eq", DIABETES), freshness="anchored",
    )  # fmt: skip
    results = await rows(
        synthea, "observation_labs", ["patient_id", "effective_datetime"], freshness="anchored",
        where={"all_of": [is_("code", "eq", HBA1C), is_("value_quantity", "gt", 6)]},
    )  # fmt: skip
    raw_onsets = [
        [one, row["onsetDateTime"]]
        for one, found in records.conditions.items()
        for row in found
        if any(each["code"] == DIABETES for each in row["code"]["coding"])
    ]
    raw = [[one, at.isoformat()] for one, value, at in records.results(HBA1C) if value > 6]
    assert before(onsets, results) == before(raw_onsets, raw)


def before(onsets: list[list[str]], results: list[list[str]]) -> set[str]:
    begun = {one: instant(at) for one, at in onsets}
    return {
        one for one, at in results if one in begun and 0 <= (begun[one] - instant(at)).days <= 183
    }


async def test_numbers_add_up_exactly(synthea: ToolServer, records: Records) -> None:
    answer = await synthea.call(
        "query_view",
        view="observation_labs",
        where=is_("code", "eq", HBA1C),
        aggregates=[
            {"fn": "count", "column": "value_quantity"},
            {"fn": "sum", "column": "value_quantity"},
            {"fn": "min", "column": "value_quantity"},
            {"fn": "max", "column": "effective_datetime"},
            {"fn": "count_distinct", "column": "patient_id"},
        ],
    )
    found = list(records.results(HBA1C))
    ((number, total, least, last, people),) = answer["rows"]
    assert (number, people) == (len(found), len({one for one, _value, _at in found}))
    assert Decimal(total) == sum(value for _one, value, _at in found)
    assert Decimal(least) == min(value for _one, value, _at in found)
    assert instant(last) == max(at for _one, _value, at in found)


async def test_groups_with_missing_values_count_every_row(
    synthea: ToolServer, records: Records
) -> None:
    answer = await synthea.call(
        "query_view", view="condition_simple", group_by=["clinical_status", "icd10_code"]
    )
    statuses = Counter(
        row["clinicalStatus"]["coding"][0]["code"]
        for found in records.conditions.values()
        for row in found
    )
    assert {row[0]: row[2] for row in answer["rows"]} == statuses
    assert {row[1] for row in answer["rows"]} == {None}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("the code for high blood pressure", HYPERTENSION),
        ("hypertention", HYPERTENSION),
        ("HTN", HYPERTENSION),
        ("diabetes", DIABETES),
        # Its display here is "Diabetes": type 2 finds what says so, its complications.
        ("T2DM", "422034002"),
        ("borderline diabetes", PREDIABETES),
        ("A1c", HBA1C),
        ("blood sugar", GLUCOSE),
        ("kidney function", CREATININE),
        ("BMI", "39156-5"),
        ("flu shot", "140"),
    ],
)
async def test_code_for_a_word_is_found(synthea: ToolServer, text: str, code: str) -> None:
    found = await synthea.call("find_codes", text=text)
    assert code in [row[0] for row in found["rows"]]


@pytest.mark.parametrize("text", ["hypertension", "diabetes"])
async def test_patients_of_a_found_code_are_those_of_the_records(
    synthea: ToolServer, records: Records, text: str
) -> None:
    found = await synthea.call("find_codes", text=text, view="condition_codes", limit=100)
    assert found["row_count"] >= 1
    for code, _system, _display, _view, _column, patients, _rows, _why in found["rows"]:
        assert patients == len(records.having(code))
