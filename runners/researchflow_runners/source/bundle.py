"""Bundles taken apart into changes, with references between their entries resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from researchflow_runners.source.resource import BadResource, Change, change_of, checked, target

#: Bundles that carry resources to be stored; the other types are resources themselves.
EXCHANGE_TYPES = frozenset({"transaction", "batch", "collection", "searchset"})
_URN = "urn:"
_UUID = "urn:uuid:"


class Identifiers:
    """Ids for resources that came without one.

    They follow from the content and from how often it has been seen, so that loading the same
    input again finds the same resources, and two equal entries stay two.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def identify(self, resource: dict[str, Any]) -> str:
        """The resource's own id, else one of its content."""
        if "id" in resource:
            return str(resource["id"])
        content = hashlib.sha256(orjson.dumps(resource)).digest()
        number = self._seen[content] = self._seen.get(content, 0) + 1
        return hashlib.sha256(content + number.to_bytes(8, "big")).hexdigest()[:32]


def is_exchange(resource: dict[str, Any]) -> bool:
    """Whether the resource is a Bundle whose entries are to be stored, not itself."""
    return resource["resourceType"] == "Bundle" and resource.get("type") in EXCHANGE_TYPES


def changes_of(
    bundle: dict[str, Any], identifiers: Identifiers
) -> Iterator[tuple[int, Change | BadResource]]:
    """Each entry's number, from 1, and its change or why it has none."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        yield 1, BadResource("invalid_bundle")
        return
    targets = _targets(entries, identifiers)
    for number, entry in enumerate(entries, start=1):
        try:
            yield number, _change(entry, targets, identifiers)
        except BadResource as error:
            yield number, error


def _targets(entries: list[Any], identifiers: Identifiers) -> dict[str, str]:
    """`Type/id` of each entry that has a `urn:` address; its resource gets that id."""
    targets: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        address, resource = entry.get("fullUrl"), entry.get("resource")
        if not (isinstance(address, str) and address.startswith(_URN)):
            continue
        try:
            found = checked(resource)
        except BadResource:
            continue
        if "id" not in found:
            is_uuid = address.startswith(_UUID)
            found["id"] = address[len(_UUID) :] if is_uuid else identifiers.identify(found)
        targets[address] = f"{found['resourceType']}/{found['id']}"
    return targets


def _change(entry: Any, targets: dict[str, str], identifiers: Identifiers) -> Change:
    if not isinstance(entry, dict):
        raise BadResource("not_an_object")
    request = entry.get("request") or {}
    if not isinstance(request, dict):
        raise BadResource("invalid_request")
    method = request.get("method", "PUT")
    if method == "DELETE":
        return Change(*target(request.get("url")), text=None)
    if method not in ("PUT", "POST"):
        raise BadResource("unsupported_method")
    resource = checked(entry.get("resource"))
    if method == "PUT" and "request" in entry and "id" not in resource:
        res_type, resource["id"] = target(request.get("url"))
        if res_type != resource["resourceType"]:
            raise BadResource("invalid_request")
    if targets:
        _resolve(resource, targets)
    return change_of(resource, identifiers.identify(checked(resource)))


def _resolve(node: Any, targets: dict[str, str]) -> None:
    """Replaces `urn:` references to entries of the same Bundle."""
    if isinstance(node, list):
        for part in node:
            _resolve(part, targets)
    elif isinstance(node, dict):
        reference = node.get("reference")
        if isinstance(reference, str) and reference in targets:
            node["reference"] = targets[reference]
        for part in node.values():
            _resolve(part, targets)
