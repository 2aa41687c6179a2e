"""Medication requests: statuses in and out, coded and referenced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shipped_cases.build import RXNORM, SCT, Json, coding, concept, quantity, reference


def medication_request(number: str, **elements: Any) -> Json:
    return {"resourceType": "MedicationRequest", "id": number, **elements}


MEDICATION_REQUESTS: list[Json] = [
    medication_request("bare"),
    medication_request("draft", status="draft"),
    medication_request("error", status="entered-in-error"),
    medication_request(
        "coded",
        status="active",
        intent="order",
        priority="routine",
        medicationCodeableConcept=concept(
            coding("urn:local", "MET"), coding(RXNORM, "860975", "metformin 500"), text="metformin"
        ),
        subject=reference("Patient/1"),
        encounter=reference("Encounter/2"),
        requester=reference("Practitioner/3"),
        authoredOn="2024-03-01",
        dosageInstruction=[
            {
                "text": "twice daily",
                "route": concept(coding(SCT, "26643006", "Oral route")),
                "timing": {"repeat": {"frequency": 2, "period": Decimal("1"), "periodUnit": "d"}},
                "doseAndRate": [
                    {"doseQuantity": quantity(Decimal("0.5"), "tablet")},
                    {"doseQuantity": quantity(9, "tablet")},
                ],
            },
            {"text": "second instruction", "route": concept(text="by mouth")},
        ],
        dispenseRequest={
            "quantity": quantity(60, "tablet"),
            "numberOfRepeatsAllowed": 0,
            "validityPeriod": {"start": "2024-03-01", "end": "2025"},
        },
    ),
    medication_request(
        "referenced",
        status="stopped",
        medicationReference=reference("Medication/7"),
        dosageInstruction=[
            {
                "route": concept(coding(SCT, "47625008", "IV"), text="into the vein"),
                "doseAndRate": [{"doseRange": {"low": quantity(1)}}],
            }
        ],
    ),
]
MEDICATION_REQUEST_ROWS: list[Json] = [
    {
        "id": "coded",
        "medication_request_id": "coded",
        "patient_id": "1",
        "status": "active",
        "intent": "order",
        "priority": "routine",
        "medication_code": "860975",
        "medication_display": "metformin 500",
        "medication_text": "metformin",
        "authored_on": "2024-03-01",
        "requester_id": "3",
        "encounter_id": "2",
        "dosage_text": "twice daily",
        "dosage_route": "Oral route",
        "dosage_timing_frequency": 2,
        "dosage_timing_period": 1,
        "dosage_timing_period_unit": "d",
        "dose_quantity": Decimal("0.5"),
        "dose_unit": "tablet",
        "dispense_quantity": 60,
        "dispense_unit": "tablet",
        "num_refills": 0,
        "validity_period_start": "2024-03-01",
        "validity_period_end": "2025",
    },
    {
        "id": "referenced",
        "medication_request_id": "referenced",
        "status": "stopped",
        "medication_reference": "Medication/7",
        "dosage_route": "into the vein",
    },
]
