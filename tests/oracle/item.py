"""One value with its FHIR type, and how to step from it to its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oracle.parse import OracleError
from researchflow_runners.fhir import model


@dataclass(frozen=True)
class Item:
    """`value` is JSON; `extra` is the `_name` sibling of a primitive, with its extensions.

    An element has a FHIR type; what is written in an expression or computed has FHIRPath's own type
    of that name.
    """

    value: Any
    type: str
    extra: dict[str, Any] | None = None
    is_element: bool = False


def child(item: Item, name: str) -> list[Item]:
    """The items under the element of that name, whatever their number in the data."""
    if not isinstance(item.value, dict):
        if not item.is_element:
            return []
        element = model().element(item.type, name)
        return [typed(one, element) for one in as_list((item.extra or {}).get(name))]
    element = model().element(item.type, name)
    if element is None:
        return []
    return [found for key, type_name in element.json_keys for found in under(item, key, type_name)]


def under(item: Item, key: str, type_name: str) -> list[Item]:
    values, extras = as_list(item.value.get(key)), as_list(item.value.get("_" + key))
    places, length = len(values), max(len(values), len(extras))
    values += [None] * (length - len(values))
    extras += [None] * (length - len(extras))
    pairs = zip(values, extras, strict=True)
    return [
        Item(value, concrete(value, type_name), extra, is_element=True)
        for place, (value, extra) in enumerate(pairs)
        if place < places or extra is not None
    ]


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def concrete(value: Any, type_name: str) -> str:
    """A contained resource is of the type that it says."""
    if model().is_resource(type_name) and isinstance(value, dict) and "resourceType" in value:
        return str(value["resourceType"])
    return type_name


def typed(value: Any, element: Any) -> Item:
    return Item(value, element.types[0] if element else "Element", is_element=True)


def single(items: list[Item]) -> Item | None:
    """The only item; None when there is none, an error when there are several."""
    if len(items) > 1:
        raise OracleError(f"expected one value, found {len(items)}")
    return items[0] if items and items[0].value is not None else None


def as_boolean(items: list[Item]) -> bool | None:
    """Three-valued truth of an expression that must be boolean."""
    item = single(items)
    if item is None:
        return None
    if not isinstance(item.value, bool):
        raise OracleError(f"expected a boolean, found {item.type}")
    return item.value
