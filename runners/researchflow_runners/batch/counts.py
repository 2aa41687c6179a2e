"""How many resources of each type the source has, beside how many the ledger knows.

Counting costs about 0.2 s for a million resources on each side, so a refresh that looked at nothing
but what a feed told does it once in COUNT_INTERVAL_S; one that compared every key always does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.store.database import Session

COUNT_INTERVAL_S = 60.0

_ARE_DUE = """
SELECT NOT EXISTS (SELECT FROM researchflow.source_count
                    WHERE counted_at > now() - make_interval(secs => $1))
"""
_DIFFER = """
SELECT EXISTS (SELECT FROM researchflow.source_count WHERE in_source <> in_ledger)
"""
#: `source` and `ledger` hold for the same snapshot of the source.
_STORE = """
WITH known AS (
    SELECT res_type, count(*) AS n FROM researchflow.ledger WHERE NOT deleted GROUP BY res_type
), counted AS (
    SELECT t.res_type, t.n AS in_source, coalesce(k.n, 0) AS in_ledger
    FROM unnest($1::text[], $2::bigint[]) AS t (res_type, n)
    LEFT JOIN known AS k ON k.res_type = t.res_type
), gone AS (
    DELETE FROM researchflow.source_count WHERE res_type <> ALL ($1::text[])
)
INSERT INTO researchflow.source_count AS s (res_type, in_source, in_ledger, counted_at)
SELECT res_type, in_source, in_ledger, $3 FROM counted
ON CONFLICT (res_type) DO UPDATE
SET in_source = excluded.in_source, in_ledger = excluded.in_ledger,
    counted_at = excluded.counted_at
RETURNING s.res_type, s.in_source, s.in_ledger, s.counted_at
"""
_READ = """
SELECT res_type, in_source, in_ledger, counted_at FROM researchflow.source_count ORDER BY res_type
"""


@dataclass(frozen=True, slots=True)
class TypeCount:
    """Resources of one type that are not deleted, at one instant of the source."""

    resource_type: str
    in_source: int
    in_ledger: int
    counted_at: datetime

    @property
    def agrees(self) -> bool:
        """Whether the batch layer knows as many as the source has."""
        return self.in_source == self.in_ledger


async def counts_are_due(session: Session) -> bool:
    """Whether the last count is so old that a feed's word alone is not enough."""
    return bool(await session.fetchval(_ARE_DUE, COUNT_INTERVAL_S))


async def counts_differ(session: Session) -> bool:
    """Whether the last count found a difference."""
    return bool(await session.fetchval(_DIFFER))


async def store_counts(
    session: Session, types: Sequence[str], counted: Mapping[str, int], counted_at: datetime
) -> tuple[TypeCount, ...]:
    """The counts of these types by type, kept for status; the ledger must be the snapshot's."""
    numbers = [counted.get(name, 0) for name in types]
    rows = await session.fetch(_STORE, list(types), numbers, counted_at)
    return tuple(sorted((TypeCount(*row) for row in rows), key=lambda one: one.resource_type))


async def read_counts(session: Session) -> tuple[TypeCount, ...]:
    """The last counts by type; none before the first refresh."""
    return tuple(TypeCount(*row) for row in await session.fetch(_READ))
