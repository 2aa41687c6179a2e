"""A change as the speed layer keeps it, and what became of a write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

#: source: read from the source. reported: somebody says that the source has it. provisional: the
#: writer's own, known from nowhere else. At one version the earlier of these counts.
Origin = Literal["source", "reported", "provisional"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
WriteOutcome = Literal["stored", "duplicate", "stale"]

#: Lua holds numbers as doubles: integers are exact up to here.
VERSION_MAX = 2**53 - 1
PROVISIONAL_TTL_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A change before it is written; `text` is the resource's JSON, None for a delete.

    An entry of origin `source` has no `ttl_s`: it leaves when a refresh has covered it. A
    `reported` one leaves as soon as the source was asked later than it came.
    `incarnation` is the source's key of the resource, None where the source does not know it:
    what is expunged and made again has another key, and its versions begin anew.
    """

    resource_type: str
    resource_id: str
    version: int
    text: str | None
    origin: Origin = "provisional"
    provenance: str = "unknown"
    ttl_s: float | None = PROVISIONAL_TTL_S
    incarnation: int | None = None

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.text is None


@dataclass(frozen=True, slots=True)
class Entry:
    """A change as Redis holds it; `expires_at` is None for what does not expire."""

    resource_type: str
    resource_id: str
    version: int
    deleted: bool
    text: str | None
    origin: Origin
    provenance: str
    received_at: datetime
    expires_at: datetime | None
    stream_id: str
    incarnation: int | None = None

    def follows(self, other: int | None) -> bool:
        """Whether the source confirmed it of a later incarnation than the one that `other` is."""
        return self.origin == "source" and is_other_incarnation(self.incarnation, other)

    @property
    def resource(self) -> dict[str, Any] | None:
        """The resource with its id and version filled in; None for a tombstone."""
        if self.text is None:
            return None
        resource: dict[str, Any] = json.loads(self.text)
        meta = {**resource.get("meta", {}), "versionId": str(self.version)}
        return {**resource, "id": self.resource_id, "meta": meta}


def is_other_incarnation(one: int | None, other: int | None) -> bool:
    """Whether both are known and differ, so that their versions do not compare."""
    return one is not None and other is not None and one != other


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did: `version` is the one written, `newest_version` the newest known now.

    duplicate: that version was known already; `same_content` tells whether it says the same.
    stale: something newer was known. `received_at` and `expires_at` are those of the entry
    that holds the version, None when the write was stale.
    """

    outcome: WriteOutcome
    version: int
    newest_version: int
    same_content: bool
    stream_id: str
    received_at: datetime | None
    expires_at: datetime | None


def instant(milliseconds: str | None) -> datetime | None:
    """The UTC instant of a millisecond count as Redis keeps it; None for none."""
    if not milliseconds:
        return None
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def milliseconds(moment: datetime | None) -> str:
    """The millisecond count of an instant, rounded down; empty for None."""
    if moment is None:
        return ""
    whole = int(moment.replace(microsecond=0).timestamp()) * 1000
    return str(whole + moment.microsecond // 1000)


def entries_of(resource_type: str, resource_id: str, fields: Mapping[str, str]) -> list[Entry]:
    """The entries in one resource's hash: none, one, or one per origin."""
    return [
        _entry(resource_type, resource_id, origin, fields)
        for origin in ORIGINS
        if f"{origin}.version" in fields
    ]


def newest(entries: list[Entry], now: datetime) -> Entry | None:
    """The entry that counts at `now`, or None; `entries` as `entries_of` gives them."""
    counting = [one for one in entries if one.expires_at is None or now < one.expires_at]
    # Of several of one version max gives the first, which is the one whose origin counts.
    return max(counting, key=lambda one: one.version, default=None)


def _entry(
    resource_type: str, resource_id: str, origin: Origin, fields: Mapping[str, str]
) -> Entry:
    received_at = instant(fields[f"{origin}.received_at"])
    assert received_at is not None
    deleted = fields[f"{origin}.deleted"] == "1"
    incarnation = fields.get(f"{origin}.incarnation")
    return Entry(
        resource_type=resource_type,
        resource_id=resource_id,
        version=int(fields[f"{origin}.version"]),
        deleted=deleted,
        text=None if deleted else fields[f"{origin}.resource"],
        origin=origin,
        provenance=fields[f"{origin}.provenance"],
        received_at=received_at,
        expires_at=instant(fields[f"{origin}.expires_at"]),
        stream_id=fields[f"{origin}.stream_id"],
        incarnation=int(incarnation) if incarnation else None,
    )
