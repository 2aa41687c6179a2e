"""What the source says now, as overlay entries.

They are written by the transaction that moves the tail's position. What they say was read from
the source after the current anchor's snapshot, so it counts whatever the versions are: tags change
without a new one, and a restored source has an older one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.feed.resource_state import ResourceState
from researchflow_runners.speed.change_log import START
from researchflow_runners.speed.overlay import insert_views
from researchflow_runners.speed.overlay_entry import alternate
from researchflow_runners.speed.overlay_views import overlay_views
from researchflow_runners.store.database import Session
from researchflow_runners.store.locks import LOCK_OVERLAY_SHARED

_BEGIN = """
INSERT INTO researchflow.projection (res_type, epoch, stream_id)
SELECT t, '', $2 FROM unnest($1::text[]) AS t ON CONFLICT DO NOTHING
"""
#: After the overlay lock, as a projection does, and in the order of their names: neither waits for
#: the other in a circle, and nobody publishes another anchor than this one.
_LOCK_TYPES = """
WITH held AS MATERIALIZED (
    SELECT res_type FROM researchflow.projection WHERE res_type = ANY ($1::text[])
    ORDER BY res_type FOR UPDATE)
SELECT (SELECT count(*) FROM held) AS held, (SELECT max(anchor) FROM researchflow.anchor) AS anchor
"""
#: The resources that the source no longer has; those made anew since have an entry of their own.
_GONE = """
SELECT k.res_id, k.res_type, k.id, max(k.version) AS version FROM (
    SELECT res_id, res_type, id, res_ver AS version FROM researchflow.ledger
    WHERE res_id = ANY ($1::bigint[])
    UNION ALL
    SELECT incarnation, res_type, id, version FROM researchflow.overlay_entry
    WHERE incarnation = ANY ($1::bigint[])) AS k
WHERE k.res_type = ANY ($2::text[]) AND NOT EXISTS (
    SELECT FROM researchflow.overlay_entry AS e
    WHERE e.res_type = k.res_type AND e.id = k.id AND e.origin = 'source'
      AND e.incarnation <> k.res_id)
GROUP BY k.res_id, k.res_type, k.id
"""
#: A change of its own that somebody made upon a higher version goes on counting; what was reported
#: of the source before it was read is answered now.
#: Gives the resources of which an entry stays.
_DROP = """
WITH k AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k (res_type, id, version)
), dropped AS (
    DELETE FROM researchflow.overlay_entry AS e USING k
    WHERE e.res_type = k.res_type AND e.id = k.id
      AND (e.origin = 'source' OR e.version <= k.version
           OR e.origin = 'reported' AND e.received_at < $4)
    RETURNING e.entry_id
), kept AS (
    SELECT e.res_type, e.id, e.version FROM researchflow.overlay_entry AS e JOIN k
        ON e.res_type = k.res_type AND e.id = k.id
    WHERE e.entry_id NOT IN (SELECT entry_id FROM dropped)
), forgiven AS (
    DELETE FROM researchflow.dead_letter AS d USING k
    WHERE d.layer = 'speed' AND d.res_type = k.res_type AND d.id = k.id AND NOT EXISTS (
        SELECT FROM kept AS e
        WHERE e.res_type = d.res_type AND e.id = d.id AND e.version = d.res_ver)
)
SELECT DISTINCT res_type, id FROM kept
"""
_INSERT = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $9::text[])
             AS k (res_type, id, version, resource, res_id, xids)
), entered AS (
    INSERT INTO researchflow.overlay_entry
        (res_type, id, origin, version, deleted, provenance, received_at, base_res_id, stream_id,
         incarnation, read_xids)
    SELECT k.res_type, k.id, 'source', k.version, k.resource IS NULL, $6, $7, l.res_id, $8,
           k.res_id, string_to_array(k.xids, ' ')::xid8[]
    FROM given AS k
    LEFT JOIN LATERAL (
        SELECT res_id FROM researchflow.ledger AS l
        WHERE l.res_type = k.res_type AND l.id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l
        ON true
    RETURNING entry_id, res_type, id
), said AS (
    INSERT INTO researchflow.overlay_resource (entry_id, resource)
    SELECT e.entry_id, g.resource FROM entered AS e JOIN given AS g USING (res_type, id)
    WHERE g.resource IS NOT NULL
)
SELECT entry_id, res_type FROM entered
"""


@dataclass(frozen=True, slots=True)
class Written:
    """How many entries were written, and how many of them have no rows in some view."""

    entries: int
    dead_letters: int


async def lock_types(session: Session, types: Sequence[str]) -> int | None:
    """Until the transaction ends nobody else projects these types, and nobody publishes; gives the
    newest anchor."""
    await session.execute(LOCK_OVERLAY_SHARED)
    row = await session.fetchrow(_LOCK_TYPES, list(types))
    assert row is not None
    if row["held"] < len(types):
        await session.execute(_BEGIN, list(types), START)
        await session.fetchrow(_LOCK_TYPES, list(types))
    anchor: int | None = row["anchor"]
    return anchor


async def gone_states(
    session: Session, types: Sequence[str], res_ids: Sequence[int], made: Sequence[ResourceState]
) -> list[ResourceState]:
    """A tombstone for each of these keys that the source no longer has and we know.

    `made` are the states read beside them: what was made anew needs no tombstone.
    """
    if not res_ids:
        return []
    anew = {(state.resource_type, state.id) for state in made}
    rows = await session.fetch(_GONE, list(res_ids), list(types))
    return [
        ResourceState(row["res_id"], row["res_type"], row["id"], row["version"], None)
        for row in rows
        if (row["res_type"], row["id"]) not in anew
    ]


async def write_entries(
    session: Session,
    states: Sequence[ResourceState],
    views: Mapping[str, CompiledView],
    *,
    provenance: str,
    xids: Mapping[int, str],
    read_at: datetime,
    answered_before: datetime,
    guarded: bool,
) -> Written:
    """Brings the overlay to the states, one for each (type, id); the caller holds `lock_types`.

    `xids` has for each res_id the source's transactions that changed it, separated by spaces.
    Reports that came before `answered_before` leave: the source has been asked since.
    """
    if not states:
        return Written(0, 0)
    types, ids = [one.resource_type for one in states], [one.id for one in states]
    versions = [one.version for one in states]
    shared = await session.fetch(_DROP, types, ids, versions, answered_before)
    rows = await session.fetch(
        _INSERT,
        types,
        ids,
        versions,
        [one.text for one in states],
        [one.res_id for one in states],
        provenance,
        read_at,
        START,
        [xids[one.res_id] for one in states],
    )
    for resource_type in {row["res_type"] for row in shared}:
        mine = [row["id"] for row in shared if row["res_type"] == resource_type]
        await alternate(session, resource_type, mine)
    dead = 0
    for resource_type, targets in (await overlay_views(session, sorted(set(types)), views)).items():
        numbers = [row["entry_id"] for row in rows if row["res_type"] == resource_type]
        dead += await insert_views(session, targets, numbers, guarded=guarded)
    return Written(len(rows), dead)
