"""The rows of the crowded resources."""

from __future__ import annotations

from decimal import Decimal

from shipped_cases.build import ICD10CM, LOINC, SCT, Json

_KEYS: Json = {"id": "crowded", "patient_id": "p", "encounter_id": "e"}
_CONDITION: Json = {
    **_KEYS,
    "clinical_status": "active",
    "verification_status": "confirmed",
    "recorded_date": "2003",
}
_CODES: Json = {
    "icd10_code": "I10",
    "icd10_display": "Display of I10",
    "snomed_code": "38341003",
    "snomed_display": "Display of 38341003",
    "code_text": "pressure",
}
_OBSERVED: Json = {
    "patient_id": "p",
    "encounter_id": "e",
    "status": "final",
    "code": "94500-6",
    "code_display": "Display of 94500-6",
    "code_text": "text",
    "effective_datetime": "2020-01-02",
    "issued": "2020-01-02T03:04:05Z",
    "value_code": "260385009",
    "interpretation": "N",
    "performer_id": "p1",
}
_LAB: Json = {
    **_OBSERVED,
    "id": "crowded-laboratory",
    "observation_id": "crowded-laboratory",
    "category": "laboratory",
    "ref_range_low": 1,
    "ref_range_high": 2,
}
_VITAL: Json = {
    **_OBSERVED,
    "id": "crowded-vital-signs",
    "observation_id": "crowded-vital-signs",
    "category": "vital-signs",
}
_PERIOD: Json = {
    "id": "period",
    "observation_id": "period",
    "status": "final",
    "category": "vital-signs",
    "code": "HR",
    "code_display": "Heart rate",
    "effective_period_start": "2020",
    "effective_period_end": "2021",
    "value_quantity": 60,
    "value_unit": "/min",
    "systolic": 1,
    "diastolic": 3,
}
_WORDS: Json = {
    "id": "words",
    "observation_id": "words",
    "status": "final",
    "category": "vital-signs",
    "value_string": "normal",
}


def _component(category: str, code: str, **values: object) -> Json:
    return {
        "id": f"crowded-{category}",
        "observation_id": f"crowded-{category}",
        "patient_id": "p",
        "encounter_id": "e",
        "status": "final",
        "observation_code": "94500-6",
        "effective_datetime": "2020-01-02",
        "system": LOINC,
        "code": code,
        **values,
    }


_PAIR = ("8480-6", "8462-4")
_COMPONENTS: list[Json] = [
    row
    for category in ("laboratory", "vital-signs")
    for row in (
        *(
            _component(
                category,
                code,
                code_text=f"text of {code}",
                value_code="260385009",
                interpretation="N",
            )
            for code in _PAIR
        ),
        *(
            _component(category, code, value_quantity=Decimal("7.5"), value_unit="mm[Hg]")
            for code in _PAIR
        ),
    )
]
_PERIOD_COMPONENTS: list[Json] = [
    {
        "id": "period",
        "observation_id": "period",
        "status": "final",
        "observation_code": "HR",
        "value_quantity": value,
        "value_unit": "mm[Hg]",
        "system": LOINC,
        "code": code,
    }
    for code, value in (("8480-6", 1), ("8480-6", 2), ("8462-4", 3), ("8462-4", 4))
]

ROWS: dict[str, list[Json]] = {
    "patient_simple": [
        {
            "id": "crowded",
            "patient_id": "crowded",
            "active": True,
            "birth_date": "1950-01-02",
            "gender": "other",
        }
    ],
    "patient_demographics": [
        {
            "id": "crowded",
            "patient_id": "crowded",
            "active": True,
            "birth_date": "1950-01-02",
            "gender": "other",
            "deceased": True,
            "deceased_date": "2020-01-02T03:04:05Z",
            "family_name": "First",
            "given_name": "One",
            "full_name": "One Two First",
            "phone": "1",
            "email": "a@example.org",
            "address_line": "L",
            "city": "C",
            "state": "S",
            "postal_code": "P",
            "country": "N",
            "race": "race 1",
            "ethnicity": "ethnicity 1",
            "birth_sex": "F",
            "marital_status": "M",
            "language": "de",
        }
    ],
    "condition_simple": [
        {
            "id": "crowded",
            "patient_ref": "Patient/p",
            "patient_id": "p",
            "clinical_status": "active",
            **_CODES,
        }
    ],
    "condition_diagnoses": [
        {
            **_CONDITION,
            **_CODES,
            "condition_id": "crowded",
            "category": "problem-list-item",
            "severity": "255604002",
            "onset_datetime": "2001",
            "abatement_datetime": "2002",
            "recorder_id": "r",
        }
    ],
    "condition_codes": [
        {
            **_CONDITION,
            "condition_id": "crowded",
            "onset_datetime": "2001",
            "system": system,
            "code": code,
            "display": display,
        }
        for wanted, found in ((SCT, "38341003"), (ICD10CM, "I10"))
        for system, code, display in (
            ("urn:local", "local", "Local"),
            (wanted, found, f"Display of {found}"),
            (wanted, "later", "Later"),
        )
    ],
    "medication_requests": [
        {
            **_KEYS,
            "medication_request_id": "crowded",
            "status": "completed",
            "medication_code": "1",
            "medication_display": "Display of 1",
            "medication_text": "drug",
            "dosage_text": "first",
            "dosage_route": "Local",
            "dosage_timing_frequency": 3,
            "dosage_timing_period": 4,
            "dosage_timing_period_unit": "h",
        }
    ],
    "observation_labs": [_LAB],
    "vital_signs": [_VITAL, _PERIOD, _WORDS],
    "observation_components": [*_COMPONENTS, *_PERIOD_COMPONENTS],
    "procedure_history": [
        {
            **_KEYS,
            "procedure_id": "crowded",
            "status": "completed",
            "category": "387713003",
            "cpt_code": "44950",
            "cpt_display": "Display of 44950",
            "snomed_code": "80146002",
            "snomed_display": "Display of 80146002",
            "performed_period_start": "2020",
            "performed_period_end": "2021",
            "performer_id": "p1",
            "performer_function": "Local",
            "reason_code": "74400008",
            "reason_display": "Display of 74400008",
            "body_site_code": "66754008",
            "body_site_display": "Display of 66754008",
        }
    ],
    "encounters": [
        {
            "id": "crowded",
            "encounter_id": "crowded",
            "patient_id": "p",
            "status": "cancelled",
            "class_code": "EMER",
            "type_code": "50849002",
            "type_display": "Display of 50849002",
            "type_text": "first",
            "period_start": "2020",
            "period_end": "2021",
            "reason_code": "74400008",
            "reason_display": "Display of 74400008",
            "discharge_disposition": "Local",
            "participant_id": "p1",
            "location_id": "l1",
            "service_provider_id": "o",
            "part_of_id": "whole",
        }
    ],
    "immunizations": [
        {
            **_KEYS,
            "immunization_id": "crowded",
            "status": "completed",
            "vaccine_code": "140",
            "vaccine_display": "Display of 140",
            "vaccine_text": "flu",
            "occurrence_datetime": "2020",
            "primary_source": True,
            "lot_number": "LOT",
            "expiration_date": "2021",
            "dose_quantity": Decimal("0.5"),
            "dose_unit": "mL",
            "performer_id": "p1",
            "location_id": "l",
        }
    ],
    "allergies": [
        {
            **_KEYS,
            "allergy_id": "crowded",
            "clinical_status": "active",
            "verification_status": "confirmed",
            "type": "allergy",
            "category": "food",
            "criticality": "high",
            "code_system": SCT,
            "code": "91935009",
            "code_display": "Peanut",
            "code_text": "peanut",
            "onset_datetime": "2001",
            "recorded_date": "2002",
            "last_occurrence": "2003",
            "manifestation_code": "247472004",
            "manifestation_display": "Display of 247472004",
            "reaction_severity": "mild",
            "recorder_id": "r",
        }
    ],
    "care_plans": [
        {
            **_KEYS,
            "care_plan_id": "crowded",
            "status": "active",
            "intent": "order",
            "category_code": "735985000",
            "category_display": "Display of 735985000",
            "category_text": "later",
            "title": "plan",
            "description": "what is planned",
            "period_start": "2020-01-02",
            "period_end": "2021",
            "created": "2019-12-31T23:00:00Z",
            "activity_code": "229065009",
            "activity_display": "Display of 229065009",
            "activity_text": "exercise",
            "activity_count": 2,
            "addresses_id": "c1",
            "addresses_count": 2,
            "goal_id": "g1",
            "author_id": "r",
        }
    ],
    "diagnostic_reports": [
        {
            **_KEYS,
            "diagnostic_report_id": "crowded",
            "status": "final",
            "category": "LAB",
            "code": "58410-2",
            "code_display": "Display of 58410-2",
            "code_text": "text",
            "effective_datetime": "2020-01-02",
            "issued": "2020-01-02T03:04:05Z",
            "conclusion": "fine",
            "conclusion_code": "17621005",
            "performer_id": "p1",
        },
        {
            "id": "period",
            "diagnostic_report_id": "period",
            "status": "corrected",
            "code": "ECG",
            "code_display": "Tracing",
            "effective_period_start": "2020",
            "effective_period_end": "2021",
        },
    ],
}
