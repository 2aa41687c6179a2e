"""Published anchors, and giving up the history of old ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from researchflow_runners.sql import compose, ident, param
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.published import published_views
from researchflow_runners.store.relations import SCHEMA

LIST_MAX = 1_000

_LIST = """
SELECT anchor, data_as_of, committed_at, changed, expired_at
FROM researchflow.anchor ORDER BY anchor DESC LIMIT $1
"""
#: The oldest anchor to keep: young enough, or among the newest `$2`, and never above the last.
_FIRST_KEPT = """
SELECT min(anchor) FROM (
    SELECT anchor, committed_at, row_number() OVER (ORDER BY anchor DESC) AS age
    FROM researchflow.anchor) AS a
WHERE age <= greatest($2::bigint, 1) OR committed_at >= now() - $1::interval
"""
_EXPIRE = """
UPDATE researchflow.anchor SET expired_at = clock_timestamp()
WHERE anchor < $1 AND expired_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class AnchorInfo:
    """One anchor as lists show it; `expired_at` is set when its rows were given up."""

    anchor: int
    data_as_of: datetime
    committed_at: datetime
    changed: int
    expired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Expiry:
    """What a retention run gave up."""

    anchors: int
    rows: int


async def list_anchors(session: Session, *, limit: int = LIST_MAX) -> list[AnchorInfo]:
    """The newest anchors first, at most LIST_MAX."""
    rows = await session.fetch(_LIST, min(limit, LIST_MAX))
    return [AnchorInfo(*row.values()) for row in rows]


async def expire_anchors(
    warehouse: Database, *, keep_for: timedelta, keep_at_least: int = 1
) -> Expiry:
    """Gives up the history of anchors that are older than `keep_for` and not among the newest.

    Reads at such an anchor are refused as `anchor_expired` from the same commit on. The current
    anchor always stays.
    """
    async with warehouse.transaction() as session:
        first_kept = await session.fetchval(_FIRST_KEPT, keep_for, keep_at_least)
        if first_kept is None:
            return Expiry(0, 0)
        expired = await session.execute(_EXPIRE, first_kept)
        rows = 0
        for published in (await published_views(session)).values():
            rows += await session.execute(
                compose(
                    "DELETE FROM {} WHERE _until <= {}",
                    ident(SCHEMA, published.history_table),
                    param(first_kept, "bigint"),
                )
            )
        return Expiry(expired, rows)
