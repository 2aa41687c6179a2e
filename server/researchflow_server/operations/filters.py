"""Which resources a run sees: those of some patients, those that changed since an instant.

A filter narrows the resources before the view is computed. A published view can be narrowed by
patient after that, where one of its columns is the patient's key; otherwise the source is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.speed.search import Conditions, patient_path
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, param
from researchflow_server.operations.outcome import OperationError
from researchflow_server.operations.parameters import Values

PATIENTS_MAX = 50
PATIENT_REFERENCE = re.compile(r"(?:Patient/)?([A-Za-z0-9\-.]{1,64})")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
#: Constants of the filter; a view's own constants are its own.
PREFIX = "operation_patient_"


@dataclass(frozen=True, slots=True)
class Filters:
    """`patients` are ids, none for everybody; `since` is exclusive."""

    patients: tuple[str, ...] = ()
    since: datetime | None = None

    def narrowed(self, view: CompiledView) -> CompiledView:
        """The view over the resources of these patients only.

        OperationError `patient_not_applicable` when its resources are not of a patient.
        """
        if not self.patients:
            return view
        key = patient_key(view.resource)
        constants = tuple(
            {"name": f"{PREFIX}{number}", "valueString": one}
            for number, one in enumerate(self.patients)
        )
        tests = " or ".join(f"({key} = %{constant['name']})" for constant in constants)
        return compile_view(Conditions(constants, ({"path": tests},)).added_to(view.definition))

    def over_published(self, view: CompiledView) -> Sql | None:
        """The condition on the rows `r` of the published view; None when they cannot tell."""
        if self.since is not None:
            return None
        if not self.patients:
            return EMPTY
        column = _key_column(view, patient_key(view.resource))
        if column is None:
            return None
        ids = param(list(self.patients), "text[]")
        return compose(" WHERE {} = ANY ({})", column, ids)


def filters_of(values: Values, *, is_inline: bool) -> Filters:
    """The filters of a request; `is_inline` says that it brings its resources."""
    since = values.get("_since")
    if since is not None and is_inline:
        raise OperationError(
            '"_since" does not apply to resources in the request',
            status=400,
            issue="not-supported",
            code="parameter_conflict",
            field="_since",
            hint="send only the resources that are to be run over",
        )
    patients = dict.fromkeys(_patient(one) for one in values.get("patient", ()))
    if len(patients) > PATIENTS_MAX:
        raise _invalid("patient", f"names more than {PATIENTS_MAX} patients", "ask for fewer")
    return Filters(tuple(patients), None if since is None else _instant(since[0]))


def patient_key(resource_type: str) -> str:
    """FHIRPath of the patient's key; OperationError `patient_not_applicable`."""
    path = patient_path(resource_type)
    if path is not None:
        return path
    raise OperationError(
        f'resources of type "{resource_type}" name no patient',
        status=400,
        issue="not-supported",
        code="patient_not_applicable",
        field="patient",
        hint="leave patient out, or run a view of a type with a subject or patient",
    )


def _key_column(view: CompiledView, key: str) -> Sql | None:
    """The column that holds the key `key` of its resource in every row."""
    if key == "getResourceKey()":
        return fixed("r._id")
    names = [column["name"] for column in _fixed_columns(view) if column["path"] == key]
    plain = (
        column.name
        for column in view.columns
        if column.name in names and column.pg_type == "text" and not column.collection
    )
    return next((ident("r", name) for name in plain), None)


def _fixed_columns(view: CompiledView) -> list[dict[str, Any]]:
    """The columns that are computed on the resource itself, outside iterations and unions."""
    found: list[dict[str, Any]] = []
    selects = list(view.definition["select"])
    while selects:
        select = selects.pop()
        if any(select.get(one) for one in ("forEach", "forEachOrNull", "repeat")):
            continue
        found += select.get("column", [])
        selects += select.get("select", [])
    return found


def _patient(text: str) -> str:
    match = PATIENT_REFERENCE.fullmatch(text)
    if match is None:
        raise _invalid("patient", "is not a reference to a Patient", "give Patient/ and an id")
    return match[1]


def _instant(text: str) -> datetime:
    if INSTANT.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise _invalid(
        "_since",
        "is not an instant",
        "give date, time and zone, such as 2026-01-31T08:00:00Z; in a URL a + is written %2B",
    )


def _invalid(name: str, what: str, hint: str) -> OperationError:
    return OperationError(
        f'"{name}" {what}',
        status=400,
        issue="value",
        code="parameter_invalid",
        field=name,
        hint=hint,
    )
