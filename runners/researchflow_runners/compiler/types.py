"""What the compiler knows of a value before it sees one: FHIR types and their kinds.

A kind groups the types that compare and convert alike.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from researchflow_runners.fhir import model

Kind: TypeAlias = Literal[
    "empty", "string", "boolean", "integer", "decimal", "date", "dateTime", "time", "quantity",
    "complex", "mixed",
]  # fmt: skip
Types: TypeAlias = tuple[str, ...]

_KIND_OF_PRIMITIVE: dict[str, Kind] = {
    "boolean": "boolean",
    "integer": "integer",
    "positiveInt": "integer",
    "unsignedInt": "integer",
    "integer64": "integer",
    "decimal": "decimal",
    "date": "date",
    "dateTime": "dateTime",
    "instant": "dateTime",
    "time": "time",
}
#: Least and greatest value of each kind of integer.
RANGES = {
    "integer": (-(2**31), 2**31 - 1),
    "positiveInt": (1, 2**31 - 1),
    "unsignedInt": (0, 2**31 - 1),
    "integer64": (-(2**63), 2**63 - 1),
}
NUMBERS: frozenset[Kind] = frozenset({"integer", "decimal"})
DATES: frozenset[Kind] = frozenset({"date", "dateTime"})

#: Types that FHIR R5 and ViewDefinition constants know and R4 does not.
LATER_PRIMITIVES = frozenset({"integer64"})


def is_primitive(name: str) -> bool:
    """Whether values of the type are JSON scalars."""
    return name in LATER_PRIMITIVES or model().is_primitive(name)


def kind_of_type(name: str) -> Kind:
    """The kind of one FHIR type."""
    if name in _KIND_OF_PRIMITIVE:
        return _KIND_OF_PRIMITIVE[name]
    if is_primitive(name):
        return "string"
    return "quantity" if model().is_subtype(name, "Quantity") else "complex"


def kind_of(types: Types) -> Kind:
    """The kind that all the types share, `mixed` when they share none."""
    kinds = {kind_of_type(name) for name in types}
    if not kinds:
        return "empty"
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= NUMBERS:
        return "decimal"
    if kinds <= DATES:
        return "dateTime"
    if kinds <= {"complex", "quantity"}:
        return "complex"
    return "mixed"


def known_type(name: str) -> str | None:
    """The FHIR type meant by a type specifier such as `Patient`, `FHIR.Patient`, `System.String`.

    None when there is no such type.
    """
    short = name.removeprefix("FHIR.")
    if short != name or "." not in name:
        return short if model().is_type(short) or short in LATER_PRIMITIVES else None
    if name.startswith("System."):
        system = name.removeprefix("System.")
        lowered = system[0].lower() + system[1:]
        return lowered if is_primitive(lowered) or lowered == "quantity" else None
    return name if model().is_type(name) else None
