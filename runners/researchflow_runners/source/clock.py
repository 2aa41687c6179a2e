"""Whether the zone in which the source's times are read can be the one they were written in.

Zones differ by quarters of an hour. A change that was not there at one look and is at the next, a
few minutes later, was made between them, give or take its request; so its date must lie there. A
date after the look is in the future: nothing but another zone or a wrong clock writes it. A date
long before the first look may be one long request; only when change after change lies back by the
same quarters is it a zone. Dates are believed from the first change that lies where it must.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Verdict = Literal["ahead", "behind"]

#: The least by which two zones differ, and what clocks and requests may take from it.
STEP_S = 15 * 60
SLACK_S = 60
#: Further ahead is no zone: the widest span between two is 26 hours.
AHEAD_MAX = timedelta(hours=26)
#: So many changes that lie back alike are no coincidence.
CHANGES_BEHIND = 5
#: Zones change their offset twice a year; a proof older than this may be of the other one.
PROOF_LASTS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SourceClock:
    """What the looks up to `looked_at` say, with the dates read in `zone`.

    `newest_at` is the newest date then. `verdict` says that dates lie `offset_s` seconds ahead of
    what they should be, or behind. `behind_from_s` to `behind_to_s` is how far the last
    `changes_behind` changes may all lie back.
    """

    zone: str
    looked_at: datetime
    newest_at: datetime | None
    proved_at: datetime | None = None
    verdict: Verdict | None = None
    offset_s: float | None = None
    changes_behind: int = 0
    behind_from_s: float = 0.0
    behind_to_s: float = 0.0

    @property
    def is_proved(self) -> bool:
        """Whether dates may be believed at this look."""
        if self.verdict is not None or self.proved_at is None:
            return False
        return self.looked_at - self.proved_at <= PROOF_LASTS


def looked(
    before: SourceClock | None, *, zone: str, looked_at: datetime, newest_at: datetime | None
) -> SourceClock:
    """The clock after one more look; `looked_at` is the source database's own time."""
    if before is None or before.zone != zone:
        first = SourceClock(zone, looked_at, newest_at)
        ahead_s = _ahead_s(first)
        return _ahead(first, ahead_s) if ahead_s > STEP_S - SLACK_S else first
    if looked_at < before.looked_at:
        return before
    now = replace(before, looked_at=looked_at, newest_at=newest_at)
    ahead_s = _ahead_s(now)
    if ahead_s > STEP_S - SLACK_S:
        return _ahead(now, ahead_s)
    window_s = (looked_at - before.looked_at).total_seconds()
    if newest_at is None or (before.newest_at is not None and newest_at <= before.newest_at):
        return now
    if ahead_s > 0 or window_s >= STEP_S - SLACK_S:
        return now
    return _changed(now, since_s=(before.looked_at - newest_at).total_seconds(), till_s=-ahead_s)


def _ahead_s(clock: SourceClock) -> float:
    """How far the newest date lies after the look; below 0 where it lies before."""
    if clock.newest_at is None:
        return -math.inf
    return (clock.newest_at - clock.looked_at).total_seconds()


def _ahead(now: SourceClock, ahead_s: float) -> SourceClock:
    """An hour ahead shows as up to an hour: the least whole quarter that explains it."""
    quarters = -(-(ahead_s - SLACK_S) // STEP_S)
    return replace(now, proved_at=None, verdict="ahead", offset_s=quarters * STEP_S)


def _changed(now: SourceClock, *, since_s: float, till_s: float) -> SourceClock:
    """A change was made `since_s` to `till_s` seconds after its date, by the looks around it."""
    if since_s <= SLACK_S:
        return replace(now, proved_at=now.looked_at, verdict=None, offset_s=None, changes_behind=0)
    since_s -= SLACK_S
    low_s, high_s, count = since_s, till_s, 1
    if now.changes_behind:
        low_s, high_s = max(low_s, now.behind_from_s), min(high_s, now.behind_to_s)
        count += now.changes_behind
    if _quarter(low_s, high_s) is None:
        low_s, high_s, count = since_s, till_s, 1
    now = replace(now, changes_behind=count, behind_from_s=low_s, behind_to_s=high_s)
    offset_s = _quarter(low_s, high_s)
    if offset_s is None or count < CHANGES_BEHIND:
        return now
    return replace(now, proved_at=None, verdict="behind", offset_s=offset_s)


def _quarter(low_s: float, high_s: float) -> float | None:
    """The first whole quarter of an hour within the span."""
    found = -(-low_s // STEP_S) * STEP_S
    return found if STEP_S <= found <= high_s else None
