"""Derive r4.json from HL7's R4 StructureDefinitions; run by hand, never at install.

    python -m researchflow_runners.fhir.derive profiles-types.json profiles-resources.json

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FHIR_VERSION = "4.0.1"
FHIR_TYPE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
#: The definitions say `string` (R4 erratum); the specification's own table says `id`.
CORRECTED_TYPES = {"Resource.id": "id"}
KINDS = {"primitive-type": "primitives", "complex-type": "complex", "resource": "resources"}
NESTED_TYPES = frozenset({"BackboneElement", "Element"})

Json = dict[str, Any]
Table = dict[str, dict[str, dict[str, str]]]


def definitions(bundle: Json) -> Iterator[Json]:
    """The type definitions of a bundle: neither profiles, nor logical models, nor other versions."""
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if (
            resource["resourceType"] == "StructureDefinition"
            and resource["fhirVersion"] == FHIR_VERSION
            and resource["kind"] in KINDS
            and resource.get("derivation") != "constraint"
        ):
            yield resource


def type_code(path: str, declared: Json) -> str:
    """The FHIR type that one `ElementDefinition.type` stands for."""
    if path in CORRECTED_TYPES:
        return CORRECTED_TYPES[path]
    code: str = declared["code"]
    if not code.startswith("http://hl7.org/fhirpath/"):
        return code
    for extension in declared.get("extension", ()):
        if extension["url"] == FHIR_TYPE_EXTENSION:
            return str(extension["valueUrl"])
    return "string"


def type_spec(path: str, declared: Json) -> str:
    """The type's name, with the targets when it is a reference to certain types only."""
    code = type_code(path, declared)
    if code in NESTED_TYPES:
        return path
    targets = sorted({target.rsplit("/", 1)[1] for target in declared.get("targetProfile", ())})
    if code == "Reference" and targets and targets != ["Resource"]:
        return f"Reference({'|'.join(targets)})"
    return code


def element_spec(element: Json) -> str:
    """All types of an element, with `*` when it repeats."""
    many = "" if element["max"] in ("0", "1") else "*"
    if "contentReference" in element:
        return str(element["contentReference"]).removeprefix("#") + many
    path = element["path"]
    types = dict.fromkeys(type_spec(path, declared) for declared in element["type"])
    return "|".join(types) + many


def base_of(definition: Json) -> str:
    return str(definition.get("baseDefinition", "")).rsplit("/", 1)[-1]


def add_nested(table: Table, element: Json) -> None:
    """A nested type named by the element's path, when the element introduces one."""
    for declared in element.get("type", ()):
        if declared["code"] in NESTED_TYPES:
            table["nested"][element["path"]] = {"": declared["code"]}


def add_definition(table: Table, definition: Json) -> None:
    """The definition's own elements and nested types; inherited ones stay with the base."""
    root = definition["type"]
    own = {"": base_of(definition)}
    table[KINDS[definition["kind"]]][root] = own
    if definition["kind"] == "primitive-type":
        return
    for element in definition["snapshot"]["element"][1:]:
        path, base_path = element["path"], element["base"]["path"]
        if path != base_path:
            continue
        add_nested(table, element)
        parent, name = path.rsplit(".", 1)
        owner = own if parent == root else table["nested"][parent]
        owner[name] = element_spec(element)


def derive(bundles: Sequence[Json]) -> Json:
    """The table of every type that the bundles define."""
    table: Table = {name: {} for name in (*KINDS.values(), "nested")}
    abstract: list[str] = []
    for bundle in bundles:
        for definition in definitions(bundle):
            add_definition(table, definition)
            if definition["abstract"]:
                abstract.append(definition["type"])
    kinds = {kind: dict(sorted(types.items())) for kind, types in table.items()}
    return {"fhirVersion": FHIR_VERSION, "abstract": sorted(abstract), **kinds}


def dump(table: Json) -> str:
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
    bundles = [json.loads(Path(path).read_text("utf-8")) for path in paths]
    sys.stdout.write(dump(derive(bundles)))


if __name__ == "__main__":
    main(sys.argv[1:])
