"""FHIR R4 types: which elements a type has, of what types, how many, under which JSON keys.

Types are named as FHIR names them. Nested types, which FHIR leaves anonymous, are named by their
path: `Patient.contact`. `Bundle.entry.resource` and `DomainResource.contained` have type
`Resource`: an abstract type, whose concrete type only the data tell (`subtypes` lists them).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

Kind = Literal["primitive", "complex", "resource", "nested"]

#: r4.json's groups and the kind of the types in them.
GROUPS: tuple[tuple[str, Kind], ...] = (
    ("primitives", "primitive"),
    ("complex", "complex"),
    ("resources", "resource"),
    ("nested", "nested"),
)
CHOICE_SUFFIX = "[x]"
TYPE_SPEC = re.compile(r"([^|()]+)(?:\(([^)]*)\))?")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type.

    `name` is the FHIRPath name (`value`, never `value[x]`). `json_keys` pairs each JSON key with
    the FHIR type found under it: one pair, or one per type for a choice. `targets` are the types
    that a Reference may point at; empty means any, or not a reference.
    """

    name: str
    types: tuple[str, ...]
    many: bool
    choice: bool
    json_keys: tuple[tuple[str, str], ...]
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class FhirModel:
    """All types of one FHIR version; unknown type names give False, None or nothing, no error."""

    version: str
    _abstract: frozenset[str]
    _kinds: Mapping[str, Kind]
    _specs: Mapping[str, Mapping[str, str]]
    _parsed: dict[str, dict[str, Element]] = field(default_factory=dict, compare=False)

    def is_type(self, name: str) -> bool:
        return name in self._kinds

    def is_resource(self, name: str) -> bool:
        """Whether it is a resource type, the abstract Resource and DomainResource included."""
        return self._kinds.get(name) == "resource"

    def is_primitive(self, name: str) -> bool:
        return self._kinds.get(name) == "primitive"

    def is_abstract(self, name: str) -> bool:
        return name in self._abstract

    def type_names(self) -> tuple[str, ...]:
        """Every type of every kind: primitives, complex, resources, nested."""
        return tuple(self._kinds)

    def resource_names(self) -> tuple[str, ...]:
        """The concrete resource types, in alphabetical order."""
        return tuple(
            name
            for name, kind in self._kinds.items()
            if kind == "resource" and name not in self._abstract
        )

    def base(self, name: str) -> str | None:
        """The type that `name` specialises; None for Element, Resource and unknown names."""
        return self._specs.get(name, {}).get("") or None

    def is_subtype(self, name: str, of: str) -> bool:
        """Whether `name` is `of` or specialises it, at any depth."""
        current: str | None = name if name in self._kinds else None
        while current is not None and current != of:
            current = self.base(current)
        return current is not None

    def subtypes(self, of: str) -> tuple[str, ...]:
        """The concrete types that are `of` or specialise it."""
        return tuple(
            name for name in self._kinds if name not in self._abstract and self.is_subtype(name, of)
        )

    def element(self, type_name: str, element_name: str) -> Element | None:
        """The element, own or inherited, by its FHIRPath name; None when the type has none."""
        current: str | None = type_name
        while current is not None:
            found = self._own(current).get(element_name)
            if found is not None:
                return found
            current = self.base(current)
        return None

    def elements(self, type_name: str) -> tuple[Element, ...]:
        """All elements of the type, inherited ones first."""
        base = self.base(type_name)
        inherited = self.elements(base) if base else ()
        own = self._own(type_name)
        return (*(one for one in inherited if one.name not in own), *own.values())

    def possible_elements(
        self, type_name: str, element_name: str
    ) -> tuple[tuple[str, Element], ...]:
        """The element in each concrete subtype that has it, with the subtype's name.

        For focus whose concrete type only the data tell: `contained.status` is a code in one
        resource and absent from the next.
        """
        found = ((name, self.element(name, element_name)) for name in self.subtypes(type_name))
        return tuple((name, element) for name, element in found if element is not None)

    def _own(self, type_name: str) -> dict[str, Element]:
        parsed = self._parsed.get(type_name)
        if parsed is None:
            specs = self._specs.get(type_name, {})
            elements = [parse_element(key, spec) for key, spec in specs.items() if key]
            parsed = {element.name: element for element in elements}
            if specs:
                self._parsed[type_name] = parsed
        return parsed


def parse_element(key: str, spec: str) -> Element:
    """The element that r4.json writes as `key: spec`; derive.py gives the notation."""
    name = key.removesuffix(CHOICE_SUFFIX)
    choice = name != key
    found = [(match[1], match[2]) for match in TYPE_SPEC.finditer(spec.removesuffix("*"))]
    types = tuple(type_name for type_name, _targets in found)
    keys = (
        tuple((name + one[0].upper() + one[1:], one) for one in types)
        if choice
        else ((name, types[0]),)
    )
    return Element(
        name=name,
        types=types,
        many=spec.endswith("*"),
        choice=choice,
        json_keys=keys,
        targets=tuple(target for _type, listed in found if listed for target in listed.split("|")),
    )


@cache
def model() -> FhirModel:
    """The model of FHIR R4, read once."""
    table = json.loads(files(__package__).joinpath("r4.json").read_bytes())
    kinds: dict[str, Kind] = {}
    specs: dict[str, Mapping[str, str]] = {}
    for group, kind in GROUPS:
        for name, elements in table[group].items():
            kinds[name] = kind
            specs[name] = elements
    return FhirModel(
        version=table["fhirVersion"],
        _abstract=frozenset(table["abstract"]),
        _kinds=kinds,
        _specs=specs,
    )
