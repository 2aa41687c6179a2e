"""The argument schemas as published: every word of them costs the model's attention.

Pydantic's schema is exact and long. Titles, null alternatives and repeated unions are taken out;
the validation behind it stays pydantic's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

FILTER_KINDS = ("Compare", "InQuery", "AnyOf", "AllOf", "Not")
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
        compacted["$defs"] = {name: _compact(part) for name, part in definitions.items()}
    if "Compare" in definitions:
        compacted["$defs"]["Filter"] = {"anyOf": _FILTER_REFS}
    _limit_views(compacted, view_names)
    compacted.setdefault("properties", {})
    return compacted


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
    if all(set(part) == {"type"} for part in left):
        types = [part["type"] for part in left]
        return {"type": [t for t in types if not (t == "integer" and "number" in types)], **rest}
    return {"anyOf": left, **rest}


def _limit_views(schema: dict[str, Any], view_names: Sequence[str]) -> None:
    owners = [schema, *schema.get("$defs", {}).values()]
    for owner in owners:
        view = owner.get("properties", {}).get("view")
        if view is not None:
            view["enum"] = list(view_names)
