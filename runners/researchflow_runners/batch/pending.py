"""How much the source has that the batch layer lacks: the truth behind staleness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.batch.staging import Origin, open_staging
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Database

TIMEOUT_S = 60.0

#: An expunged resource leaves no date: it went after the current anchor's instant. A date is the
#: FHIR server's clock; whatever that says, what is seen now did not happen later.
_PENDING = """
SELECT t.res_type, count(d.res_type) AS pending,
       CASE WHEN count(d.res_type) > 0 THEN least(min(d.updated_at), {seen_at}) END
           AS oldest_pending_at
FROM unnest({types}) AS t (res_type)
LEFT JOIN (
    SELECT coalesce(s.res_type, l.res_type) AS res_type,
           coalesce(s.updated_at, (SELECT data_as_of FROM researchflow.anchor
                                   ORDER BY anchor DESC LIMIT 1)) AS updated_at
    FROM (SELECT * FROM {keys} AS k) AS s
    FULL JOIN (SELECT * FROM researchflow.ledger WHERE res_type = ANY ({types})) AS l
         ON l.res_id = s.res_id
    WHERE s.res_id IS NULL OR l.res_id IS NULL
       OR (s.res_ver, s.deleted, s.id, s.res_type)
          IS DISTINCT FROM (l.res_ver, l.deleted, l.id, l.res_type)
) AS d ON d.res_type = t.res_type
GROUP BY t.res_type ORDER BY t.res_type
"""
_STORE = """
INSERT INTO researchflow.source_check AS s (res_type, checked_at, pending, oldest_pending_at)
SELECT res_type, $4, pending, oldest_pending_at
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[])
     AS p (res_type, pending, oldest_pending_at)
ON CONFLICT (res_type) DO UPDATE
SET checked_at = excluded.checked_at, pending = excluded.pending,
    oldest_pending_at = excluded.oldest_pending_at
WHERE s.checked_at <= excluded.checked_at
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """Changes of one resource type that wait for a refresh, as of `checked_at`."""

    resource_type: str
    pending: int
    oldest_pending_at: datetime | None
    checked_at: datetime


async def check_source(
    warehouse: Database, source: HapiSource, types: Sequence[str]
) -> list[Pending]:
    """Compares the source's keys with the ledger and stores the outcome in source_check."""
    origin = Origin(source)
    async with (
        warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session,
        open_staging(session, warehouse, origin, timeout_s=TIMEOUT_S) as staging,
    ):
        keys = await staging.keys(types)
        rows = await session.fetch(
            compose(
                _PENDING,
                types=param(sorted(set(types)), "text[]"),
                keys=keys,
                seen_at=param(staging.data_as_of, "timestamptz"),
            )
        )
    found = [
        Pending(row["res_type"], row["pending"], row["oldest_pending_at"], staging.data_as_of)
        for row in rows
    ]
    async with warehouse.transaction() as session:
        await session.execute(
            _STORE,
            [one.resource_type for one in found],
            [one.pending for one in found],
            [one.oldest_pending_at for one in found],
            staging.data_as_of,
        )
    return found
