"""Which entries of a resource the overlay keeps.

A resource has at most one source entry and one provisional entry. The provisional one counts
until it expires when its version is higher; the source entry then counts from that instant on.
At one version the source wins, and what the ledger covers is not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from researchflow_runners.speed.entry import Entry, Origin
from researchflow_runners.store.database import Session

_KNOWN = """
SELECT k.id, now() AS now, l.res_id, coalesce(l.res_ver, 0) AS ledger_version,
       s.entry_id AS source_entry, coalesce(s.version, 0) AS source_version,
       s.incarnation AS source_incarnation,
       p.entry_id AS provisional_entry, coalesce(p.version, 0) AS provisional_version,
       coalesce(p.valid_until <= now(), false) AS provisional_expired,
       EXISTS (SELECT FROM researchflow.dead_letter AS d
               WHERE d.layer = 'speed' AND d.res_type = $1 AND d.id = k.id) AS dead
FROM unnest($2::text[]) AS k (id)
LEFT JOIN LATERAL (
    SELECT res_id, res_ver FROM researchflow.ledger
    WHERE res_type = $1 AND id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l ON true
LEFT JOIN researchflow.overlay_entry AS s
    ON s.res_type = $1 AND s.id = k.id AND s.origin = 'source'
LEFT JOIN researchflow.overlay_entry AS p
    ON p.res_type = $1 AND p.id = k.id AND p.origin = 'provisional'
"""
_INSERT = """
INSERT INTO researchflow.overlay_entry
    (res_type, id, origin, version, deleted, resource, provenance, received_at, valid_until,
     base_res_id, stream_id, incarnation)
SELECT $1, id, origin, version, deleted, resource, provenance, received_at,
       coalesce(expires_at, 'infinity'), base_res_id, stream_id, incarnation
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::text[], $7::text[],
            $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::text[], $12::bigint[])
     AS e (id, origin, version, deleted, resource, provenance, received_at, expires_at,
           base_res_id, stream_id, incarnation)
RETURNING entry_id
"""
_DELETE = "DELETE FROM researchflow.overlay_entry WHERE entry_id = ANY($1::bigint[])"
_ALTERNATE = """
UPDATE researchflow.overlay_entry AS s SET valid_from = coalesce(
    (SELECT p.valid_until FROM researchflow.overlay_entry AS p
     WHERE p.res_type = s.res_type AND p.id = s.id AND p.origin = 'provisional'), '-infinity')
WHERE s.res_type = $1 AND s.id = ANY($2::text[]) AND s.origin = 'source'
"""
#: The letter of an entry that waits below a new one stays: that entry will count again.
_REVIVE = """
DELETE FROM researchflow.dead_letter AS d
WHERE d.layer = 'speed' AND d.res_type = $1 AND d.id = ANY($2::text[]) AND NOT EXISTS (
    SELECT FROM researchflow.overlay_entry AS e
    WHERE e.res_type = d.res_type AND e.id = d.id AND e.version = d.res_ver
      AND e.entry_id <> ALL($3::bigint[]))
"""
_STORED = """
SELECT entry_id, res_type, id, version, deleted, resource, origin, provenance, received_at,
       nullif(valid_until, 'infinity') AS expires_at, stream_id, incarnation
FROM researchflow.overlay_entry
WHERE res_type = $1 AND entry_id > $2 ORDER BY entry_id LIMIT $3
"""
_EXPIRE = """
DELETE FROM researchflow.overlay_entry WHERE res_type = $1 AND valid_until <= now()
"""
_BURY = """
DELETE FROM researchflow.dead_letter AS d
WHERE d.layer = 'speed' AND d.res_type = $1 AND NOT EXISTS (
    SELECT FROM researchflow.overlay_entry AS e
    WHERE e.res_type = d.res_type AND e.id = d.id AND e.version = d.res_ver)
"""
_HELD = """
SELECT id, origin, version FROM researchflow.overlay_entry
WHERE res_type = $1 AND id = ANY($2::text[])
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What PostgreSQL holds of one resource; a version is 0 and an entry None where nothing is."""

    base_res_id: int | None
    ledger_version: int
    source_entry: int | None
    source_version: int
    source_incarnation: int | None
    provisional_entry: int | None
    provisional_version: int
    dead: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What to drop and what to keep of one resource, and the entries a refresh has covered."""

    dropped: tuple[int, ...]
    kept: tuple[Entry, ...]
    covered: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging did: the new entries' numbers, and the ids with an entry that is covered."""

    entry_ids: tuple[int, ...]
    covered: frozenset[str]


async def merge(session: Session, resource_type: str, entries: Sequence[Entry]) -> Merged:
    """Brings the overlay's entries up to `entries`, all of one type; rows are not computed."""
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        by_id.setdefault(entry.resource_id, []).append(entry)
    ids = list(by_id)
    known = {row["id"]: _known(row) for row in await session.fetch(_KNOWN, resource_type, ids)}
    plans = [plan(known[resource_id], mine) for resource_id, mine in by_id.items()]
    dropped = [number for each in plans for number in each.dropped]
    if dropped:
        await session.execute(_DELETE, dropped)
    kept = [entry for each in plans for entry in each.kept]
    entry_ids = await _insert(session, resource_type, kept, known) if kept else ()
    if dropped or any(entry.origin == "source" or _waits(known, entry) for entry in kept):
        await session.execute(_ALTERNATE, resource_type, ids)
    revived = [entry.resource_id for entry in kept if known[entry.resource_id].dead]
    if revived:
        await session.execute(_REVIVE, resource_type, revived, entry_ids)
    covered = frozenset(entry.resource_id for each in plans for entry in each.covered)
    return Merged(entry_ids, covered)


def plan(known: Known, entries: Sequence[Entry]) -> Plan:
    """What becomes of one resource's entries, given what is known of it."""
    covered = tuple(entry for entry in entries if _is_covered(entry, known))
    live = [
        entry
        for entry in entries
        if entry not in covered and (entry.expires_at is None or known.now < entry.expires_at)
    ]
    renewed = [entry for entry in live if entry.follows(known.source_incarnation)]
    source = _best(renewed, "source", above=0) or _best(live, "source", above=known.source_version)
    floor = max(known.ledger_version, source.version if source else known.source_version)
    held = known.provisional_version if known.provisional_version > floor else 0
    provisional = _best(live, "provisional", above=max(floor, held))
    dropped = []
    if known.source_entry and source:
        dropped.append(known.source_entry)
    if known.provisional_entry and (provisional or not held):
        dropped.append(known.provisional_entry)
    kept = tuple(entry for entry in (source, provisional) if entry)
    return Plan(tuple(dropped), kept, covered)


def _is_covered(entry: Entry, known: Known) -> bool:
    return entry.version <= known.ledger_version and not entry.follows(known.base_res_id)


async def stored_page(
    session: Session, resource_type: str, *, after: int, page: int
) -> tuple[list[Entry], int]:
    """The next entries that PostgreSQL holds of a type, and the last one's number."""
    rows = await session.fetch(_STORED, resource_type, after, page)
    entries = [
        Entry(
            resource_type=row["res_type"],
            resource_id=row["id"],
            version=row["version"],
            deleted=row["deleted"],
            text=row["resource"],
            origin=row["origin"],
            provenance=row["provenance"],
            received_at=row["received_at"],
            expires_at=row["expires_at"],
            stream_id=row["stream_id"],
            incarnation=row["incarnation"],
        )
        for row in rows
    ]
    return entries, rows[-1]["entry_id"] if rows else after


async def expire(session: Session, resource_type: str) -> int:
    """Drops entries that no longer count, and dead letters whose entry has left."""
    expired = await session.execute(_EXPIRE, resource_type)
    await session.execute(_BURY, resource_type)
    return expired


async def held_versions(
    session: Session, resource_type: str, ids: Collection[str]
) -> dict[str, dict[str, int]]:
    """The version that the overlay holds of each id and origin; every id is there."""
    held: dict[str, dict[str, int]] = {resource_id: {} for resource_id in ids}
    for row in await session.fetch(_HELD, resource_type, list(ids)):
        held[row["id"]][row["origin"]] = row["version"]
    return held


async def _insert(
    session: Session, resource_type: str, kept: Sequence[Entry], known: dict[str, Known]
) -> tuple[int, ...]:
    rows = await session.fetch(
        _INSERT,
        resource_type,
        [entry.resource_id for entry in kept],
        [entry.origin for entry in kept],
        [entry.version for entry in kept],
        [entry.deleted for entry in kept],
        [entry.text for entry in kept],
        [entry.provenance for entry in kept],
        [entry.received_at for entry in kept],
        [entry.expires_at for entry in kept],
        [known[entry.resource_id].base_res_id for entry in kept],
        [entry.stream_id for entry in kept],
        [entry.incarnation for entry in kept],
    )
    return tuple(row["entry_id"] for row in rows)


def _known(row: asyncpg.Record) -> Known:
    return Known(
        base_res_id=row["res_id"],
        ledger_version=row["ledger_version"],
        source_entry=row["source_entry"],
        source_version=row["source_version"],
        source_incarnation=row["source_incarnation"],
        provisional_entry=row["provisional_entry"],
        provisional_version=0 if row["provisional_expired"] else row["provisional_version"],
        dead=row["dead"],
        now=row["now"],
    )


def _waits(known: Mapping[str, Known], entry: Entry) -> bool:
    """Whether a source entry has to wait below this one."""
    return known[entry.resource_id].source_entry is not None


def _best(entries: Sequence[Entry], origin: Origin, *, above: int) -> Entry | None:
    """The newest entry of the origin, if its version is above."""
    candidates = [one for one in entries if one.origin == origin and one.version > above]
    return max(candidates, key=lambda one: one.version, default=None)
