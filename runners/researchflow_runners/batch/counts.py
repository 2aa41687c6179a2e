"""Reconciliation: how many resources of each type the source has and in which versions, beside
what the ledger knows.

It reads every key on each side, so a refresh that looked at nothing but what a feed told does it
once in COUNT_INTERVAL_S; one that compared every key always does. A difference makes the next
refresh compare every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.batch.plan import Plan
from researchflow_runners.sql import Sql, compose
from researchflow_runners.store.database import Session

COUNT_INTERVAL_S = 300.0

_ARE_DUE = """
SELECT NOT EXISTS (SELECT FROM researchflow.source_count
                    WHERE counted_at > now() - make_interval(secs => $1))
"""
_DIFFER = """
SELECT EXISTS (SELECT FROM researchflow.source_count
               WHERE in_source <> in_ledger OR source_sum IS DISTINCT FROM ledger_sum)
"""
#: Of keys with a column res_type: living resources, and a checksum of every key's version, and of
#: its tags where both sides have them.
_SUMS = """
SELECT k.res_type, count(*) FILTER (WHERE NOT k.deleted) AS n,
       bit_xor(hashint8extended(hashint8extended(k.res_id, k.res_ver * 2 + k.deleted::int),
                                coalesce(k.tags, 0))) AS checksum
FROM {} AS k GROUP BY k.res_type
"""
#: `source` and `ledger` hold for the same snapshot of the source.
_STORE = """
WITH known AS (
    SELECT res_type, count(*) FILTER (WHERE NOT deleted) AS n,
           bit_xor(hashint8extended(hashint8extended(res_id, res_ver * 2 + deleted::int),
                                    CASE WHEN res_type = ANY ($5::text[]) AND NOT deleted
                                         THEN coalesce(tags, 0) ELSE 0 END)) AS checksum
    FROM researchflow.ledger GROUP BY res_type
), counted AS (
    SELECT t.res_type, t.n AS in_source, coalesce(k.n, 0) AS in_ledger,
           t.checksum AS source_sum, coalesce(k.checksum, 0) AS ledger_sum
    FROM unnest($1::text[], $2::bigint[], $4::bigint[]) AS t (res_type, n, checksum)
    LEFT JOIN known AS k ON k.res_type = t.res_type
), gone AS (
    DELETE FROM researchflow.source_count WHERE res_type <> ALL ($1::text[])
)
INSERT INTO researchflow.source_count AS s
    (res_type, in_source, in_ledger, source_sum, ledger_sum, counted_at)
SELECT res_type, in_source, in_ledger, source_sum, ledger_sum, $3 FROM counted
ON CONFLICT (res_type) DO UPDATE
SET in_source = excluded.in_source, in_ledger = excluded.in_ledger,
    source_sum = excluded.source_sum, ledger_sum = excluded.ledger_sum,
    counted_at = excluded.counted_at
RETURNING s.res_type, s.in_source, s.in_ledger, s.source_sum = s.ledger_sum, s.counted_at
"""
_NOTE = "UPDATE researchflow.refresh_run SET counted = true WHERE run_id = $1"
_ARE_MISSING = """
SELECT NOT counted FROM researchflow.refresh_run
WHERE counted IS NOT NULL ORDER BY run_id DESC LIMIT 1
"""
_READ = """
SELECT res_type, in_source, in_ledger, source_sum IS NOT DISTINCT FROM ledger_sum, counted_at
FROM researchflow.source_count ORDER BY res_type
"""


@dataclass(frozen=True, slots=True)
class TypeCount:
    """Resources of one type that are not deleted, at one instant of the source.

    `same_versions` tells whether each key, the deleted ones too, has the same version on both
    sides, and the same tags where a view shows them.
    """

    resource_type: str
    in_source: int
    in_ledger: int
    same_versions: bool
    counted_at: datetime

    @property
    def agrees(self) -> bool:
        """Whether the batch layer knows what the source has."""
        return self.in_source == self.in_ledger and self.same_versions


@dataclass(frozen=True, slots=True)
class SourceSum:
    """What a source has of one type: living resources, and a checksum of versions and tags."""

    count: int
    checksum: int


async def sum_keys(session: Session, keys: Sql) -> dict[str, SourceSum]:
    """The sums of a relation of the source's keys, by type."""
    rows = await session.fetch(compose(_SUMS, keys))
    return {row["res_type"]: SourceSum(row["n"], row["checksum"]) for row in rows}


async def counts_are_due(session: Session) -> bool:
    """Whether the last count is so old that a feed's word alone is not enough."""
    return bool(await session.fetchval(_ARE_DUE, COUNT_INTERVAL_S))


async def counts_differ(session: Session) -> bool:
    """Whether the last count found a difference."""
    return bool(await session.fetchval(_DIFFER))


async def store_counts(
    session: Session,
    plan: Plan,
    found: Mapping[str, SourceSum],
    *,
    counted_at: datetime,
    run_id: int,
) -> tuple[TypeCount, ...]:
    """The counts of the plan's types, kept for status as the run's.

    The ledger must be the snapshot's; `found` sums the tags of the plan's `tagged_types`.
    """
    sums = [found.get(name, SourceSum(0, 0)) for name in plan.types]
    async with session.transaction():
        rows = await session.fetch(
            _STORE,
            plan.types,
            [one.count for one in sums],
            counted_at,
            [one.checksum for one in sums],
            plan.tagged_types,
        )
        await session.execute(_NOTE, run_id)
    return tuple(sorted((TypeCount(*row) for row in rows), key=lambda one: one.resource_type))


async def counts_are_missing(session: Session) -> bool:
    """Whether the last refresh that was to compare source and ledger could not."""
    return bool(await session.fetchval(_ARE_MISSING))


async def read_counts(session: Session) -> tuple[TypeCount, ...]:
    """The last counts by type; none before the first refresh."""
    return tuple(TypeCount(*row) for row in await session.fetch(_READ))
