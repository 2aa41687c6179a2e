"""Whether a resource has the JSON shape of its type: lists where FHIR has lists, and so on.

FHIR servers hold such JSON only. What comes in by other doors is checked here, because a view
would otherwise read a wrong value (`"gender": 5`) or none (`"name": {…}`) without a word. Elements
that R4 does not know are passed over: no view can read them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from researchflow_runners.fhir.model import model

#: Whether a key holds a list, and of what: values of a Python type, numbers (the types that are
#: none: readers have types of their own for exact ones), or nodes of a FHIR type.
Rule = tuple[bool, type | tuple[type, ...] | str]

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
    rules = _rules(type_name)
    for key, value in node.items():
        rule = rules.get(key)
        if rule is None:
            continue
        many, content = rule
        if not many:
            if type(value) is content:
                continue
            found = _item_fault(value, content)
        elif isinstance(value, list):
            # A list of primitives may hold null beside an extension in its sibling.
            primitive = not isinstance(content, str)
            found = None
            for item in value:
                if type(item) is content or (primitive and item is None):
                    continue
                found = _item_fault(item, content)
                if found is not None:
                    break
        else:
            found = ""
        if found is not None:
            return f"{key}.{found}".rstrip(".")
    return None


def _item_fault(item: Any, content: type | tuple[type, ...] | str) -> str | None:
    """The path below one item to what does not fit; '' for the item itself."""
    if isinstance(content, str):
        if type(item) is not dict:
            return ""
        said = item.get("resourceType") if content == RESOURCE else None
        return _fault(item, said if isinstance(said, str) else content)
    return None if isinstance(content, tuple) and type(item) not in content else ""


@cache
def _rules(type_name: str) -> dict[str, Rule]:
    """The rule of each JSON key of a type; none for a type that R4 does not know."""
    return {
        key: (element.many, _content(fhir_type))
        for element in model().elements(type_name)
        for key, fhir_type in element.json_keys
    }


def _content(fhir_type: str) -> type | tuple[type, ...] | str:
    if not model().is_primitive(fhir_type):
        return fhir_type
    if fhir_type == "boolean":
        return bool
    if fhir_type == "decimal":
        return _NO_DECIMAL
    return _NO_INTEGER if fhir_type in _INTEGERS else str
