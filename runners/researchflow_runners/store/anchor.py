"""Anchors as readers see them: the current one, and the one that `as_of` means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg

from researchflow_runners.errors import FreshnessError
from researchflow_runners.naming import PIN_CHARS_MAX, is_pin_name, nearest
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView

#: An anchor's number, an instant, or the name of a pin.
AsOf: TypeAlias = int | datetime | str

PINS_SHOWN_MAX = 20
#: The last way out of an anchor that cannot be read, for a question.
NEWEST_HINT = ", or leave as_of out for the newest"

_ANCHOR = """
SELECT a.anchor, a.data_as_of, a.committed_at, a.expired_at IS NOT NULL AS expired
FROM researchflow.anchor AS a
"""
_NEWEST = f"{_ANCHOR} ORDER BY a.anchor DESC LIMIT 1"
_BY_NUMBER = f"{_ANCHOR} WHERE a.anchor = $1"
_BY_INSTANT = f"{_ANCHOR} WHERE a.data_as_of <= $1 ORDER BY a.anchor DESC LIMIT 1"
_BY_PIN = f"{_ANCHOR} JOIN researchflow.pin AS p ON p.anchor = a.anchor WHERE p.name = $1"
_PINS = "SELECT name FROM researchflow.pin ORDER BY pinned_at DESC, name LIMIT $1"
#: Rows of expired anchors are pruned; every number below the newest was an anchor once.
_KNOWN = "SELECT min(anchor) AS first, max(anchor) AS last FROM researchflow.anchor"
_RETAINED = """
SELECT min(a.anchor), max(a.anchor), min(a.data_as_of), max(a.data_as_of)
FROM researchflow.anchor AS a
WHERE a.expired_at IS NULL AND a.anchor >= $1 AND (
    NOT EXISTS (SELECT FROM researchflow.pin AS p WHERE p.anchor = a.anchor)
    OR a.anchor = (SELECT max(anchor) FROM researchflow.anchor))
"""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One published state of all views; the source is complete in it up to `data_as_of`."""

    anchor: int
    data_as_of: datetime
    committed_at: datetime


async def current_anchor(session: Session) -> Anchor | None:
    """The newest anchor, or None when nothing was ever published."""
    row = await session.fetchrow(_NEWEST)
    return _anchor(row) if row else None


async def required_anchor(session: Session, as_of: AsOf | None) -> Anchor:
    """The anchor of `as_of`, the newest for None; FreshnessError when it cannot be read."""
    if as_of is not None:
        return await resolve_anchor(session, as_of)
    current = await current_anchor(session)
    if current is None:
        hint = "refresh first"
        raise _refusal("anchor_unknown", "nothing is published yet", hint, await pin_names(session))
    return current


async def resolve_anchor(
    session: Session, as_of: AsOf, views: Sequence[PublishedView] = ()
) -> Anchor:
    """The anchor of that number or pin, or the newest whose data is at or before that instant.

    FreshnessError `anchor_unknown`, `pin_unknown`, `anchor_expired`, `anchor_before_view` (one of
    `views` was defined later) or `instant_without_zone`; `allowed` is the range that can be read.
    """
    row = await _found(session, as_of)
    since = max((view.since_anchor for view in views), default=0)
    if row is None or row["expired"]:
        raise await _missing(session, as_of, since)
    if row["anchor"] < since:
        view = max(views, key=lambda view: view.since_anchor)
        message = f'view "{view.name}" as now defined begins after anchor "{row["anchor"]}"'
        raise await _unreadable(session, "anchor_before_view", message, since)
    await _require_held(session, row["anchor"], views)
    return _anchor(row)


async def _require_held(session: Session, anchor: int, views: Sequence[PublishedView]) -> None:
    """Refuses an anchor at which one of the views was set aside."""
    for view in views:
        if view.last_anchor is not None and view.last_anchor < anchor:
            message = f'view "{view.name}" is set aside and has no rows at anchor "{anchor}"'
            hint = f"ask for anchor {view.last_anchor} or an earlier one, or leave as_of out"
            raise _refusal("view_set_aside", message, hint, (f"..{view.last_anchor}",))


async def pin_names(session: Session) -> list[str]:
    """The newest pins' names, at most PINS_SHOWN_MAX."""
    return [row[0] for row in await session.fetch(_PINS, PINS_SHOWN_MAX)]


async def _found(session: Session, as_of: AsOf) -> asyncpg.Record | None:
    """The anchor's row, an expired one's too, or None."""
    if isinstance(as_of, datetime):
        if as_of.utcoffset() is None:
            hint = "add an offset or Z"
            raise _refusal("instant_without_zone", "as_of has no time zone", hint, ())
        return await session.fetchrow(_BY_INSTANT, as_of)
    if isinstance(as_of, int):
        return await session.fetchrow(_BY_NUMBER, as_of) if 0 <= as_of < 2**63 else None
    row = await session.fetchrow(_BY_PIN, as_of) if is_pin_name(as_of) else None
    if row is None:
        raise await pin_unknown(session, as_of, field="as_of")
    return row


async def pin_unknown(session: Session, name: str, *, field: str) -> FreshnessError:
    """The refusal of a pin that is not there."""
    names = await pin_names(session)
    return FreshnessError(
        f'no pin is named "{name[:PIN_CHARS_MAX]}"',
        code="pin_unknown",
        hint="name a pin that exists, or an anchor's number",
        field=field,
        allowed=names,
        did_you_mean=nearest(name, names),
    )


async def _missing(session: Session, as_of: AsOf, since: int) -> FreshnessError:
    """Why there are no rows: that anchor is gone, or never was."""
    known = await session.fetchrow(_KNOWN)
    assert known is not None
    first, last = known["first"], known["last"]
    was_there = last is not None and (
        0 < as_of <= last
        if isinstance(as_of, int)
        else first > 1 or await _found(session, as_of) is not None
    )
    if not was_there:
        return await _unreadable(session, "anchor_unknown", f'no anchor "{as_of}" was published', 0)
    message = f'the rows of anchor "{as_of}" are no longer retained'
    return await _unreadable(session, "anchor_expired", message, since)


async def _unreadable(session: Session, code: str, message: str, since: int) -> FreshnessError:
    """The refusal, with the range of anchors and instants that can be read instead, and pins."""
    first, last, first_at, last_at = await session.fetchrow(_RETAINED, since)  # type: ignore[misc]
    pins = await pin_names(session)
    if first is None:
        return _refusal(code, message, "refresh first: nothing is published yet", pins)
    hint = (
        f"ask for anchor {first} to {last}, data as of {first_at:%Y-%m-%dT%H:%M:%SZ} to"
        f" {last_at:%Y-%m-%dT%H:%M:%SZ}{NEWEST_HINT}"
    )
    return _refusal(code, message, hint, (f"{first}..{last}", *pins))


def _refusal(code: str, message: str, hint: str, allowed: Sequence[str]) -> FreshnessError:
    return FreshnessError(message, code=code, hint=hint, field="as_of", allowed=allowed)


def _anchor(row: asyncpg.Record) -> Anchor:
    return Anchor(row["anchor"], row["data_as_of"], row["committed_at"])
