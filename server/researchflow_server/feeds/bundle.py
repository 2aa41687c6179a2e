"""What a Bundle says: a transaction or history, or the notification of a topic subscription.

R5 sends Bundles of type `subscription-notification`, R4B of type `history`, both with a
SubscriptionStatus first, R4 with a Parameters in its place. Entries carry the resource, or only
name it; an empty notification names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from researchflow_runners.fhir import model
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.known import Key
from researchflow_server.feeds.delivery import Delivery, DeliveryError

TYPES = ("subscription-notification", "history", "transaction", "batch")
ENTRIES_MAX = 1_000
#: Nothing changed: the server tries the address, or says that it is alive.
SILENT = ("handshake", "heartbeat")
STATUSES = ("SubscriptionStatus", "Parameters")
_NAMED = re.compile(r"(?:.*/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?")


def bundle_delivery(bundle: dict[str, Any]) -> Delivery:
    """What the Bundle says; DeliveryError `bundle_unsupported`."""
    entries = _entries(bundle)
    status = _status(entries)
    if status is not None:
        entries = entries[1:]
        if _word(status, "type") in SILENT:
            return Delivery()
    changes: list[Change] = []
    keys: list[Key] = []
    unnamed = False
    for entry in entries:
        told = _told(entry)
        if isinstance(told, Change):
            changes.append(told)
        elif told is not None:
            keys.append(told)
        else:
            unnamed = True
    if status is not None and not entries:
        keys += _focuses(status)
    looks = unnamed or not (changes or keys)
    return Delivery(tuple(changes), tuple(dict.fromkeys(keys)), looks)


def _entries(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = bundle.get("entry", [])
    is_list = isinstance(entries, list) and all(isinstance(one, dict) for one in entries)
    if bundle.get("type") not in TYPES or not is_list or len(entries) > ENTRIES_MAX:
        raise DeliveryError(
            "the Bundle is of a type that is not taken, or too large",
            status=400,
            code="bundle_unsupported",
            field="type",
            hint=f"send at most {ENTRIES_MAX} entries as {', '.join(TYPES)}",
        )
    return entries


def _status(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What stands first in a notification and tells of the subscription itself."""
    first = entries[0].get("resource") if entries else None
    is_status = isinstance(first, dict) and first.get("resourceType") in STATUSES
    return first if is_status else None


def _told(entry: dict[str, Any]) -> Change | Key | None:
    """What an entry says: a change, a name alone, or nothing that could be named."""
    request, resource = entry.get("request"), entry.get("resource")
    asked = request if isinstance(request, dict) else {}
    key = _key(asked.get("url")) or _key(entry.get("fullUrl"))
    if asked.get("method") == "DELETE":
        return Change.delete(*key) if key else None
    if isinstance(resource, dict) and isinstance(resource.get("id"), str):
        return Change.put(orjson.dumps(resource))
    return key


def _key(reference: object) -> Key | None:
    found = _NAMED.fullmatch(reference) if isinstance(reference, str) else None
    if found is None or found.group(1) not in model().resource_names():
        return None
    return found.group(1), found.group(2)


def _focuses(status: dict[str, Any]) -> Iterator[Key]:
    """The resources that the events of a status are about."""
    for one in _parts(status, "notificationEvent"):
        focus = _value(one, "focus")
        key = _key(focus.get("reference")) if isinstance(focus, dict) else None
        if key is not None:
            yield key


def _word(status: dict[str, Any], name: str) -> object:
    return _value(status, name)


def _value(element: dict[str, Any], name: str) -> object:
    """The element of that name, or the value of the parameter of that name."""
    if name in element:
        return element[name]
    for one in _parameters(element):
        if one.get("name") == name.replace("notificationEvent", "notification-event"):
            return next((value for key, value in one.items() if key.startswith("value")), None)
    return None


def _parts(status: dict[str, Any], name: str) -> Iterable[dict[str, Any]]:
    """The repeated element of that name, or the parameters of that name."""
    if isinstance(status.get(name), list):
        return [one for one in status[name] if isinstance(one, dict)]
    return [one for one in _parameters(status) if one.get("name") == "notification-event"]


def _parameters(element: dict[str, Any]) -> list[dict[str, Any]]:
    found = element.get("parameter", element.get("part", []))
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
