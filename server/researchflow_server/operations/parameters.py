"""The parameters of each operation: one table for reading requests and for describing them.

Named and typed as in SQL on FHIR 3.0.0-ballot (`$sql-run`) and in the drafts before it
(`$viewdefinition-run`). A parameter that is in neither table is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from researchflow_runners.naming import nearest
from researchflow_server.operations.outcome import OperationError

Type: TypeAlias = Literal[
    "boolean", "canonical", "code", "instant", "integer", "Reference", "Resource", "Parameters"
]
#: Parameters by name, each with its values in the order given.
Values: TypeAlias = Mapping[str, list[Any]]

PARAMETERS_MAX = 2_000
TEXT_CHARS_MAX = 2_000
NAME_CHARS_MAX = 64

#: The `value[x]` that a parameter of each type may come in.
_VALUE_KEYS: dict[str, tuple[str, ...]] = {
    "boolean": ("valueBoolean",),
    "canonical": ("valueCanonical", "valueUri", "valueUrl", "valueString"),
    "code": ("valueCode", "valueString"),
    "instant": ("valueInstant", "valueDateTime", "valueString"),
    "integer": ("valueInteger", "valuePositiveInt", "valueUnsignedInt"),
    "Reference": ("valueReference", "valueString", "valueUri", "valueId"),
}
#: These carry a resource, so they cannot stand in a URL.
_RESOURCES = ("Resource", "Parameters")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input parameter; `many` means that it may be repeated."""

    name: str
    type: Type
    text: str
    many: bool = False

    @property
    def is_resource(self) -> bool:
        """Whether its value is a resource."""
        return self.type in _RESOURCES


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation; `subjects` are the parameters of which exactly one names what runs."""

    code: str
    base: str
    title: str
    subjects: tuple[Parameter, ...]
    others: tuple[Parameter, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter it takes."""
        return self.subjects + self.others


_COMMON = (
    Parameter("resource", "Resource", "Resources to run over instead of what is stored.", True),
    Parameter("_format", "code", "json, ndjson (default), csv, parquet or fhir."),
    Parameter("header", "boolean", "Whether csv begins with the column names (default true)."),
    Parameter("patient", "Reference", "Only resources of this patient; repeatable.", True),
    Parameter("_since", "instant", "Only resources that the source changed after this instant."),
    Parameter("_limit", "integer", "The most rows to give."),
)
VIEWDEFINITION_RUN = Operation(
    code="viewdefinition-run",
    base="http://hl7.org/fhir/uv/sql-on-fhir/OperationDefinition/ViewDefinitionRun",
    title="Run a ViewDefinition",
    subjects=(
        Parameter("viewCanonical", "canonical", "Canonical URL of a known view."),
        Parameter("viewReference", "Reference", "A known view, as ViewDefinition/name."),
        Parameter("viewResource", "Resource", "The ViewDefinition itself."),
    ),
    others=_COMMON,
)
SQL_RUN = Operation(
    code="sql-run",
    base="http://hl7.org/fhir/uv/sql-on-fhir/OperationDefinition/SQLRun",
    title="Run a ViewDefinition, SQLQuery or SQLView",
    subjects=(
        Parameter("subjectCanonical", "canonical", "Canonical URL of what is to run."),
        Parameter(
            "subjectReference", "Reference", "A known view: ViewDefinition/name or Library/name."
        ),
        Parameter("subjectResource", "Resource", "The ViewDefinition, SQLQuery or SQLView itself."),
    ),
    others=(
        Parameter("parameters", "Parameters", "Values for the parameters that a SQLQuery names."),
        *_COMMON,
    ),
)


def in_query(operation: Operation, pairs: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """The parameters of a query string; OperationError names the first that is none."""
    found: dict[str, list[Any]] = {}
    for name, text in pairs:
        parameter = _known(operation, name)
        if parameter.is_resource:
            raise _invalid(name, "cannot stand in a URL", "send it in the body, with POST")
        _collect(found, parameter, _of_text(parameter, text))
    return found


def in_body(operation: Operation, body: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The parameters of a Parameters resource; OperationError names the first that is none."""
    entries = body.get("parameter", [])
    if not isinstance(entries, list) or len(entries) > PARAMETERS_MAX:
        raise _invalid(
            "parameter", "is no list that is taken", f"send a list of at most {PARAMETERS_MAX}"
        )
    found: dict[str, list[Any]] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _invalid(f"parameter[{number}]", "has no name", "send objects with a name")
        parameter = _known(operation, entry["name"])
        _collect(found, parameter, _of_entry(parameter, entry))
    return found


def merged(operation: Operation, *sources: Values) -> dict[str, list[Any]]:
    """The parameters of URL and body together; none may be in both unless it repeats."""
    found: dict[str, list[Any]] = {}
    by_name = {parameter.name: parameter for parameter in operation.parameters}
    for source in sources:
        for name, values in source.items():
            for value in values:
                _collect(found, by_name[name], value)
    return found


def _known(operation: Operation, name: str) -> Parameter:
    for parameter in operation.parameters:
        if parameter.name == name:
            return parameter
    names = tuple(parameter.name for parameter in operation.parameters)
    shown = name[:NAME_CHARS_MAX]
    raise OperationError(
        f'the parameter "{shown}" is not supported',
        status=400,
        issue="not-supported",
        code="parameter_unknown",
        field=shown,
        allowed=names,
        did_you_mean=nearest(shown, names),
        hint="use the allowed parameters only; none is ever ignored",
    )


def _collect(found: dict[str, list[Any]], parameter: Parameter, value: Any) -> None:
    values = found.setdefault(parameter.name, [])
    if values and not parameter.many:
        raise _invalid(parameter.name, "is given more than once", "give it once")
    values.append(value)


def _of_text(parameter: Parameter, text: str) -> Any:
    if parameter.type == "boolean":
        if text not in ("true", "false"):
            raise _invalid(parameter.name, "is not a boolean", "give true or false")
        return text == "true"
    if parameter.type == "integer":
        if not text.isascii() or not text.isdigit() or len(text) > NAME_CHARS_MAX:
            raise _invalid(parameter.name, "is not a whole number", "give digits only")
        return int(text)
    return _bounded(parameter, text)


def _of_entry(parameter: Parameter, entry: Mapping[str, Any]) -> Any:
    """The one value of an entry of a Parameters resource."""
    if parameter.is_resource:
        return _resource(parameter, entry)
    keys = [key for key in entry if key.startswith("value")]
    allowed = _VALUE_KEYS[parameter.type]
    if len(keys) != 1 or keys[0] not in allowed or "resource" in entry or "part" in entry:
        raise _invalid(
            parameter.name, "has no value of its type", f"give one {' or '.join(allowed)}"
        )
    value = entry[keys[0]]
    if keys[0] == "valueReference":
        value = value.get("reference") if isinstance(value, dict) else None
    wanted = {"boolean": bool, "integer": int}.get(parameter.type, str)
    if type(value) is not wanted:
        raise _invalid(parameter.name, "has a value of another type", f"give one {allowed[0]}")
    return _bounded(parameter, value) if isinstance(value, str) else value


def _resource(parameter: Parameter, entry: Mapping[str, Any]) -> Any:
    value = entry.get("resource")
    if not isinstance(value, dict) or any(key.startswith("value") for key in entry):
        raise _invalid(parameter.name, "carries no resource", 'put a JSON object under "resource"')
    return value


def _bounded(parameter: Parameter, text: str) -> str:
    if not text or len(text) > TEXT_CHARS_MAX:
        raise _invalid(
            parameter.name, "is empty or too long", f"give 1 to {TEXT_CHARS_MAX} characters"
        )
    return text


def _invalid(name: str, what: str, hint: str) -> OperationError:
    return OperationError(
        f'"{name}" {what}',
        status=400,
        issue="invalid",
        code="parameter_invalid",
        field=name,
        hint=hint,
    )
