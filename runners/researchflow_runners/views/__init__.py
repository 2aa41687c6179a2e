"""The shipped ViewDefinitions: one JSON file per view, named as the view.

Each file is the authority for its view: descriptions say what a row is and which of several
values a column takes. A column that carries codes names their system in a tag, SYSTEM_TAG.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

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


@cache
def _texts() -> tuple[bytes, ...]:
    folder = files(__package__)
    return tuple(folder.joinpath(f"{name}.json").read_bytes() for name in VIEW_NAMES)


def shipped_views() -> tuple[dict[str, Any], ...]:
    """The ViewDefinitions in the order of VIEW_NAMES; each call gives fresh copies."""
    return tuple(json.loads(text) for text in _texts())
