"""What the compiler knows of a value before it sees one: its types and their kinds.

Elements have FHIR types, such as `string`; literals and what is computed have FHIRPath's own, such
as `System.String`. A kind groups the types that compare and convert alike.

What `is`, `as` and `ofType()` mean is decided here and nowhere else. `is` asks for the type or one
that specialises it. `as` and `ofType()` do too for complex types; of the primitives, which FHIR R4
calls independent of one another, they take the very type. A name without `FHIR.` or `System.` is
FHIR's when FHIR has such a type, else FHIRPath's.
"""

from __future__ import annotations

from collections.abc import Iterable
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

SYSTEM = "System."
#: FHIRPath's own types, and the FHIR type that holds the same values.
SYSTEM_TYPES = {
    "System.Boolean": "boolean",
    "System.String": "string",
    "System.Integer": "integer",
    "System.Long": "integer64",
    "System.Decimal": "decimal",
    "System.Date": "date",
    "System.DateTime": "dateTime",
    "System.Time": "time",
    "System.Quantity": "Quantity",
}
_SYSTEM_OF_FHIR = {fhir: system for system, fhir in SYSTEM_TYPES.items()}
ANY = "System.Any"

#: Types that FHIR R5 and ViewDefinition constants know and R4 does not.
LATER_PRIMITIVES = frozenset({"integer64"})


def is_primitive(name: str) -> bool:
    """Whether values of the type are JSON scalars."""
    name = fhir_type(name)
    return name in LATER_PRIMITIVES or model().is_primitive(name)


def kind_of_type(name: str) -> Kind:
    """The kind of one type."""
    name = fhir_type(name)
    if name in _KIND_OF_PRIMITIVE:
        return _KIND_OF_PRIMITIVE[name]
    if is_primitive(name):
        return "string"
    if name == SYSTEM + "TypeInfo":
        return "complex"
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


def fhir_type(name: str) -> str:
    """The FHIR type that holds the values of a type; a FHIR type is its own."""
    return SYSTEM_TYPES.get(name, name)


def system_type(name: str) -> str:
    """FHIRPath's own type of that FHIR name, such as `System.String` of `string`."""
    return _SYSTEM_OF_FHIR[name]


def shown(types: Iterable[str]) -> str:
    """A few types as a message names them."""
    return " or ".join(list(dict.fromkeys(map(fhir_type, types)))[:3])


def known_type(name: str) -> str | None:
    """The type meant by a specifier such as `Patient`, `FHIR.Patient`, `String`, `System.String`.

    None when there is no such type.
    """
    if name.startswith(SYSTEM):
        known = name in SYSTEM_TYPES or name == ANY or model().is_type(name.removeprefix(SYSTEM))
        return name if known else None
    short = name.removeprefix("FHIR.")
    if model().is_type(short) or short in LATER_PRIMITIVES:
        return short
    system = SYSTEM + name
    return system if system in SYSTEM_TYPES or system == ANY else None


def is_type(actual: str, wanted: str) -> bool:
    """Whether a value of the type `actual` is of the type `wanted`."""
    if wanted == ANY:
        return actual in SYSTEM_TYPES
    return actual == wanted or model().is_subtype(actual, wanted)


def is_selected(actual: str, wanted: str) -> bool:
    """Whether `ofType()` and `as` with that type take a value of the type `actual`."""
    return actual == wanted or (not is_primitive(actual) and is_type(actual, wanted))
