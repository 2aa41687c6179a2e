"""The shipped views: one JSON file per ViewDefinition, one of SQL per SQLView, named as the view.

Each file is the authority for its view: descriptions say what a row is and which of several
values a column takes. A column that carries codes names their system in a tag, SYSTEM_TAG.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

SYSTEM_TAG = "researchflow/system"

#: The order in which views are listed and built.
VIEW_NAMES = (
    "patient_simple",
    "patient_demographics",
    "condition_simple",
    "condition_diagnoses",
    "medication_requests",
    "observation_labs",
    "procedure_history",
    "encounters",
    "vital_signs",
    "immunizations",
    "allergies",
    "diagnostic_reports",
    "care_plans",
    "condition_codes",
    "observation_components",
)

#: The SQLView of every dated event, and what it says of itself.
EVENTS_VIEW = "patient_events"
EventKind = Literal[
    "condition", "medication", "lab", "vital_sign", "procedure", "encounter", "immunization",
    "allergy", "report", "care_plan", "death",
]  # fmt: skip
EVENTS_KINDS: tuple[EventKind, ...] = get_args(EventKind)
_EVENTS_READS = (
    "patient_demographics",
    "condition_diagnoses",
    "condition_codes",
    "medication_requests",
    "observation_labs",
    "vital_signs",
    "procedure_history",
    "encounters",
    "immunizations",
    "allergies",
    "diagnostic_reports",
    "care_plans",
)
_EVENTS_DESCRIPTION = (
    "One row per event of a patient, of every kind that the shipped views hold: "
    f"{', '.join(EVENTS_KINDS)}. date is the clinical one, else when it was recorded, and null "
    "where neither is known; view and id name the row it comes from. system is null where code "
    "has not the form of the system that the source's column names. Conditions neither active "
    "nor ended are there when they are coded. Ask it for patients: over everybody it is computed "
    "whole."
)
LIBRARY_BASE = "https://researchflow.example/Library/"


@cache
def _texts() -> tuple[bytes, ...]:
    folder = files(__package__)
    return tuple(folder.joinpath(f"{name}.json").read_bytes() for name in VIEW_NAMES)


def shipped_views() -> tuple[dict[str, Any], ...]:
    """The ViewDefinitions in the order of VIEW_NAMES; each call gives fresh copies."""
    return tuple(json.loads(text) for text in _texts())


def shipped_libraries() -> tuple[dict[str, Any], ...]:
    """The SQLViews over the shipped views, as Libraries; each call gives fresh copies."""
    sql = files(__package__).joinpath(f"{EVENTS_VIEW}.sql").read_bytes()
    return (
        {
            "resourceType": "Library",
            "url": LIBRARY_BASE + EVENTS_VIEW,
            "name": EVENTS_VIEW,
            "title": "Patient events",
            "status": "active",
            "type": {"coding": [{"code": "sql-view"}]},
            "description": _EVENTS_DESCRIPTION,
            "relatedArtifact": [
                {"type": "depends-on", "label": view, "resource": view} for view in _EVENTS_READS
            ],
            "content": [{"contentType": "application/sql", "data": base64.b64encode(sql).decode()}],
        },
    )
