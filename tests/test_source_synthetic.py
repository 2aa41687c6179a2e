"""The synthetic hospital: exact numbers, the same every time, and clinically of a piece."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import orjson
import pytest
import pytest_asyncio

from researchflow_runners.source import HapiSource
from researchflow_runners.source.load import load_resources
from researchflow_runners.source.synthetic import REFERENCE_DATE, hospital
from researchflow_runners.store.database import Database

Resource = dict[str, Any]
DIABETES, HYPERTENSION = "E11.9", "I10"


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return list(hospital())


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


def of_type(resources: list[Resource], name: str) -> list[Resource]:
    return [resource for resource in resources if resource["resourceType"] == name]


def codes(resource: Resource, element: str = "code") -> set[str]:
    return {coding["code"] for coding in resource.get(element, {}).get("coding", [])}


def patients_with(resources: list[Resource], icd10: str) -> set[str]:
    snomed = {DIABETES: "44054006", HYPERTENSION: "59621000"}[icd10]
    return {
        condition["subject"]["reference"]
        for condition in of_type(resources, "Condition")
        if codes(condition) & {icd10, snomed}
    }


def values(resources: list[Resource], loinc: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for observation in of_type(resources, "Observation"):
        for part in [observation, *observation.get("component", [])]:
            if loinc in codes(part) and "valueQuantity" in part:
                subject = observation["subject"]["reference"]
                found.setdefault(subject, []).append(part["valueQuantity"]["value"])
    return found


def test_default_hospital_has_exactly_the_promised_numbers(resources: list[Resource]) -> None:
    counted = Counter(resource["resourceType"] for resource in resources)
    assert counted["Patient"] == 105
    assert counted["Condition"] == 423
    for name in (
        "Encounter", "Observation", "MedicationRequest", "Procedure", "Immunization",
        "AllergyIntolerance", "DiagnosticReport", "CarePlan", "Practitioner", "Organization",
        "Location",
    ):  # fmt: skip
        assert counted[name] > 0


@pytest.mark.parametrize(("patients", "conditions"), [(0, 0), (1, 0), (1, 30), (7, 3), (300, 900)])
def test_any_numbers_are_met_exactly(patients: int, conditions: int) -> None:
    counted = Counter(resource["resourceType"] for resource in hospital(patients, conditions))
    assert (counted["Patient"], counted["Condition"]) == (patients, conditions)


def test_conditions_without_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="need patients"):
        next(hospital(0, 1))


def test_another_process_makes_the_same_bytes_and_another_seed_does_not() -> None:
    program = (
        "import hashlib, orjson; from researchflow_runners.source.synthetic import hospital; "
        "print(hashlib.sha256(orjson.dumps(list(hospital(9, 40, seed=3)))).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "12345"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    here = orjson.dumps(list(hospital(9, 40, seed=3)))
    assert output.strip() == hashlib.sha256(here).hexdigest()
    assert here != orjson.dumps(list(hospital(9, 40, seed=4)))


def test_ids_are_unique_and_every_reference_leads_to_an_earlier_resource(
    resources: list[Resource],
) -> None:
    seen: set[str] = set()

    def check(node: Any) -> None:
        if isinstance(node, list):
            for part in node:
                check(part)
        elif isinstance(node, dict):
            if "reference" in node:
                assert node["reference"] in seen
            for part in node.values():
                check(part)

    for resource in resources:
        check(resource)
        name = f"{resource['resourceType']}/{resource['id']}"
        assert name not in seen
        seen.add(name)


def test_diabetics_have_higher_hba1c_and_take_metformin(resources: list[Resource]) -> None:
    diabetics = patients_with(resources, DIABETES)
    assert len(diabetics) >= 15
    measured = values(resources, "4548-4")
    for subject, results in measured.items():
        if subject in diabetics:
            assert min(results) > 6.5
    others = [max(found) for subject, found in measured.items() if subject not in diabetics]
    assert min(others) < 5.7
    assert max(others) < 5.7
    orders = of_type(resources, "MedicationRequest")
    on_metformin = {
        order["subject"]["reference"]
        for order in orders
        if "861007" in codes(order, "medicationCodeableConcept")
    }
    assert diabetics == on_metformin


def test_hypertensives_have_higher_pressures_and_lisinopril(resources: list[Resource]) -> None:
    hypertensives = patients_with(resources, HYPERTENSION)
    assert len(hypertensives) >= 20
    assert hypertensives & patients_with(resources, DIABETES)
    assert patients_with(resources, DIABETES) - hypertensives
    for subject, results in values(resources, "8480-6").items():
        assert (min(results) > 135) == (subject in hypertensives)
    on_lisinopril = {
        order["subject"]["reference"]
        for order in of_type(resources, "MedicationRequest")
        if "314076" in codes(order, "medicationCodeableConcept")
    }
    assert hypertensives == on_lisinopril


@pytest.mark.parametrize(
    ("name", "kept", "left_out"),
    [
        (
            "MedicationRequest",
            {"active", "completed", "on-hold", "stopped"},
            {"draft", "cancelled"},
        ),
        ("Observation", {"final", "amended", "corrected"}, {"preliminary", "cancelled"}),
        ("Procedure", {"completed", "in-progress"}, {"not-done", "preparation"}),
        ("Immunization", {"completed"}, {"not-done"}),
        ("DiagnosticReport", {"final", "amended"}, {"partial"}),
        ("Encounter", {"finished"}, {"entered-in-error"}),
        (
            "CarePlan",
            {"active", "completed", "revoked", "on-hold", "draft"},
            {"entered-in-error"},
        ),
    ],
)
def test_each_view_has_rows_and_rows_it_leaves_out(
    resources: list[Resource], name: str, kept: set[str], left_out: set[str]
) -> None:
    found = {resource["status"] for resource in of_type(resources, name)}
    assert kept | left_out <= found


def test_conditions_show_every_status_and_form_of_onset(resources: list[Resource]) -> None:
    conditions = of_type(resources, "Condition")
    found = {status for one in conditions for status in codes(one, "clinicalStatus")}
    assert found == {"active", "recurrence", "relapse", "inactive", "remission", "resolved"}
    assert any("clinicalStatus" not in one for one in conditions)
    assert any(len(codes(one)) == 2 for one in conditions)
    assert any(not codes(one) for one in conditions)
    lengths = {len(one["onsetDateTime"]) for one in conditions if "onsetDateTime" in one}
    assert {4, 7, 10, 25} == lengths
    assert any("onsetAge" in one for one in conditions)
    assert any("onsetPeriod" in one for one in conditions)


def test_patients_show_what_real_records_show(resources: list[Resource]) -> None:
    patients = of_type(resources, "Patient")
    assert {one.get("active") for one in patients} == {True, False, None}
    assert {one.get("deceasedBoolean") for one in patients} == {True, False, None}
    assert any("deceasedDateTime" in one for one in patients)
    assert {len(one.get("birthDate", "")) for one in patients} == {0, 4, 7, 10}
    assert {one.get("gender") for one in patients} == {"female", "male", "other", "unknown", None}
    for element in ("name", "telecom", "address", "extension"):
        assert 0 < sum(element not in one for one in patients) < 20
    assert any(len(one.get("name", [])) == 2 for one in patients)


def test_nothing_happens_after_death_or_after_the_reference_date(
    resources: list[Resource],
) -> None:
    died = {
        f"Patient/{one['id']}": date.fromisoformat(one["deceasedDateTime"][:10])
        for one in of_type(resources, "Patient")
        if "deceasedDateTime" in one
    }
    for one in of_type(resources, "Encounter"):
        last = died.get(one["subject"]["reference"], REFERENCE_DATE)
        assert date.fromisoformat(one["period"]["start"][:10]) <= last


async def test_hospital_loads_whole_and_a_second_time_changes_nothing(
    database: Database, resources: list[Resource]
) -> None:
    assert (await load_resources(database, resources)).created == len(resources)
    assert (await load_resources(database, resources)).unchanged == len(resources)
    async with HapiSource(database).snapshot() as snapshot:
        found = await snapshot.counts()
    assert (found["Patient"], found["Condition"]) == (105, 423)
