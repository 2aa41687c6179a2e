"""Women over 50 with type 2 diabetes and an HbA1c above 7 %: asked of any hospital's data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from researchflow_server.contract import FullAnswer
from researchflow_server.demo.client import Asker, check

TITLE = "women over 50 with type 2 diabetes and an HbA1c above 7 %"
AGE_YEARS = 50
HBA1C_LOINC = "4548-4"
DIABETES_SNOMED = "44054006"
DIABETES_ICD10 = "E11"
VALUE_ABOVE = 7
VALUE_CORRECTED = 9.4


def compare(column: str, op: str, value: Any) -> dict[str, Any]:
    """One comparison."""
    return {"column": column, "op": op, "value": value}


def _within(view: str, where: dict[str, Any], *, op: str = "in") -> dict[str, Any]:
    query = {"view": view, "column": "patient_id", "where": where}
    return {"column": "id", "op": op, "query": query}


DIABETES = _within(
    "condition_diagnoses",
    {
        "any_of": [
            compare("snomed_code", "eq", DIABETES_SNOMED),
            compare("icd10_code", "starts_with", DIABETES_ICD10),
        ]
    },
)
_HIGH = {
    "all_of": [
        compare("code", "eq", HBA1C_LOINC),
        compare("value_quantity", "gt", VALUE_ABOVE),
    ]
}
HIGH_HBA1C = _within("observation_labs", _HIGH)
NO_HIGH_HBA1C = _within("observation_labs", _HIGH, op="not_in")


def women_over_50(today: date) -> list[dict[str, Any]]:
    """The demographic part."""
    born_before = today.replace(year=today.year - AGE_YEARS, day=min(today.day, 28))
    return [
        compare("gender", "eq", "female"),
        compare("birth_date", "lt", born_before.isoformat()),
    ]


async def ask_cohort(asker: Asker, **freshness: Any) -> FullAnswer:
    """The ids of the cohort."""
    where = [*women_over_50(datetime.now(UTC).date()), DIABETES, HIGH_HBA1C]
    answer = await asker.query(
        view="patient_simple",
        columns=["id", "birth_date"],
        where={"all_of": where},
        limit=1_000,
        **freshness,
    )
    check(not answer.truncated, "the cohort fits into one answer")
    return answer


@dataclass(frozen=True, slots=True)
class Joiner:
    """A patient outside the cohort, and the changes that bring her in."""

    patient_id: str
    resources: list[dict[str, Any]]
    corrects: bool


async def find_joiner(asker: Asker) -> Joiner:
    """A woman over 50 without a high HbA1c; one with diabetes if there is any."""
    women = women_over_50(datetime.now(UTC).date())
    diabetic = await _first(asker, [*women, DIABETES, NO_HIGH_HBA1C])
    patient_id = diabetic or await _first(asker, [*women, NO_HIGH_HBA1C])
    check(patient_id is not None, "some woman over 50 has no high HbA1c")
    assert patient_id is not None
    lab_id = await _newest_hba1c(asker, patient_id)
    resources = [_lab(lab_id or "demo-hba1c", patient_id)]
    if diabetic is None:
        resources.append(_diabetes("demo-diabetes", patient_id))
    return Joiner(patient_id, resources, corrects=lab_id is not None)


async def _first(asker: Asker, where: list[dict[str, Any]]) -> str | None:
    answer = await asker.query(
        view="patient_simple", columns=["id"], where={"all_of": where}, limit=1
    )
    return str(answer.rows[0][0]) if answer.rows else None


async def _newest_hba1c(asker: Asker, patient_id: str) -> str | None:
    answer = await asker.query(
        view="observation_labs",
        columns=["id", "effective_datetime"],
        where={
            "all_of": [
                compare("patient_id", "eq", patient_id),
                compare("code", "eq", HBA1C_LOINC),
            ]
        },
        order_by=[{"column": "effective_datetime", "descending": True}],
        limit=1,
    )
    return str(answer.rows[0][0]) if answer.rows else None


def _lab(resource_id: str, patient_id: str) -> dict[str, Any]:
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    unit = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "status": "corrected",
        "category": [{"coding": [{"system": category, "code": "laboratory"}]}],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": HBA1C_LOINC, "display": "Hemoglobin A1c"}
            ]
        },
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": datetime.now(UTC).date().isoformat(),
        "valueQuantity": {"value": VALUE_CORRECTED, **unit},
    }


def _diabetes(resource_id: str, patient_id: str) -> dict[str, Any]:
    clinical = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    return {
        "resourceType": "Condition",
        "id": resource_id,
        "clinicalStatus": {"coding": [{"system": clinical, "code": "active"}]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": DIABETES_SNOMED}]},
        "subject": {"reference": f"Patient/{patient_id}"},
    }
