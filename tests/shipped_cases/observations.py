"""Observations: labs, a blood pressure, statuses in and out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shipped_cases.build import (
    INTERPRETATION,
    LOINC,
    SCT,
    Json,
    coding,
    concept,
    quantity,
    reference,
)


def observation(number: str, category: str, **elements: Any) -> Json:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "id": number,
        "status": "final",
        "category": [concept(coding("urn:local", "first")), concept(coding(system, category))],
        **elements,
    }


OBSERVATIONS: list[Json] = [
    {"resourceType": "Observation", "id": "bare"},
    observation("minimal", "laboratory"),
    observation("preliminary", "laboratory", status="preliminary"),
    observation("survey", "survey"),
    observation(
        "glucose",
        "laboratory",
        status="amended",
        code=concept(coding("urn:local", "GLU"), coding(LOINC, "2339-0", "Glucose"), text="sugar"),
        subject=reference("Patient/1"),
        encounter=reference("Encounter/2"),
        performer=[reference("Organization/o1"), reference("Practitioner/p1")],
        effectiveDateTime="2024-02-03T04:05:06.700+01:00",
        issued="2024-02-03T05:00:00.123Z",
        valueQuantity=quantity(Decimal("125.10"), "mg/dL"),
        interpretation=[concept(coding("urn:local", "up")), concept(coding(INTERPRETATION, "H"))],
        referenceRange=[{"low": quantity(70), "high": quantity(Decimal("99.9"))}, {}],
    ),
    observation(
        "coded",
        "laboratory",
        code=concept(coding("urn:local", "COV")),
        effectivePeriod={"start": "2024-01", "end": "2024-02"},
        valueCodeableConcept=concept(coding(SCT, "260373001"), text="Detected"),
    ),
    observation("worded", "laboratory", valueString="negative", code=concept(text="free")),
    observation(
        "pressure",
        "vital-signs",
        status="corrected",
        code=concept(coding(LOINC, "85354-9", "BP panel")),
        component=[
            {
                "code": concept(
                    coding(LOINC, "8480-6", "Systolic"), coding(SCT, "271649006", "Systolic BP")
                ),
                "valueQuantity": quantity(120, "mm[Hg]"),
            },
            {
                "code": concept(coding(LOINC, "8462-4", "Diastolic")),
                "valueQuantity": quantity(Decimal("80.5"), "mm[Hg]"),
            },
            {"code": concept(text="position"), "valueString": "sitting"},
        ],
    ),
]
LABS: list[Json] = [
    {
        "id": "minimal",
        "observation_id": "minimal",
        "status": "final",
        "category": "laboratory",
    },
    {
        "id": "glucose",
        "observation_id": "glucose",
        "patient_id": "1",
        "status": "amended",
        "category": "laboratory",
        "code": "2339-0",
        "code_display": "Glucose",
        "code_text": "sugar",
        "effective_datetime": "2024-02-03T04:05:06.700+01:00",
        "issued": "2024-02-03T05:00:00.123Z",
        "value_quantity": Decimal("125.10"),
        "value_unit": "mg/dL",
        "interpretation": "H",
        "ref_range_low": 70,
        "ref_range_high": Decimal("99.9"),
        "performer_id": "o1",
        "encounter_id": "2",
    },
    {
        "id": "coded",
        "observation_id": "coded",
        "status": "final",
        "category": "laboratory",
        "code": "COV",
        "effective_period_start": "2024-01",
        "effective_period_end": "2024-02",
        "value_code": "260373001",
    },
    {
        "id": "worded",
        "observation_id": "worded",
        "status": "final",
        "category": "laboratory",
        "code_text": "free",
        "value_string": "negative",
    },
]
VITAL_SIGNS: list[Json] = [
    {
        "id": "pressure",
        "observation_id": "pressure",
        "status": "corrected",
        "category": "vital-signs",
        "code": "85354-9",
        "code_display": "BP panel",
        "systolic": 120,
        "diastolic": Decimal("80.5"),
    }
]
_PRESSURE: Json = {
    "id": "pressure",
    "observation_id": "pressure",
    "status": "corrected",
    "observation_code": "85354-9",
}
_SYSTOLIC: Json = {**_PRESSURE, "value_quantity": 120, "value_unit": "mm[Hg]"}
COMPONENTS: list[Json] = [
    {**_SYSTOLIC, "system": LOINC, "code": "8480-6", "display": "Systolic"},
    {**_SYSTOLIC, "system": SCT, "code": "271649006", "display": "Systolic BP"},
    {
        **_PRESSURE,
        "value_quantity": Decimal("80.5"),
        "value_unit": "mm[Hg]",
        "system": LOINC,
        "code": "8462-4",
        "display": "Diastolic",
    },
    {**_PRESSURE, "code_text": "position", "value_string": "sitting"},
]
