"""Hand-made resources with the tricky cases, and the rows that the shipped views owe for them.

An expected row lists what is not null; every other column of the view must be null. The
resources of crowded.py have each list filled twice and each coding in several systems.
"""

from __future__ import annotations

from shipped_cases import (
    conditions,
    crowded,
    crowded_rows,
    medications,
    observations,
    others,
    patients,
    procedures,
)
from shipped_cases.build import Json

RESOURCES: list[Json] = [
    *patients.PATIENTS,
    *conditions.CONDITIONS,
    *medications.MEDICATION_REQUESTS,
    *observations.OBSERVATIONS,
    *procedures.PROCEDURES,
    *others.OTHERS,
    *crowded.RESOURCES,
]
_TRICKY: dict[str, list[Json]] = {
    "patient_simple": patients.PATIENT_SIMPLE,
    "patient_demographics": patients.PATIENT_DEMOGRAPHICS,
    "condition_simple": conditions.CONDITION_SIMPLE,
    "condition_diagnoses": conditions.CONDITION_DIAGNOSES,
    "condition_codes": conditions.CONDITION_CODES,
    "medication_requests": medications.MEDICATION_REQUEST_ROWS,
    "observation_labs": observations.LABS,
    "vital_signs": observations.VITAL_SIGNS,
    "observation_components": observations.COMPONENTS,
    "procedure_history": procedures.PROCEDURE_ROWS,
    **others.OTHER_ROWS,
}
EXPECTED: dict[str, list[Json]] = {
    name: rows + crowded_rows.ROWS[name] for name, rows in _TRICKY.items()
}
