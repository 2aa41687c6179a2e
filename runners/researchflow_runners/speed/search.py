"""FHIR search parameters as conditions of a ViewDefinition, so that the one compiler reads them.

Parameters are offered by what the resource type has: an element of the right type, one value or
several. Tokens match a whole code, `system|code`, or the text; nothing matches in part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.fhir import Element, model
from researchflow_runners.naming import nearest

VALUES_MAX = 100
CONCEPT = "CodeableConcept"
PATIENT = "Patient"
#: Elements that say whose record a resource is, by R4's types.
PATIENT_ELEMENTS = ("subject", "patient", "beneficiary", "individual", "candidate")

#: Search parameter → the element it looks at; `medication` and `vaccineCode` are codes by meaning.
_ELEMENTS = {
    "active": ("active",),
    "birthdate": ("birthDate",),
    "category": ("category",),
    "clinical-status": ("clinicalStatus",),
    "code": ("code", "medication", "vaccineCode"),
    "encounter": ("encounter",),
    "family": ("name",),
    "gender": ("gender",),
    "given": ("name",),
    "identifier": ("identifier",),
    "intent": ("intent",),
    "patient": ("subject", "patient"),
    "status": ("status",),
    "subject": ("subject", "patient"),
    "verification-status": ("verificationStatus",),
}
_NAME_PARTS = {"family": "name.where(family = {})", "given": "name.given.where($this = {})"}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What to add to a ViewDefinition's `constant` and `where`."""

    constants: tuple[dict[str, Any], ...]
    where: tuple[dict[str, Any], ...]

    def added_to(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """The definition, narrowed to the resources that meet the conditions."""
        return {
            **definition,
            "constant": [*definition.get("constant", ()), *self.constants],
            "where": [*definition.get("where", ()), *self.where],
        }


def parameters_of(resource_type: str) -> tuple[str, ...]:
    """The search parameters that resources of the type can be filtered by."""
    offered = [name for name in _ELEMENTS if _path(resource_type, name) is not None]
    return ("_id", *offered)


def conditions(resource_type: str, params: Mapping[str, Any]) -> Conditions:
    """All of the parameters, each equal to its value or to one of its values.

    QueryError `unknown_search_parameter` or `value_type`.
    """
    constants: list[dict[str, Any]] = []
    where: list[dict[str, Any]] = []
    for name, value in params.items():
        path = _path(resource_type, name)
        if path is None:
            raise unknown_parameter(resource_type, name, parameters_of(resource_type))
        tests = [_test(name, path, one, constants) for one in _values(name, value)]
        where.append({"path": " or ".join(f"({test})" for test in tests)})
    return Conditions(tuple(constants), tuple(where))


def patient_path(resource_type: str) -> str | None:
    """FHIRPath of the patient's key in a resource of the type; None when it has no patient."""
    if resource_type == PATIENT:
        return "getResourceKey()"
    for name in PATIENT_ELEMENTS:
        element = model().element(resource_type, name)
        if element is None or element.many or "Reference" not in element.types:
            continue
        if not element.targets or PATIENT in element.targets:
            return f"{name}.getReferenceKey({PATIENT})"
    return None


def unknown_parameter(resource_type: str, name: str, allowed: tuple[str, ...]) -> QueryError:
    """The refusal of a name that is neither a column nor a search parameter."""
    return QueryError(
        f'"{name[:64]}" is not a search parameter of "{resource_type}" nor a column of the view',
        code="unknown_search_parameter",
        hint="use one of the allowed names",
        field="search_params",
        allowed=allowed,
        did_you_mean=nearest(name, allowed),
    )


def _path(resource_type: str, name: str) -> str | None:
    """FHIRPath with a hole for the constant; None when the type has no such parameter."""
    if name == "_id":
        return "getResourceKey() = {}"
    if name in ("patient", "subject"):
        key = patient_path(resource_type)
        return None if key is None or resource_type == PATIENT else f"{key} = {{}}"
    for element_name in _ELEMENTS.get(name, ()):
        element = model().element(resource_type, element_name)
        if element is not None:
            return _element_path(name, element)
    return None


def _element_path(name: str, element: Element) -> str | None:
    if name in _NAME_PARTS:
        return _NAME_PARTS[name] + ".exists()" if element.types == ("HumanName",) else None
    if CONCEPT in element.types:
        chosen = f".ofType({CONCEPT})" if element.choice else ""
        return f"{element.name}{chosen}"
    if name == "identifier":
        return "identifier.where(value = {}).exists()"
    if "Reference" in element.types:
        return f"{element.name}.getReferenceKey() = {{}}" if not element.many else None
    return f"{element.name} = {{}}" if not element.many else None


def _test(name: str, path: str, value: str | bool, constants: list[dict[str, Any]]) -> str:
    """The condition of one value; its constants are added to the list."""

    def constant(content: str | bool) -> str:
        key = {"active": "valueBoolean", "birthdate": "valueDate"}.get(name, "valueString")
        constants.append({"name": f"search_{len(constants)}", key: content})
        return f"%search_{len(constants) - 1}"

    if "{}" in path:
        if name in ("patient", "subject", "encounter") and isinstance(value, str):
            value = value.rpartition("/")[2]
        return path.format(constant(value))
    text = str(value)
    system, bar, code = text.partition("|")
    if bar:
        both = f"system = {constant(system)} and code = {constant(code)}"
        return f"{path}.coding.where({both}).exists()"
    term = constant(text)
    return f"{path}.coding.where(code = {term}).exists() or {path}.where(text = {term}).exists()"


def _values(name: str, value: Any) -> list[str | bool]:
    values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    wanted = bool if name == "active" else str
    if 0 < len(values) <= VALUES_MAX and all(isinstance(one, wanted) for one in values):
        return values
    raise QueryError(
        f'search parameter "{name}" has a value it cannot be compared with',
        code="value_type",
        hint=f"give {'true or false' if wanted is bool else 'text'}, or 1 to {VALUES_MAX} of them",
        field=f"search_params.{name}",
    )
