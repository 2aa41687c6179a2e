"""Values for the parameters that SQL over views declares: bound by name, of the declared type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_runners.composed.parameters import (
    FIELD,
    NAME_SHOWN_MAX,
    SqlParameter,
    value_of_type,
)
from researchflow_runners.naming import nearest
from researchflow_server.operations.outcome import OperationError


def parameter_values(
    parameters: Sequence[SqlParameter], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The values in a Parameters resource, by name.

    OperationError names the first that is not declared or is of another type.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    entries = (given or {}).get("parameter", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _refused("is not a Parameters resource", FIELD, "send a list of objects in parameter")
    found: dict[str, Any] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or name not in declared:
            raise _unknown(name, declared)
        if name in found:
            raise _refused(f'gives "{name}" more than once', f"{FIELD}.{name}", "give it once")
        found[name] = _value(declared[name], entry)
    return found


def require(parameters: Sequence[SqlParameter], used: set[str], values: Mapping[str, Any]) -> None:
    """OperationError `parameter_missing` when the SQL uses one that has no value."""
    for parameter in parameters:
        if parameter.name in used and parameter.name not in values:
            raise _refused(
                f'gives no value for "{parameter.name}"',
                f"{FIELD}.{parameter.name}",
                f"give it as {_key(parameter)}",
                issue="required",
            )


def _value(parameter: SqlParameter, entry: Mapping[str, Any]) -> Any:
    key = _key(parameter)
    keys = [name for name in entry if name != "name"]
    value = entry.get(key)
    if keys == [key]:
        found = value_of_type(parameter, value)
        if found is not None:
            return found
    raise _refused(
        f'gives "{parameter.name}" another type than the Library declares',
        f"{FIELD}.{parameter.name}",
        f"give it as {key}",
    )


def _key(parameter: SqlParameter) -> str:
    return "value" + parameter.fhir_type[0].upper() + parameter.fhir_type[1:]


def _unknown(name: Any, declared: Mapping[str, SqlParameter]) -> OperationError:
    shown = name[:NAME_SHOWN_MAX] if isinstance(name, str) else ""
    return OperationError(
        f'"{FIELD}" gives "{shown}", which the Library does not declare',
        status=400,
        issue="invalid",
        code="parameter_invalid",
        field=FIELD,
        allowed=tuple(declared),
        did_you_mean=nearest(shown, declared),
        hint="give the parameters that the Library declares",
    )


def _refused(what: str, field: str, hint: str, *, issue: str = "invalid") -> OperationError:
    return OperationError(
        f'"{FIELD}" {what}',
        status=400,
        issue=issue,
        code="parameter_missing" if issue == "required" else "parameter_invalid",
        field=field,
        hint=hint,
    )
