"""Conditions: coding systems side by side, references that give no key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shipped_cases.build import (
    CLINICAL,
    ICD10,
    ICD10CM,
    SCT,
    Json,
    coding,
    concept,
    quantity,
    reference,
)


def condition(number: str, **elements: Any) -> Json:
    return {"resourceType": "Condition", "id": number, **elements}


CONDITIONS: list[Json] = [
    condition("bare"),
    condition(
        "both",
        clinicalStatus=concept(coding("urn:local", "A"), coding(CLINICAL, "active")),
        code=concept(
            coding(SCT, "44054006", "Diabetes type 2"),
            coding(ICD10CM, "E11.9", "T2DM"),
            coding(SCT, "73211009", "Diabetes"),
            text="diabetes",
        ),
        category=[concept(coding("urn:local", "x")), concept(coding(None, "y"))],
        severity=concept(coding(SCT, "24484000", "Severe")),
        subject=reference("Patient/9/_history/2"),
        encounter=reference("Encounter/e1"),
        recorder=reference("PractitionerRole/r1"),
        onsetAge=quantity(Decimal("40.0"), "years", system="http://unitsofmeasure.org", code="a"),
        recordedDate="2019-02",
    ),
    condition(
        "urn",
        clinicalStatus=concept(coding(None, "resolved")),
        code=concept(coding(ICD10, "E10", "T1DM")),
        subject=reference("urn:uuid:7d2a0d52-1a3c-4f5b-8d3e-0a9d1b9f8c11"),
        onsetPeriod={"start": "2001", "end": "2002"},
        abatementDateTime="2003-04-05T06:07:08+02:00",
    ),
    condition(
        "infant",
        clinicalStatus=concept(coding(CLINICAL, "remission")),
        code=concept(text="only text"),
        subject=reference("Group/g1"),
        onsetAge=quantity(18, "months", system="http://unitsofmeasure.org", code="mo"),
    ),
    condition(
        "inactive",
        clinicalStatus=concept(coding(CLINICAL, "inactive")),
        subject=reference("http://elsewhere.org/fhir/Patient/5"),
        onsetDateTime="2010-01-01",
    ),
]
_BOTH_CODES: Json = {
    "icd10_code": "E11.9",
    "icd10_display": "T2DM",
    "snomed_code": "44054006",
    "snomed_display": "Diabetes type 2",
    "code_text": "diabetes",
}
_URN = "urn:uuid:7d2a0d52-1a3c-4f5b-8d3e-0a9d1b9f8c11"
CONDITION_SIMPLE: list[Json] = [
    {"id": "bare"},
    {
        "id": "both",
        "patient_ref": "Patient/9/_history/2",
        "patient_id": "9",
        "clinical_status": "active",
        **_BOTH_CODES,
    },
    {
        "id": "urn",
        "patient_ref": _URN,
        "clinical_status": "resolved",
        "icd10_code": "E10",
        "icd10_display": "T1DM",
    },
    {
        "id": "infant",
        "patient_ref": "Group/g1",
        "clinical_status": "remission",
        "code_text": "only text",
    },
    {
        "id": "inactive",
        "patient_ref": "http://elsewhere.org/fhir/Patient/5",
        "clinical_status": "inactive",
    },
]
CONDITION_DIAGNOSES: list[Json] = [
    {
        "id": "both",
        "condition_id": "both",
        "patient_id": "9",
        "clinical_status": "active",
        "category": "x",
        "severity": "24484000",
        **_BOTH_CODES,
        "onset_age": 40,
        "recorded_date": "2019-02",
        "recorder_id": "r1",
        "encounter_id": "e1",
    },
    {
        "id": "urn",
        "condition_id": "urn",
        "clinical_status": "resolved",
        "icd10_code": "E10",
        "icd10_display": "T1DM",
        "onset_period_start": "2001",
        "abatement_datetime": "2003-04-05T06:07:08+02:00",
    },
    {
        "id": "infant",
        "condition_id": "infant",
        "clinical_status": "remission",
        "code_text": "only text",
    },
]
_BOTH_ROW: Json = {
    "id": "both",
    "condition_id": "both",
    "patient_id": "9",
    "clinical_status": "active",
    "recorded_date": "2019-02",
    "encounter_id": "e1",
}
CONDITION_CODES: list[Json] = [
    {**_BOTH_ROW, "system": SCT, "code": "44054006", "display": "Diabetes type 2"},
    {**_BOTH_ROW, "system": ICD10CM, "code": "E11.9", "display": "T2DM"},
    {**_BOTH_ROW, "system": SCT, "code": "73211009", "display": "Diabetes"},
    {
        "id": "urn",
        "condition_id": "urn",
        "clinical_status": "resolved",
        "system": ICD10,
        "code": "E10",
        "display": "T1DM",
    },
]
