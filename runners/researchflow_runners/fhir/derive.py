"""Derive r4.json from HL7's R4 StructureDefinitions; run by hand, never at install.

    python -m researchflow_runners.fhir.derive profiles-types.xml profiles-resources.xml

writes the table to standard output; the same input gives the same bytes. README.md names the
source of the two files. An element is one string, `name: spec`:

    "gender": "code"                            at most one
    "name": "HumanName*"                        a list
    "deceased[x]": "boolean|dateTime"           a choice
    "item": "Questionnaire.item*"               a nested type, or a content reference to one
    "subject": "Reference(Group|Patient)"       a reference and what it may point at
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element as Node

FHIR_VERSION = "4.0.1"
FHIR_TYPE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
#: The definitions say `string` (R4 erratum); the specification's own table says `id`.
CORRECTED_TYPES = {"Resource.id": "id"}
SYSTEM_TYPES = "http://hl7.org/fhirpath/"
KINDS = {"primitive-type": "primitives", "complex-type": "complex", "resource": "resources"}
NESTED_TYPES = frozenset({"BackboneElement", "Element"})

NAMESPACE = {"f": "http://hl7.org/fhir"}

Table = dict[str, dict[str, dict[str, str]]]


def value(node: Node, name: str) -> str:
    """The `value` of the first child of that name; empty when there is none."""
    child = node.find(f"f:{name}", NAMESPACE)
    return "" if child is None else child.get("value", "")


def values(node: Node, name: str) -> list[str]:
    return [child.get("value", "") for child in node.findall(f"f:{name}", NAMESPACE)]


def definitions(bundle: Node) -> Iterator[Node]:
    """The type definitions of a bundle; no profiles, logical models or other versions."""
    for definition in bundle.iterfind("f:entry/f:resource/f:StructureDefinition", NAMESPACE):
        if (
            value(definition, "fhirVersion") == FHIR_VERSION
            and value(definition, "kind") in KINDS
            and value(definition, "derivation") != "constraint"
        ):
            yield definition


def type_code(path: str, declared: Node) -> str:
    """The FHIR type that one `ElementDefinition.type` stands for."""
    if path in CORRECTED_TYPES:
        return CORRECTED_TYPES[path]
    code = value(declared, "code")
    if not code.startswith(SYSTEM_TYPES):
        return code
    for extension in declared.iterfind("f:extension", NAMESPACE):
        if extension.get("url") == FHIR_TYPE_EXTENSION:
            return value(extension, "valueUrl")
    return "string"


def type_spec(path: str, declared: Node) -> str:
    """The type's name, with the targets when it is a reference to certain types only."""
    code = type_code(path, declared)
    if code in NESTED_TYPES:
        return path
    targets = sorted({url.rsplit("/", 1)[1] for url in values(declared, "targetProfile")})
    if code == "Reference" and targets and targets != ["Resource"]:
        return f"Reference({'|'.join(targets)})"
    return code


def element_spec(element: Node) -> str:
    """All types of an element, with `*` when it repeats."""
    many = "" if value(element, "max") in ("0", "1") else "*"
    content_reference = value(element, "contentReference")
    if content_reference:
        return content_reference.removeprefix("#") + many
    path = value(element, "path")
    declared = element.findall("f:type", NAMESPACE)
    return "|".join(dict.fromkeys(type_spec(path, one) for one in declared)) + many


def add_nested(table: Table, element: Node) -> None:
    """A nested type named by the element's path, when the element introduces one."""
    for declared in element.iterfind("f:type", NAMESPACE):
        if value(declared, "code") in NESTED_TYPES:
            table["nested"][value(element, "path")] = {"": value(declared, "code")}


def add_definition(table: Table, definition: Node) -> None:
    """The definition's own elements and nested types; inherited ones stay with the base."""
    root, kind = value(definition, "type"), value(definition, "kind")
    own = {"": value(definition, "baseDefinition").rsplit("/", 1)[-1]}
    table[KINDS[kind]][root] = own
    if kind == "primitive-type":
        return
    for element in definition.findall("f:snapshot/f:element", NAMESPACE)[1:]:
        path = value(element, "path")
        if path not in values(element, "base/f:path"):
            continue
        add_nested(table, element)
        parent, name = path.rsplit(".", 1)
        owner = own if parent == root else table["nested"][parent]
        owner[name] = element_spec(element)


def derive(bundles: Sequence[Node]) -> dict[str, Any]:
    """The table of every type that the bundles define."""
    table: Table = {name: {} for name in (*KINDS.values(), "nested")}
    abstract: list[str] = []
    for bundle in bundles:
        for definition in definitions(bundle):
            add_definition(table, definition)
            if value(definition, "abstract") == "true":
                abstract.append(value(definition, "type"))
    kinds = {kind: dict(sorted(types.items())) for kind, types in table.items()}
    return {"fhirVersion": FHIR_VERSION, "abstract": sorted(abstract), **kinds}


def dump(table: dict[str, Any]) -> str:
    """The table as JSON with one type a line, so that a difference can be read."""
    lines: list[str] = []
    for key, value in table.items():
        if not isinstance(value, dict):
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
            continue
        types = ",\n".join(
            f"{json.dumps(name)}:{json.dumps(elements, separators=(',', ':'))}"
            for name, elements in value.items()
        )
        lines.append(f"{json.dumps(key)}: {{\n{types}\n}}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(paths: Sequence[str]) -> None:
    bundles = [ElementTree.parse(path).getroot() for path in paths]
    sys.stdout.write(dump(derive(bundles)))


if __name__ == "__main__":
    main(sys.argv[1:])
