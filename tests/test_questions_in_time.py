"""Questions about time between events, in one call each, against plain Python over raw records."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import mean, median
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, open_clinic
from conftest import SHARED
from researchflow_runners.query.model import SqlQuery
from researchflow_runners.source.load import load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_server.embedded import Services
from tool_server import module_stores

Json = dict[str, Any]
FOLDER = SHARED / "data" / "synthea"
VIEWS = (
    "patient_simple", "condition_diagnoses", "condition_simple", "medication_requests",
    "observation_labs", "encounters",
)  # fmt: skip
TYPES = ("Patient", "Condition", "MedicationRequest", "Observation", "Encounter")
SYNTHEA_PATIENTS = 60
DIABETES, HYPERTENSION, PREDIABETES, OBESITY = "44054006", "38341003", "15777000", "162864005"
PRESSURES = [HYPERTENSION, "59621000"]
HBA1C = "4548-4"
METFORMIN = ["860975", "861007"]
LAB_STATUSES = {"final", "amended", "corrected"}
DRUG_STATUSES = {"active", "completed", "on-hold", "stopped"}
CONDITION_STATUSES = {"active", "recurrence", "relapse", "resolved", "remission"}


@dataclass
class World:
    """A clinic, and the records of each patient that its views are about, as they were written."""

    clinic: Clinic
    patients: list[str] = field(default_factory=list)
    labs: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    drugs: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    conditions: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    encounters: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))

    def dates(self, rows: list[Json], name: str, codes: list[str] | None = None) -> list[date]:
        """The days of those rows that have one and, where codes are given, one of them."""
        return [
            day(row[name]) for row in rows if name in row and (codes is None or coded(row, codes))
        ]

    def first(self, rows: list[Json], name: str, codes: list[str]) -> date | None:
        return min(self.dates(rows, name, codes), default=None)

    async def count(self, *where: Json) -> int:
        """How many patients."""
        asked = {"all_of": list(where)}
        answer = await self.clinic.ask(
            "patient_simple", where=asked, aggregates=[{"fn": "count"}], freshness="anchored"
        )
        found: int = answer.rows[0][0]
        return found


def coded(row: Json, codes: list[str]) -> bool:
    concept = row.get("code") or row.get("medicationCodeableConcept") or {}
    return any(one.get("code") in codes for one in concept.get("coding", ()))


def day(text: str) -> date:
    """The day in UTC."""
    if len(text) == 10:
        return date.fromisoformat(text)
    return datetime.fromisoformat(text).astimezone(UTC).date()


def begun_on(condition: Json) -> date | None:
    """The event date of a condition: its onset, else the day it was recorded."""
    onset = condition.get("onsetDateTime") or condition.get("onsetPeriod", {}).get("start")
    text = onset or condition.get("recordedDate")
    return day(text) if text else None


def synthea() -> Iterator[Json]:
    """The diabetics with a prescription of metformin and the first patients of the shared data."""
    records = {kind: list(_lines(kind)) for kind in TYPES}
    treated = {
        row["subject"]["reference"] for row in records["MedicationRequest"] if coded(row, METFORMIN)
    }
    first = {f"Patient/{row['id']}" for row in records["Patient"][:SYNTHEA_PATIENTS]}
    for kind, rows in records.items():
        for row in rows:
            owner = row.get("subject", {}).get("reference", f"Patient/{row['id']}")
            if owner in treated | first and (kind != "Observation" or _is_lab(row)):
                yield row


def _lines(kind: str) -> Iterator[Json]:
    with gzip.open(FOLDER / f"{kind}.ndjson.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _is_lab(row: Json) -> bool:
    categories = (one for each in row.get("category", ()) for one in each.get("coding", ()))
    return any(one.get("code") == "laboratory" for one in categories)


def _is_partial(row: Json) -> bool:
    names = ("onsetDateTime", "authoredOn", "effectiveDateTime")
    return any(0 < len(row.get(name, "")) < len("2024-01-01") for name in names)


def _clinical_status(row: Json) -> str | None:
    codes = [one["code"] for one in row.get("clinicalStatus", {}).get("coding", ())]
    return codes[0] if codes else None


def sorted_out(world: World, resources: list[Json]) -> None:
    """Each record to its patient, if a view is about it."""
    for row in resources:
        owner = row.get("subject", {}).get("reference", "").removeprefix("Patient/")
        kind, status = row["resourceType"], row.get("status")
        if kind == "Patient":
            world.patients.append(row["id"])
        elif kind == "Observation" and _is_lab(row) and status in LAB_STATUSES:
            world.labs[owner].append(row)
        elif kind == "MedicationRequest" and status in DRUG_STATUSES:
            world.drugs[owner].append(row)
        elif kind == "Condition" and _clinical_status(row) in CONDITION_STATUSES:
            world.conditions[owner].append(row)
        elif kind == "Encounter" and status != "entered-in-error":
            world.encounters[owner].append({**row, "start": row["period"]["start"]})


@pytest_asyncio.fixture(scope="module", params=["hospital", "synthea"])
async def world(request: pytest.FixtureRequest, services: Services) -> AsyncIterator[World]:
    """The synthetic hospital; and patients of the shared data, where they are."""
    if request.param == "synthea" and not FOLDER.is_dir():
        pytest.skip("the shared data are not there")
    found = list(hospital(90, 400)) if request.param == "hospital" else list(synthea())
    # What partial dates decide is asked of random rows, in test_filters_oracle.
    resources = [row for row in found if row["resourceType"] in TYPES and not _is_partial(row)]
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        open_clinic(dsn, redis_url, views=compiled(*VIEWS)) as clinic,
    ):
        await load_resources(clinic.source.database, resources)
        await clinic.refresh()
        made = World(clinic)
        sorted_out(made, resources)
        yield made


def is_(column: str, op: str, value: Any) -> Json:
    return {"column": column, "op": op, "value": value}


def in_(view: str, where: Json, op: str = "in") -> Json:
    return {"column": "id", "op": op, "query": {"view": view, "where": where}}


def drug(codes: list[str], which: str) -> Json:
    where = is_("medication_code", "in", codes)
    return {"view": "medication_requests", "which": which, "where": where}


def near(days: int, side: str, of: Json) -> Json:
    return {"column": "patient_id", "within": {"days": days, "side": side, "of": of}}


@pytest.mark.parametrize(("days", "side"), [(90, "before"), (365, "before"), (180, "after")])
async def test_results_near_the_first_prescription(world: World, days: int, side: str) -> None:
    def met(one: str) -> bool:
        begun = world.first(world.drugs[one], "authoredOn", METFORMIN)
        labs = world.dates(world.labs[one], "effectiveDateTime", [HBA1C])
        gaps = [(begun - lab).days if side == "before" else (lab - begun).days
                for lab in labs if begun]  # fmt: skip
        return any(0 <= gap <= days for gap in gaps)

    within = {"all_of": [is_("code", "eq", HBA1C), near(days, side, drug(METFORMIN, "first"))]}
    expected = sum(map(met, world.patients))
    assert await world.count(in_("observation_labs", within)) == expected
    without = await world.count(in_("observation_labs", within, "not_in"))
    assert without == len(world.patients) - expected
    assert expected or side == "before"


async def test_diagnoses_that_a_prescription_followed_within_a_year(world: World) -> None:
    def met(one: str) -> bool:
        begun = [begun_on(row) for row in world.conditions[one] if coded(row, PRESSURES)]
        drugs = world.dates(world.drugs[one], "authoredOn")
        return any(0 <= (drug - at).days <= 365 for at in begun if at for drug in drugs)

    event = {"view": "medication_requests", "which": "any"}
    where = {"all_of": [is_("snomed_code", "in", PRESSURES), near(365, "before", event)]}
    expected = sum(map(met, world.patients))
    assert await world.count(in_("condition_diagnoses", where)) == expected > 0


async def test_the_last_result_near_the_last_visit(world: World) -> None:
    def met(one: str) -> bool:
        labs = world.dates(world.labs[one], "effectiveDateTime")
        visits = world.dates(world.encounters[one], "start")
        return bool(labs and visits) and any(abs((max(visits) - lab).days) <= 30 for lab in labs)

    event = {"view": "encounters", "which": "last"}
    expected = sum(map(met, world.patients))
    assert await world.count(in_("observation_labs", near(30, "either", event))) == expected > 0


@pytest.mark.parametrize("least", [1, 2, 3])
async def test_at_least_so_many_of_several_problems(world: World, least: int) -> None:
    codes = [DIABETES, HYPERTENSION, PREDIABETES, OBESITY]
    has = {
        one: sum(any(coded(row, [code]) for row in world.conditions[one]) for code in codes)
        for one in world.patients
    }
    of = [in_("condition_diagnoses", is_("snomed_code", "eq", code)) for code in codes]
    several = {"at_least": {"n": least, "of": of}}
    expected = sum(count >= least for count in has.values())
    assert await world.count(several) == expected
    assert await world.count({"not": several}) == len(world.patients) - expected


async def test_no_visit_in_the_last_two_years_of_the_data(world: World) -> None:
    visits = [one for each in world.encounters.values() for one in world.dates(each, "start")]
    newest = max(visits)
    edge = newest.replace(year=newest.year - 2)
    last = [max(world.dates(each, "start")) for each in world.encounters.values()]
    absent = len(world.patients) - sum(one >= edge for one in last)
    recent = is_("period_start", "ge", "newest-2y")
    assert await world.count(in_("encounters", recent, "not_in")) == absent
    answer = await world.clinic.ask("encounters", where=recent, aggregates=[{"fn": "count"}])
    assert answer.rows[0][0] == sum(one >= edge for one in visits) > 0
    assert any(str(edge) in warning for warning in answer.warnings)


async def test_visits_of_the_last_weeks_of_today(world: World) -> None:
    answer = await world.clinic.ask(
        "encounters", where=is_("period_start", "ge", "today-10w"), aggregates=[{"fn": "count"}]
    )
    edge = answer.computed_at.date() - timedelta(weeks=10)
    visits = [one for each in world.encounters.values() for one in world.dates(each, "start")]
    assert answer.rows[0][0] == sum(one >= edge for one in visits)


FIRST_TREATED = """
WITH begun AS (SELECT patient_id, min(left(onset_datetime, 10)::date) AS day
               FROM condition_diagnoses WHERE snomed_code = :disease GROUP BY patient_id),
     treated AS (SELECT patient_id, min((authored_on::timestamptz AT TIME ZONE 'UTC')::date) AS day
                 FROM medication_requests WHERE medication_code = ANY(:drugs) GROUP BY patient_id)
SELECT count(treated.day - begun.day) AS n,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY treated.day - begun.day) AS median,
       avg(treated.day - begun.day) AS mean
FROM begun JOIN treated USING (patient_id)
"""


async def test_days_from_a_diagnosis_to_its_first_prescription(world: World) -> None:
    gaps = [
        (drug - begun).days
        for one in world.patients
        if (begun := world.first(world.conditions[one], "onsetDateTime", [DIABETES]))
        and (drug := world.first(world.drugs[one], "authoredOn", METFORMIN))
    ]
    answer = await world.clinic.runner.query_sql(
        SqlQuery(sql=FIRST_TREATED, parameters={"disease": DIABETES, "drugs": METFORMIN})
    )
    ((count, middle, average),) = answer.rows
    assert count == len(gaps) > 0
    assert middle == pytest.approx(median(gaps))
    assert float(average) == pytest.approx(mean(gaps))


async def test_a_value_that_is_nobodys_is_told(world: World) -> None:
    where = is_("class_code", "eq", "inpatient")
    (warning,) = (await world.clinic.ask("encounters", where=where)).warnings
    assert "AMB" in warning
    where = in_("condition_simple", is_("icd10_code", "starts_with", "X99"))
    answer = await world.clinic.ask("patient_simple", where=where, aggregates=[{"fn": "count"}])
    assert answer.rows == ((0,),)
    assert any('"icd10_code"' in one for one in answer.warnings)
