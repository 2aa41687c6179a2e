"""Encounters, immunizations, allergies, diagnostic reports and care plans."""

from __future__ import annotations

from shipped_cases.build import CAREPLAN, LOINC, RXNORM, SCT, Json, coding, concept, reference

OTHERS: list[Json] = [
    {"resourceType": "Encounter", "id": "wrong", "status": "entered-in-error"},
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "AMB"},
        "type": [concept(coding(SCT, "185349003", "Check up"), text="check")],
        "subject": reference("Patient/1"),
        "period": {"start": "2020-01-01", "end": "2020-01-02"},
        "participant": [{"individual": reference("Practitioner/p1")}, {}],
        "partOf": reference("Encounter/e0"),
        "hospitalization": {
            "dischargeDisposition": concept(coding("urn:local", "h", "Home"), text="to her home")
        },
    },
    {"resourceType": "Immunization", "id": "refused", "status": "not-done"},
    {
        "resourceType": "Immunization",
        "id": "i1",
        "status": "completed",
        "patient": reference("Patient/1"),
        "vaccineCode": concept(coding("urn:local", "FLU"), text="flu"),
        "occurrenceString": "last winter",
        "primarySource": False,
        "expirationDate": "2021-06",
    },
    {
        "resourceType": "AllergyIntolerance",
        "id": "refuted",
        "verificationStatus": concept(coding(None, "refuted")),
    },
    {
        "resourceType": "AllergyIntolerance",
        "id": "a1",
        "patient": reference("Patient/1"),
        "category": ["medication", "food"],
        "code": concept(coding(RXNORM, "7980", "Penicillin"), coding(SCT, "91936005")),
        "reaction": [{"severity": "severe", "manifestation": [concept(coding(SCT, "271807003"))]}],
    },
    {"resourceType": "DiagnosticReport", "id": "partial", "status": "partial"},
    {
        "resourceType": "DiagnosticReport",
        "id": "d1",
        "status": "appended",
        "code": concept(coding(LOINC, "58410-2", "CBC")),
        "subject": reference("Patient/1"),
        "effectivePeriod": {"start": "2020"},
        "conclusion": "fine",
    },
    {"resourceType": "CarePlan", "id": "wrong", "status": "entered-in-error", "intent": "plan"},
    {
        "resourceType": "CarePlan",
        "id": "cp1",
        "status": "revoked",
        "intent": "proposal",
        "category": [concept(text="asthma action plan"), concept(coding(CAREPLAN, "assess-plan"))],
        "subject": reference("Patient/1"),
        "period": {"start": "2020-03"},
        "activity": [{"detail": {"code": concept(coding("urn:local", "rest"), text="Rest")}}],
        "addresses": [reference("#contained")],
    },
    {
        "resourceType": "CarePlan",
        "id": "bare",
        "status": "draft",
        "intent": "plan",
        "subject": reference("Group/1"),
        "activity": [{"reference": reference("ServiceRequest/1")}],
    },
]
OTHER_ROWS: dict[str, list[Json]] = {
    "encounters": [
        {
            "id": "e1",
            "encounter_id": "e1",
            "patient_id": "1",
            "status": "finished",
            "class_code": "AMB",
            "type_code": "185349003",
            "type_display": "Check up",
            "type_text": "check",
            "period_start": "2020-01-01",
            "period_end": "2020-01-02",
            "participant_id": "p1",
            "part_of_id": "e0",
            "discharge_disposition": "to her home",
        }
    ],
    "immunizations": [
        {
            "id": "i1",
            "immunization_id": "i1",
            "patient_id": "1",
            "status": "completed",
            "vaccine_code": "FLU",
            "vaccine_text": "flu",
            "occurrence_text": "last winter",
            "primary_source": False,
            "expiration_date": "2021-06",
        }
    ],
    "allergies": [
        {
            "id": "a1",
            "allergy_id": "a1",
            "patient_id": "1",
            "category": "medication",
            "code_system": RXNORM,
            "code": "7980",
            "code_display": "Penicillin",
            "manifestation_code": "271807003",
            "reaction_severity": "severe",
        }
    ],
    "diagnostic_reports": [
        {
            "id": "d1",
            "diagnostic_report_id": "d1",
            "patient_id": "1",
            "status": "appended",
            "code": "58410-2",
            "code_display": "CBC",
            "effective_period_start": "2020",
            "conclusion": "fine",
        }
    ],
    "care_plans": [
        {
            "id": "cp1",
            "care_plan_id": "cp1",
            "patient_id": "1",
            "status": "revoked",
            "intent": "proposal",
            "category_code": "assess-plan",
            "category_text": "asthma action plan",
            "period_start": "2020-03",
            "activity_code": "rest",
            "activity_text": "Rest",
            "activity_count": 1,
            "addresses_count": 1,
        },
        {
            "id": "bare",
            "care_plan_id": "bare",
            "status": "draft",
            "intent": "plan",
            "activity_count": 1,
            "addresses_count": 0,
        },
    ],
}
