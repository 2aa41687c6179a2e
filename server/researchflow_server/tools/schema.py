"""The argument schemas as published: every word of them costs the model's attention.

Pydantic's schema is exact and long. Titles, null alternatives and repeated unions are taken out;
the validation behind it stays pydantic's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

FILTER_KINDS = ("Compare", "InQuery", "AnyOf", "AllOf", "Not")
TOLD_BY_FIELDS = frozenset({"Aggregate", "AllOf", "AnyOf", "Compare", "Order", "SubQuery"})
_FILTER_REFS = [{"$ref": f"#/$defs/{kind}"} for kind in FILTER_KINDS]
_FILTER = {"$ref": "#/$defs/Filter"}
_DROPPED_DEFAULTS: tuple[Any, ...] = (None, [])


def compact_schema(model: type[BaseModel], view_names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, with `view` limited to the views that exist."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    compacted: dict[str, Any] = _compact(schema)
    if definitions:
        compacted["$defs"] = {name: _compact(_terse(part)) for name, part in definitions.items()}
    compacted.setdefault("properties", {})
    _limit_views(compacted, view_names)
    if "Compare" in definitions:
        compacted["$defs"]["Filter"] = {"anyOf": _FILTER_REFS}
    return compacted


def _terse(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition whose fields explain it: only some say what their names do not."""
    if definition.get("title") in TOLD_BY_FIELDS:
        return {key: value for key, value in definition.items() if key != "description"}
    return definition


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
    if len(left) == 1:
        return {**left[0], **rest}
    if {"type": "number"} in left:
        left = [part for part in left if part != {"type": "integer"}]
    return {"anyOf": left, **rest}


def _limit_views(schema: dict[str, Any], view_names: Sequence[str]) -> None:
    """Enumerates the views, once: the names are many."""
    owners = [schema, *schema.get("$defs", {}).values()]
    views = [owner["properties"]["view"] for owner in owners if "view" in owner["properties"]]
    for view in views:
        view.pop("type")
        view.pop("description", None)
        view.update({"enum": list(view_names)} if len(views) == 1 else {"$ref": "#/$defs/View"})
    if len(views) > 1:
        schema["$defs"]["View"] = {"enum": list(view_names)}
