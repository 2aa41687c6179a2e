"""How much the source has that the batch layer lacks: the truth behind staleness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from researchflow_runners.batch.feed import told_changes
from researchflow_runners.batch.source_clock import note_look
from researchflow_runners.batch.staging import Origin, open_staging
from researchflow_runners.source.clock import SourceClock
from researchflow_runners.source.options import earliest_meaning
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.sql import EMPTY, compose, fixed, param
from researchflow_runners.store.database import Database

TIMEOUT_S = 60.0

_PENDING = """
SELECT t.res_type, count(d.res_type) AS pending,
       count(d.res_type) FILTER (WHERE d.updated_at IS NULL) AS undated,
       min(d.updated_at) AS oldest_at, max(d.updated_at) AS newest_at
FROM unnest({types}) AS t (res_type)
LEFT JOIN (
    SELECT coalesce(s.res_type, l.res_type) AS res_type, {updated_at} AS updated_at
    FROM (SELECT * FROM {keys} AS k) AS s
    FULL JOIN (SELECT * FROM researchflow.ledger WHERE res_type = ANY ({types}){only}) AS l
         ON l.res_id = s.res_id
    {counted}
) AS d ON d.res_type = t.res_type
GROUP BY t.res_type ORDER BY t.res_type
"""
#: A change has a date where it made a version: expunging and tagging leave none.
_COMPARED = {
    "only": EMPTY,
    "updated_at": fixed("""
        CASE WHEN l.res_id IS NULL OR s.res_ver <> l.res_ver OR s.deleted <> l.deleted
             THEN s.updated_at END"""),
    "counted": fixed("""
    WHERE s.res_id IS NULL OR l.res_id IS NULL
       OR (s.res_ver, s.deleted, s.id, s.res_type)
          IS DISTINCT FROM (l.res_ver, l.deleted, l.id, l.res_type)
       OR s.tags IS DISTINCT FROM l.tags AND s.tags IS NOT NULL"""),
}
#: The outbox dates every change, and all that it tells of count.
_TOLD = {
    "only": fixed(" AND res_id IN (SELECT res_id FROM pg_temp.rf_told)"),
    "updated_at": fixed("t.at"),
    "counted": fixed("""
    JOIN pg_temp.rf_told AS t ON t.res_id = coalesce(s.res_id, l.res_id)"""),
}
_META_TYPES = "SELECT res_type FROM researchflow.source_check WHERE reads_meta"
#: Up to here the batch layer had everything of the type.
_COMPLETE = """
SELECT t.res_type, greatest(s.complete_at, a.data_as_of) AS complete_at
FROM unnest($1::text[]) AS t (res_type)
LEFT JOIN researchflow.source_check AS s ON s.res_type = t.res_type
LEFT JOIN (SELECT data_as_of FROM researchflow.anchor ORDER BY anchor DESC LIMIT 1) AS a ON true
"""
_STORE = """
INSERT INTO researchflow.source_check AS s
    (res_type, checked_at, pending, oldest_pending_at, complete_at)
SELECT res_type, $5, pending, oldest_pending_at, complete_at
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
     AS p (res_type, pending, oldest_pending_at, complete_at)
ON CONFLICT (res_type) DO UPDATE
SET checked_at = excluded.checked_at, pending = excluded.pending,
    oldest_pending_at = excluded.oldest_pending_at,
    complete_at = greatest(s.complete_at, excluded.complete_at)
WHERE s.checked_at <= excluded.checked_at
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """Changes of one resource type that wait for a refresh, as of `checked_at`.

    No change is older than `oldest_pending_at`; where the dates of the source cannot be believed
    it is no later than the last instant at which none waited.
    """

    resource_type: str
    pending: int
    oldest_pending_at: datetime | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class _Look:
    """What one snapshot showed; `ahead` is how far the source's clock is ahead of ours."""

    rows: list[Mapping[str, Any]]
    looked_at: datetime
    source_at: datetime
    newest_at: datetime | None

    @property
    def ahead(self) -> timedelta:
        return self.source_at - self.looked_at


async def check_source(
    warehouse: Database, source: HapiSource, types: Sequence[str]
) -> list[Pending]:
    """Finds what the ledger lacks and stores how much that is in source_check.

    The outbox tells it where it can be read; else the source's keys are compared.
    """
    look = await _look(warehouse, source, sorted(set(types)))
    async with warehouse.transaction() as session:
        clock = await note_look(
            session,
            zone=source.options.zone,
            looked_at=look.source_at,
            newest_at=look.newest_at,
        )
        rows = await session.fetch(_COMPLETE, [row["res_type"] for row in look.rows])
        complete = {row["res_type"]: row["complete_at"] for row in rows}
        found = [
            Pending(
                row["res_type"],
                row["pending"],
                _oldest_at(row, look, clock, complete[row["res_type"]]),
                look.looked_at,
            )
            for row in look.rows
        ]
        await session.execute(
            _STORE,
            [one.resource_type for one in found],
            [one.pending for one in found],
            [one.oldest_pending_at for one in found],
            [complete[one.resource_type] if one.pending else look.looked_at for one in found],
            look.looked_at,
        )
    return found


async def _look(warehouse: Database, source: HapiSource, types: Sequence[str]) -> _Look:
    async with warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session:
        meta_types = frozenset(row[0] for row in await session.fetch(_META_TYPES))
        origin = Origin(source, meta_types & set(types))
        async with open_staging(session, warehouse, origin, timeout_s=TIMEOUT_S) as staging:
            changes = (await told_changes(session, staging, types)).changes
            keys = await staging.keys(types, only=changes)
            if changes is not None:
                await staging.told(changes)
            parts = _COMPARED if changes is None else _TOLD
            statement = compose(_PENDING, types=param(list(types), "text[]"), keys=keys, **parts)
            return _Look(
                rows=[dict(row) for row in await session.fetch(statement)],
                looked_at=staging.data_as_of,
                source_at=staging.source_at,
                newest_at=await staging.newest_at(),
            )


def _oldest_at(
    row: Mapping[str, Any], look: _Look, clock: SourceClock, complete_at: datetime | None
) -> datetime | None:
    """An instant before which no waiting change was made, as old as any date that may be true.

    A change may be committed long after the date that it carries, so the last look that saw none
    does not make it younger. It stands for changes whose date is none or cannot be believed.
    """
    if not row["pending"]:
        return None
    oldest_at = row["oldest_at"]
    if oldest_at is None or oldest_at > look.source_at:
        return complete_at or look.looked_at
    dated = min(earliest_meaning(oldest_at, clock.zone) - look.ahead, look.looked_at)
    are_dated = not row["undated"] and row["newest_at"] <= look.source_at
    if complete_at is None or (are_dated and clock.is_proved):
        return dated
    return min(dated, complete_at)
