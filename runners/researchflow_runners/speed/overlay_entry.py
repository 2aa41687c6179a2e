"""Which entries of a resource the overlay keeps.

A resource has at most one entry of each origin. The one of the highest version counts until it
expires, then the next: a lower one's valid_from is the latest end of those above it. At one
version the source's wins, then the reported one; what the ledger covers is not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from researchflow_runners.speed.entry import Entry, Origin
from researchflow_runners.store.database import Session

#: A limit keeps each look-up one by index, also where the plan was made while the table was small.
_KNOWN = """
SELECT k.id, now() AS now, l.res_id, coalesce(l.res_ver, 0) AS ledger_version,
       s.entry_id AS source_entry, coalesce(s.version, 0) AS source_version,
       s.incarnation AS source_incarnation,
       p.entry_id AS provisional_entry, coalesce(p.version, 0) AS provisional_version,
       coalesce(p.valid_until <= now(), false) AS provisional_expired,
       r.entry_id AS reported_entry, coalesce(r.version, 0) AS reported_version,
       coalesce(r.valid_until <= now(), false) AS reported_expired,
       EXISTS (SELECT FROM researchflow.dead_letter AS d
               WHERE d.layer = 'speed' AND d.res_type = $1 AND d.id = k.id) AS dead
FROM unnest($2::text[]) AS k (id)
LEFT JOIN LATERAL (
    SELECT res_id, res_ver FROM researchflow.ledger
    WHERE res_type = $1 AND id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l ON true
LEFT JOIN LATERAL (
    SELECT * FROM researchflow.overlay_entry
    WHERE res_type = $1 AND id = k.id AND origin = 'source' LIMIT 1) AS s ON true
LEFT JOIN LATERAL (
    SELECT * FROM researchflow.overlay_entry
    WHERE res_type = $1 AND id = k.id AND origin = 'provisional' LIMIT 1) AS p ON true
LEFT JOIN LATERAL (
    SELECT * FROM researchflow.overlay_entry
    WHERE res_type = $1 AND id = k.id AND origin = 'reported' LIMIT 1) AS r ON true
"""
_INSERT = """
WITH given AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::text[],
                         $7::text[], $8::timestamptz[], $9::timestamptz[], $10::bigint[],
                         $11::text[], $12::bigint[])
             AS e (id, origin, version, deleted, resource, provenance, received_at, expires_at,
                   base_res_id, stream_id, incarnation)
), entered AS (
    INSERT INTO researchflow.overlay_entry
        (res_type, id, origin, version, deleted, provenance, received_at, valid_until,
         base_res_id, stream_id, incarnation)
    SELECT $1, id, origin, version, deleted, provenance, received_at,
           coalesce(expires_at, 'infinity'), base_res_id, stream_id, incarnation FROM given
    RETURNING entry_id, id, origin
), said AS (
    INSERT INTO researchflow.overlay_resource (entry_id, resource)
    SELECT e.entry_id, g.resource FROM entered AS e JOIN given AS g USING (id, origin)
    WHERE NOT g.deleted
)
SELECT entry_id FROM entered
"""
_DELETE = "DELETE FROM researchflow.overlay_entry WHERE entry_id = ANY($1::bigint[])"
#: The names of the origins fall in the order in which they count: source, reported, provisional.
_ALTERNATE = """
UPDATE researchflow.overlay_entry AS e SET valid_from = coalesce(
    (SELECT max(a.valid_until) FROM researchflow.overlay_entry AS a
     WHERE a.res_type = e.res_type AND a.id = e.id
       AND (a.version, a.origin) > (e.version, e.origin)), '-infinity')
"""
_OF_IDS = "WHERE e.res_type = $1 AND e.id = ANY($2::text[])"
_OF_WAITING = "WHERE e.valid_from <> '-infinity'"
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
FROM researchflow.overlay_entry LEFT JOIN researchflow.overlay_resource USING (entry_id)
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
#: A report that came meanwhile has another place in the stream.
_RETIRE = """
DELETE FROM researchflow.overlay_entry AS e
USING unnest($2::text[], $3::text[]) AS k (id, stream_id)
WHERE e.res_type = $1 AND e.origin = 'reported' AND e.id = k.id AND e.stream_id = k.stream_id
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
    reported_entry: int | None = None
    reported_version: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to drop and what to keep of one resource, and the entries a refresh has covered.

    `is_shared`: entries that were there stay beside new ones or outlive dropped ones, or there
    are several new ones, so which of them counts when must be said anew.
    """

    dropped: tuple[int, ...]
    kept: tuple[Entry, ...]
    covered: tuple[Entry, ...]
    is_shared: bool


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
    shared = [resource_id for resource_id, each in zip(ids, plans, strict=True) if each.is_shared]
    if shared:
        await alternate(session, resource_type, shared)
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
    dropped, kept = [], []
    if source:
        kept.append(source)
        dropped.append(known.source_entry)
    rivals: tuple[tuple[Origin, int | None, int], ...] = (
        ("reported", known.reported_entry, known.reported_version),
        ("provisional", known.provisional_entry, known.provisional_version),
    )
    for origin, number, version in rivals:
        held = version if version > floor else 0
        best = _best(live, origin, above=max(floor, held))
        if best:
            kept.append(best)
        if best or not held:
            dropped.append(number)
    gone = tuple(number for number in dropped if number)
    numbers = (known.source_entry, known.reported_entry, known.provisional_entry)
    stays = any(number and number not in gone for number in numbers)
    is_shared = len(kept) > 1 or (stays and bool(kept or gone))
    return Plan(gone, tuple(kept), covered, is_shared)


def _is_covered(entry: Entry, known: Known) -> bool:
    return entry.version <= known.ledger_version and not entry.follows(known.base_res_id)


async def alternate(session: Session, resource_type: str, ids: Sequence[str]) -> None:
    """Says anew which entry of each of these resources counts when."""
    await session.execute(_ALTERNATE + _OF_IDS, resource_type, list(ids))


async def alternate_waiting(session: Session) -> None:
    """Says anew when each entry counts that waits for the end of another, which may have left."""
    await session.execute(_ALTERNATE + _OF_WAITING)


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


async def retire(session: Session, resource_type: str, reports: Mapping[str, str]) -> None:
    """Drops the reported entries of these ids that stand at these places in the stream."""
    ids = list(reports)
    await session.execute(_RETIRE, resource_type, ids, list(reports.values()))
    await alternate(session, resource_type, ids)
    await session.execute(_BURY, resource_type)


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
        reported_entry=row["reported_entry"],
        reported_version=0 if row["reported_expired"] else row["reported_version"],
    )


def _best(entries: Sequence[Entry], origin: Origin, *, above: int) -> Entry | None:
    """The newest entry of the origin, if its version is above."""
    candidates = [one for one in entries if one.origin == origin and one.version > above]
    return max(candidates, key=lambda one: one.version, default=None)
