"""The codes that FHIR R4 allows in an element: those of a required binding, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


def required_codes(element: str) -> tuple[str, ...] | None:
    """The codes of an element such as `Patient.gender`; None where others may stand."""
    table = _table()
    name = table["elements"].get(element)
    return None if name is None else tuple(table["codes"][name])


@cache
def _table() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(files(__package__).joinpath("bindings.json").read_bytes())
    return found
