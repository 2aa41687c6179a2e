"""Views that cannot be computed for now: their rows are those of an earlier anchor, and say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.store.database import Session

#: A view that still fails is tried again after twice as long, up to the most.
RETRY_MIN_S = 60
RETRY_MAX_S = 3_600

_LIST = """
SELECT view_name, resource_type, digest, after_anchor, code, reason, set_aside_at, attempts,
       retry_at, retry_at <= clock_timestamp() AS is_due
FROM researchflow.set_aside ORDER BY view_name
"""
_PUT = """
INSERT INTO researchflow.set_aside AS s
    (view_name, resource_type, digest, after_anchor, code, reason, retry_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
ON CONFLICT (view_name) DO UPDATE
SET resource_type = excluded.resource_type, digest = excluded.digest, code = excluded.code,
    reason = excluded.reason, attempts = s.attempts + 1,
    retry_at = clock_timestamp()
        + make_interval(secs => least($7 * 2 ^ least(s.attempts, 16), $8))
"""
_RETURN = "DELETE FROM researchflow.set_aside WHERE view_name = ANY ($1::text[])"


@dataclass(frozen=True, slots=True)
class SetAside:
    """One view; `after_anchor` is the last anchor that it answers for, None when none does."""

    view: str
    resource_type: str
    digest: str
    after_anchor: int | None
    code: str
    reason: str
    set_aside_at: datetime
    attempts: int
    retry_at: datetime
    is_due: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A view that a refresh could not compute, and why."""

    view: str
    resource_type: str
    digest: str
    code: str
    reason: str


async def views_set_aside(session: Session) -> tuple[SetAside, ...]:
    """All of them, by name."""
    return tuple(SetAside(*row.values()) for row in await session.fetch(_LIST))


async def set_aside(session: Session, failure: Failure, *, after_anchor: int | None) -> None:
    """Keeps a view from being asked beyond the anchor; one set aside before keeps its own."""
    await session.execute(
        _PUT,
        failure.view,
        failure.resource_type,
        failure.digest,
        after_anchor,
        failure.code,
        failure.reason,
        RETRY_MIN_S,
        RETRY_MAX_S,
    )


async def take_back(session: Session, names: Sequence[str]) -> None:
    """Lets views be asked again that were computed, or are gone."""
    await session.execute(_RETURN, list(names))
