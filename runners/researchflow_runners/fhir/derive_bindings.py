"""Derive bindings.json from HL7's R4 definitions; run by hand, never at install.

    python -m researchflow_runners.fhir.derive_bindings profiles-types.xml profiles-resources.xml \\
        valuesets.xml v3-codesystems.xml

writes to standard output, for every element of type `code` whose binding is required, the name of
its value set, and the codes of each value set. Value sets that are not a list of codes (MIME types,
languages, UCUM) are left out: what they hold is no one's to say.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element as Node

from researchflow_runners.fhir.derive import NAMESPACE, definitions, value, values

CODES_MAX = 150


def resources(bundles: Sequence[Node], kind: str) -> Iterator[Node]:
    """The resources of a type in the bundles."""
    for bundle in bundles:
        yield from bundle.iterfind(f"f:entry/f:resource/f:{kind}", NAMESPACE)


def concepts(system: Node) -> list[str]:
    """The codes of a code system, those below others included."""
    return [value(one, "code") for one in system.iter(f"{{{NAMESPACE['f']}}}concept")]


def codes_of(value_set: Node, systems: Mapping[str, Node]) -> list[str] | None:
    """The codes of a value set that lists them or takes whole systems; None for any other."""
    found: list[str] = []
    if value_set.find("f:compose/f:exclude", NAMESPACE) is not None:
        return None
    for include in value_set.iterfind("f:compose/f:include", NAMESPACE):
        listed = [value(one, "code") for one in include.iterfind("f:concept", NAMESPACE)]
        system = systems.get(value(include, "system"))
        odd = [include.find(f"f:{part}", NAMESPACE) for part in ("filter", "valueSet")]
        is_complete = system is not None and value(system, "content") == "complete"
        if any(part is not None for part in odd) or not (listed or is_complete):
            return None
        found += listed or (concepts(system) if system is not None else [])
    return found if 0 < len(found) <= CODES_MAX else None


def bound(bundles: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Each element of type code with a required binding, and the URL of its value set."""
    for bundle in bundles:
        for definition in definitions(bundle):
            for element in definition.findall("f:snapshot/f:element", NAMESPACE)[1:]:
                path = value(element, "path")
                binding = element.find("f:binding", NAMESPACE)
                types = [value(one, "code") for one in element.findall("f:type", NAMESPACE)]
                if (
                    binding is None
                    or types != ["code"]
                    or path not in values(element, "base/f:path")
                ):
                    continue
                if value(binding, "strength") == "required":
                    yield path, value(binding, "valueSet").partition("|")[0]


def derive(bundles: Sequence[Node]) -> dict[str, Any]:
    """The table: `elements` by path with a value set's name, `codes` of each value set."""
    systems = {value(one, "url"): one for one in resources(bundles, "CodeSystem")}
    sets = {value(one, "url"): codes_of(one, systems) for one in resources(bundles, "ValueSet")}
    elements: dict[str, str] = {}
    codes: dict[str, list[str]] = {}
    for path, url in bound(bundles):
        found = sets.get(url)
        if found is not None:
            name = url.rsplit("/", 1)[-1]
            elements[path], codes[name] = name, found
    return {"codes": dict(sorted(codes.items())), "elements": dict(sorted(elements.items()))}


def dump(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as JSON with one entry a line, so that a difference can be read."""
    groups = []
    for key, entries in table.items():
        lines = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(one)}" for name, one in entries.items()
        )
        groups.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(groups) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(dump(derive([ElementTree.parse(path).getroot() for path in sys.argv[1:]])))
