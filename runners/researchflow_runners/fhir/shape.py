"""Whether a resource has the JSON shape of its type: lists where FHIR has lists, and so on.

FHIR servers hold such JSON only. What comes in by other doors is checked here, because a view
would otherwise read a wrong value (`"gender": 5`) or none (`"name": {…}`) without a word. Elements
that R4 does not know are passed over: no view can read them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from researchflow_runners.fhir.model import model

#: Whether a key holds a list; of which Python type (numbers: the types that are none, because
#: readers have types of their own for exact ones); and, of nodes, their FHIR type.
Rule = tuple[bool, type | tuple[type, ...], str | None]

_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
_NO_DECIMAL = (str, bool, dict, list, type(None))
_NO_INTEGER = (*_NO_DECIMAL, float)
RESOURCE = "Resource"


def shape_fault(resource: dict[str, Any]) -> str | None:
    """The path of the first element whose JSON has another shape than FHIR says, or None."""
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return "resourceType"
    found = _fault(resource, kind)
    return None if found is None else f"{kind}.{found}"


def _fault(node: dict[str, Any], type_name: str) -> str | None:
    """The path below a node to what does not fit; few calls, since a load checks every node."""
    if type_name == RESOURCE:
        said = node.get("resourceType")
        type_name = said if isinstance(said, str) else type_name
    rules = _rules(type_name)
    for key, value in node.items():
        rule = rules.get(key)
        if rule is None:
            continue
        many, content, nested = rule
        held: type = type(value)
        found: str | None = None
        if many:
            found = _list_fault(value, content, nested)
        elif held is not content:
            found = _misfit(value, content)
        elif nested is not None:
            found = _fault(value, nested)
        if found is not None:
            return f"{key}.{found}".rstrip(".")
    return None


def _list_fault(value: Any, content: type | tuple[type, ...], nested: str | None) -> str | None:
    """The path below a list to what does not fit; '' for an item itself, or what is no list."""
    if not isinstance(value, list):
        return ""
    for item in value:
        held: type = type(item)
        if held is content:
            found = None if nested is None else _fault(item, nested)
        elif item is None and nested is None:
            # A list of primitives may hold null beside an extension in its sibling.
            continue
        else:
            found = _misfit(item, content)
        if found is not None:
            return found
    return None


def _misfit(value: Any, content: type | tuple[type, ...]) -> str | None:
    """'' for a value that is not of the type, nor a number where one belongs."""
    return None if isinstance(content, tuple) and type(value) not in content else ""


@cache
def _rules(type_name: str) -> dict[str, Rule]:
    """The rule of each JSON key of a type; none for a type that R4 does not know."""
    return {
        key: (element.many, *_content(fhir_type))
        for element in model().elements(type_name)
        for key, fhir_type in element.json_keys
    }


def _content(fhir_type: str) -> tuple[type | tuple[type, ...], str | None]:
    if not model().is_primitive(fhir_type):
        return dict, fhir_type
    if fhir_type == "boolean":
        return bool, None
    if fhir_type == "decimal":
        return _NO_DECIMAL, None
    return _NO_INTEGER if fhir_type in _INTEGERS else str, None
