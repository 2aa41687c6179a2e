"""The coded columns of a view, told by its columns' tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.compiler.column import Column

PATIENT = "Patient"
PATIENT_COLUMN = "patient_id"


@dataclass(frozen=True, slots=True)
class CodedColumn:
    """A column whose values are codes: of one system, or of that which another column tells."""

    name: str
    system: str | None
    system_column: str | None
    display_column: str | None


def coded_columns(columns: Sequence[Column]) -> tuple[CodedColumn, ...]:
    """The columns with a code system, or with a column that tells their system or display.

    Lists are left out: no filter can ask for a code within one.
    """
    texts = [one for one in columns if one.is_text and not one.collection]
    systems = {one.system_of: one.name for one in texts if one.system_of}
    displays = {one.display_of: one.name for one in texts if one.display_of}
    return tuple(
        CodedColumn(one.name, one.system, systems.get(one.name), displays.get(one.name))
        for one in texts
        if not (one.is_key or one.display_of or one.system_of)
        and (one.system is not None or one.name in systems or one.name in displays)
    )


def patient_column(columns: Sequence[Column], resource_type: str | None) -> Column | None:
    """The column with the key of each row's patient; None where rows have none."""
    if resource_type == PATIENT:
        return next((one for one in columns if one.is_key), None)
    keys = [one for one in columns if one.key_of == PATIENT and not one.collection]
    named = [one for one in keys if one.name == PATIENT_COLUMN]
    return next(iter(named or keys), None)
