"""Procedures: several performers, reasons and body sites."""

from __future__ import annotations

from typing import Any

from shipped_cases.build import CPT, SCT, Json, coding, concept, reference


def procedure(number: str, **elements: Any) -> Json:
    return {"resourceType": "Procedure", "id": number, **elements}


PROCEDURES: list[Json] = [
    procedure("bare"),
    procedure("planned", status="preparation"),
    procedure(
        "team",
        status="completed",
        code=concept(
            coding(SCT, "80146002", "Appendectomy"), coding(CPT, "44950", "Appy"), text="appendix"
        ),
        subject=reference("Patient/1"),
        encounter=reference("Encounter/2"),
        location=reference("Location/l1"),
        recorder=reference("Practitioner/p0"),
        performedDateTime="2021",
        outcome=concept(text="good"),
        performer=[
            {"actor": reference("Practitioner/p1"), "function": concept(text="surgeon")},
            {
                "actor": reference("Practitioner/p2"),
                "function": concept(coding(SCT, "88189002", "Anaesthetist")),
            },
        ],
        reasonCode=[
            concept(coding("urn:local", "pain"), coding(SCT, "74400008", "Appendicitis")),
            concept(coding(SCT, "21522001", "Abdominal pain")),
        ],
        bodySite=[
            concept(coding(SCT, "66754008", "Appendix")),
            concept(coding(SCT, "818981001", "Abdomen")),
        ],
    ),
    procedure("alone", status="in-progress", performedPeriod={"start": "2021-02-03T04:05:00Z"}),
]
_TEAM: Json = {
    "id": "team",
    "procedure_id": "team",
    "patient_id": "1",
    "status": "completed",
    "cpt_code": "44950",
    "cpt_display": "Appy",
    "snomed_code": "80146002",
    "snomed_display": "Appendectomy",
    "code_text": "appendix",
    "performed_datetime": "2021",
    "encounter_id": "2",
    "location_id": "l1",
    "outcome_text": "good",
    "recorder_id": "p0",
    "reason_code": "74400008",
    "reason_display": "Appendicitis",
    "body_site_code": "66754008",
    "body_site_display": "Appendix",
}
PROCEDURE_ROWS: list[Json] = [
    {**_TEAM, "performer_id": "p1", "performer_function": "surgeon"},
    {**_TEAM, "performer_id": "p2", "performer_function": "Anaesthetist"},
    {
        "id": "alone",
        "procedure_id": "alone",
        "status": "in-progress",
        "performed_period_start": "2021-02-03T04:05:00Z",
    },
]
