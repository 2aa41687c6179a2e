"""Anchors as readers see them: the current one, and the one that `as_of` means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from researchflow_runners.errors import FreshnessError
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView

_NEWEST = """
SELECT anchor, data_as_of, committed_at, expired_at IS NOT NULL AS expired
FROM researchflow.anchor
WHERE ($1::bigint IS NULL OR anchor = $1) AND ($2::timestamptz IS NULL OR data_as_of <= $2)
ORDER BY anchor DESC LIMIT 1
"""
_RETAINED = """
SELECT min(anchor), max(anchor), min(data_as_of), max(data_as_of)
FROM researchflow.anchor WHERE expired_at IS NULL AND anchor >= $1
"""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One published state of all views; the source is complete in it up to `data_as_of`."""

    anchor: int
    data_as_of: datetime
    committed_at: datetime


async def current_anchor(session: Session) -> Anchor | None:
    """The newest anchor, or None when nothing was ever published."""
    row = await session.fetchrow(_NEWEST, None, None)
    return _anchor(row) if row else None


async def resolve_anchor(
    session: Session, as_of: int | datetime, views: Sequence[PublishedView] = ()
) -> Anchor:
    """The anchor of that number, or the newest whose data is at or before that instant.

    FreshnessError `anchor_unknown`, `anchor_expired`, `anchor_before_view` (one of `views` was
    defined later) or `instant_without_zone`; `allowed` is the range that can be read.
    """
    if isinstance(as_of, datetime) and as_of.utcoffset() is None:
        raise _refusal("instant_without_zone", "as_of has no time zone", "add an offset or Z", ())
    row = None
    if isinstance(as_of, datetime):
        row = await session.fetchrow(_NEWEST, None, as_of)
    elif 0 <= as_of < 2**63:
        row = await session.fetchrow(_NEWEST, as_of, None)
    if row is None:
        raise await _unreadable(session, "anchor_unknown", f'no anchor "{as_of}" was published', 0)
    since = max((view.since_anchor for view in views), default=0)
    if row["expired"]:
        message = f'the rows of anchor "{row["anchor"]}" are no longer retained'
        raise await _unreadable(session, "anchor_expired", message, since)
    if row["anchor"] < since:
        view = max(views, key=lambda view: view.since_anchor)
        message = f'view "{view.name}" as now defined begins after anchor "{row["anchor"]}"'
        raise await _unreadable(session, "anchor_before_view", message, since)
    return _anchor(row)


async def _unreadable(session: Session, code: str, message: str, since: int) -> FreshnessError:
    """The refusal, with the range of anchors and instants that can be read instead."""
    first, last, first_at, last_at = await session.fetchrow(_RETAINED, since)  # type: ignore[misc]
    if first is None:
        return _refusal(code, message, "refresh first: nothing is published yet", ())
    hint = (
        f"ask for anchor {first} to {last}, data as of {first_at:%Y-%m-%dT%H:%M:%SZ} to"
        f" {last_at:%Y-%m-%dT%H:%M:%SZ}, or leave as_of out for the newest"
    )
    return _refusal(code, message, hint, (f"{first}..{last}",))


def _refusal(code: str, message: str, hint: str, allowed: Sequence[str]) -> FreshnessError:
    return FreshnessError(message, code=code, hint=hint, field="as_of", allowed=allowed)


def _anchor(row: asyncpg.Record) -> Anchor:
    return Anchor(row["anchor"], row["data_as_of"], row["committed_at"])
