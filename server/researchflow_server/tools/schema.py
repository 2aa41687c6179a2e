"""The argument schemas as published: every word of them costs the model's attention.

Pydantic's schema is exact and long. Titles, null alternatives and repeated unions are taken out;
the validation behind it stays pydantic's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from researchflow_runners.query.model import Asking, SqlQuery

FILTER_KINDS = ("Compare", "InQuery", "AnyOf", "AllOf", "Not")
CONNECTIVES = ("AllOf", "AnyOf", "Not")
TOLD_BY_FIELDS = frozenset({"Aggregate", "Compare", "Order", "SubQuery"})
#: With more views than this, naming them all would crowd out the rest; list_views names them.
VIEWS_NAMED_MAX = 40
_FILTER_REFS = [{"$ref": f"#/$defs/{kind}"} for kind in FILTER_KINDS]
_FILTER = {"$ref": "#/$defs/Filter"}
_SHOWN_FILTER = {
    "anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in ("Compare", "InQuery", "Combine")]
}
#: Bounds that hardly any call meets; the error that one meets names it.
BOUNDS = frozenset({"exclusiveMinimum", "maxItems", "minItems"})
_DROPPED_DEFAULTS: tuple[Any, ...] = (None, [])


def compact_schema(model: type[BaseModel], view_names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments; the views that exist are named where one is asked."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    if model is SqlQuery:
        _leave_to_query_view(schema["properties"])
    compacted: dict[str, Any] = _compact(schema)
    compacted.setdefault("properties", {})
    if definitions:
        compacted["$defs"] = {name: _compact(_terse(part)) for name, part in definitions.items()}
    if "Compare" in definitions:
        _combine_connectives(compacted["$defs"])
        _name_views(compacted, view_names)
    return compacted


def _leave_to_query_view(properties: dict[str, Any]) -> None:
    """What both tools take is told once."""
    for name in Asking.model_fields:
        kind = properties[name].get("type")
        properties[name] = {"type": kind} if kind else {}


def _short_list(node: dict[str, Any], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of what stands beside it needs no second naming of that."""
    inner = node.get("items", {}).get("anyOf", [])
    return {"type": "array"} if inner and all(part in beside for part in inner) else node


def _combine_connectives(definitions: dict[str, Any]) -> None:
    """`all_of`, `any_of` and `not` as one object: three would cost twice the words."""
    parts = [definitions.pop(name) for name in CONNECTIVES]
    definitions["Combine"] = {
        "type": "object",
        "description": "Exactly one of the three; unknown stays unknown below not",
        "properties": {name: shown for part in parts for name, shown in part["properties"].items()},
    }
    definitions["Filter"] = _SHOWN_FILTER


def _terse(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition without what its names say already; unknown fields are refused in any case."""
    told = definition.get("title") in TOLD_BY_FIELDS
    left_out = {"additionalProperties", "description"} if told else {"additionalProperties"}
    return {key: value for key, value in definition.items() if key not in left_out}


def _compact(node: Any) -> Any:
    if isinstance(node, list):
        return [_compact(part) for part in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: value
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
        and not (key == "default" and value in _DROPPED_DEFAULTS)
        and not (key == "additionalProperties" and value is True)
        and key not in BOUNDS
    }
    kept = {key: _compact(value) for key, value in kept.items()}
    if kept.get("oneOf") == _FILTER_REFS:
        del kept["oneOf"]
        kept = {**_FILTER, **kept}
    return _merge_alternatives(kept)


def _merge_alternatives(node: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` without null, and without itself when one alternative is left."""
    alternatives = node.get("anyOf")
    if not isinstance(alternatives, list):
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    left = [part for part in alternatives if part != {"type": "null"}]
    left = [_short_list(part, left) for part in left]
    if len(left) == 1:
        return {**left[0], **rest}
    if {"type": "number"} in left:
        left = [part for part in left if part != {"type": "integer"}]
    return {"anyOf": left, **rest}


def _name_views(schema: dict[str, Any], view_names: Sequence[str]) -> None:
    """Enumerates the views, once for all places that take one."""
    for owner in (schema, *schema["$defs"].values()):
        if "view" in owner.get("properties", {}):
            owner["properties"]["view"] = {"$ref": "#/$defs/View"}
    named = {"enum": list(view_names)} if len(view_names) <= VIEWS_NAMED_MAX else {}
    schema["$defs"]["View"] = {"type": "string", **named}
