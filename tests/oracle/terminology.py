"""`memberOf` over the value sets that a view contains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oracle.item import Item, as_list
from oracle.parse import OracleError

Json = dict[str, Any]


def member_of(target: list[Item], name: str, contained: list[Json]) -> bool | None:
    """Whether the one item is a member; None unless there is exactly one."""
    value_set = find(name, contained)
    if len(target) != 1:
        return None
    item = target[0]
    if isinstance(item.value, str):
        if len(systems(value_set)) > 1:
            raise OracleError("a code without a system in a value set of several")
        return any(holds(value_set, system, item.value) for system in systems(value_set))
    codings = as_list(item.value.get("coding")) if item.type == "CodeableConcept" else [item.value]
    return any(holds(value_set, one.get("system"), one.get("code")) for one in codings)


def find(name: str, contained: list[Json]) -> Json:
    for one in contained:
        url = one.get("url")
        if one.get("resourceType") == "ValueSet" and name in (
            f"#{one.get('id')}",
            url,
            f"{url}|{one.get('version')}",
        ):
            return one
    raise OracleError(f"unknown value set {name!r}")


def systems(value_set: Json) -> set[str]:
    if "expansion" in value_set:
        return {one["system"] for one in expanded(value_set["expansion"])}
    return {one["system"] for one in value_set["compose"]["include"]}


def holds(value_set: Json, system: str | None, code: str | None) -> bool:
    if system is None or code is None:
        return False
    if "expansion" in value_set:
        found = expanded(value_set["expansion"])
        return any((one["system"], one["code"]) == (system, code) for one in found)
    compose = value_set["compose"]
    included = any(matches(one, system, code) for one in compose["include"])
    return included and not any(matches(one, system, code) for one in compose.get("exclude", ()))


def matches(listed: Json, system: str, code: str) -> bool:
    if "filter" in listed or "valueSet" in listed:
        raise OracleError("the members are not listed")
    concepts = listed.get("concept")
    return listed["system"] == system and (
        concepts is None or any(one["code"] == code for one in concepts)
    )


def expanded(expansion: Json) -> Iterator[Json]:
    for one in expansion.get("contains", ()):
        if "code" in one and not one.get("abstract"):
            yield one
        yield from expanded(one)
