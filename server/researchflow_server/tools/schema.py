"""The argument schemas as published: every word of them costs the model's attention.

Pydantic's schema is exact and long, and the tools check their arguments themselves. So what is
published is short: no titles, defaults that say nothing, null alternatives or bounds; models in
place of references; and one line with an example where an argument has many forms, given at the
argument's type by `WithJsonSchema`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from researchflow_runners.query.model import Asking, Query
from researchflow_server.contract import Detailed

#: With more views, or longer names, naming them would crowd out the rest; list_views names them.
VIEWS_NAMED_MAX = 40
VIEWS_NAMED_BYTES_MAX = 600
REFERENCE = "#/$defs/"
#: What hardly any call meets, and the error that one meets explains: bounds, and that no other
#: arguments exist. A client that refused those itself would keep the nearest name from its model.
#: A default is the first of the values, or what leaving the argument out means anyway.
LEFT_TO_ERRORS = frozenset(
    {
        "additionalProperties", "default", "exclusiveMinimum", "maxItems", "maxLength", "maximum",
        "minItems", "minLength", "minimum",
    }
)  # fmt: skip
EXPLAINED_ONCE = frozenset({*Asking.model_fields, *Detailed.model_fields})


def compact_schema(model: type[BaseModel], view_names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments; the views that exist are named where one is asked."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    compacted: dict[str, Any] = _compact(schema, definitions)
    compacted.setdefault("properties", {})
    _leave_to_instructions(compacted["properties"])
    if issubclass(model, Query):
        compacted["properties"]["view"] |= _named(view_names)
    return compacted


def _leave_to_instructions(properties: dict[str, Any]) -> None:
    """What several tools take is explained there, with its values and defaults."""
    for name in properties.keys() & EXPLAINED_ONCE:
        properties[name] = {"type": properties[name]["type"]}


def _named(view_names: Sequence[str]) -> dict[str, Any]:
    size_bytes = sum(len(name) for name in view_names)
    if len(view_names) > VIEWS_NAMED_MAX or size_bytes > VIEWS_NAMED_BYTES_MAX:
        return {}
    return {"enum": list(view_names)}


def _compact(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_compact(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(node, definitions)
    kept = {key: _compact(value, definitions) for key, value in node.items() if _tells(key, value)}
    return _merge_alternatives(kept)


def _inlined(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """The model in place of the reference to it; its names say what its docstring would."""
    model = definitions[node["$ref"].removeprefix(REFERENCE)]
    shown = {key: value for key, value in model.items() if key != "description"}
    return _compact(shown | {key: value for key, value in node.items() if key != "$ref"}, {})


def _tells(key: str, value: Any) -> bool:
    """Whether a model needs to see it; `title` may also be an argument's name."""
    if key == "title":
        return not isinstance(value, str)
    return key not in LEFT_TO_ERRORS


def _merge_alternatives(node: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` without null, and without itself when one alternative is left."""
    alternatives = node.get("anyOf")
    if not isinstance(alternatives, list):
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    left = [part for part in alternatives if part != {"type": "null"}]
    return {**left[0], **rest} if len(left) == 1 else {"anyOf": left, **rest}
