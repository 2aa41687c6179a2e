"""When the next refresh is due, told by the warehouse, so that all its servers agree.

An objective is the seconds within which a change of the source is to be in an anchor. The refresh
begins so much earlier as the last one took. Without a change that waits none is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources

from researchflow_runners.batch.run import LEASE_S
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.store.database import Session
from researchflow_runners.store.set_aside import views_set_aside

#: The share of an objective by which a refresh may begin earlier, so that servers do not all
#: try at once.
JITTER_SHARE_MAX = 0.1
BACKOFF_MIN_S = 5.0
BACKOFF_MAX_S = 300.0
#: How long a refresh that somebody cancelled is not begun again by itself.
CANCELLED_PAUSE_S = 60.0
#: Entries that a refresh does not absorb must not make it begin again and again.
OVERLAY_PAUSE_S = 10.0

_STATE = resources.files(__package__).joinpath("schedule.sql").read_text()
_VIEWS = """
SELECT c.view_name, c.resource_type, c.digest, a.committed_at AS published_at,
       CASE WHEN s.pending > 0 THEN s.oldest_pending_at END AS waiting_since
FROM researchflow.view_catalogue AS c
JOIN researchflow.anchor AS a ON a.anchor = c.since_anchor
LEFT JOIN researchflow.source_check AS s ON s.res_type = c.resource_type
"""


@dataclass(frozen=True, slots=True)
class Objectives:
    """Seconds within which changes are to be in an anchor: of all views, and of single ones.

    0 is no objective. `overlay_max` waiting changes of the source make a refresh due at once.
    """

    every_s: float
    by_view: Mapping[str, float] = field(default_factory=dict)
    overlay_max: int = 5_000

    @property
    def is_on(self) -> bool:
        """Whether anything is refreshed by itself."""
        return self.every_s > 0 or any(self.by_view.values())

    def of(self, view: str) -> float | None:
        """The view's, or None."""
        return self.by_view.get(view, self.every_s) or None

    def shortest_s(self, views: Iterable[str]) -> float | None:
        """The shortest of these views; the source is looked at more often than that."""
        return min(filter(None, map(self.of, views)), default=None)

    def unknown(self, views: Iterable[str]) -> tuple[str, ...]:
        """The names that are of none of these views, and so have no effect."""
        return tuple(sorted(self.by_view.keys() - set(views)))


@dataclass(frozen=True, slots=True)
class ScheduledView:
    """A published view; `waiting_since` is the oldest change that it lacks, None without one."""

    name: str
    digest: str
    published_at: datetime
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The warehouse's word; all instants are its clock's.

    `failures` counts the runs since the last that went well, `took_s` is how long that one took,
    `waiting` counts the source's changes that no anchor has. `aside` are the views set aside, of
    which the first is to be tried again at `retry_at`.
    """

    now: datetime
    running: bool
    last_outcome: str | None
    last_ended_at: datetime | None
    failures: int
    took_s: float
    waiting: int
    retry_at: datetime | None = None
    aside: frozenset[str] = frozenset()
    views: tuple[ScheduledView, ...] = ()


async def read_state(session: Session) -> ScheduleState:
    """The state as of now."""
    row = await session.fetchrow(_STATE, LEASE_S)
    assert row is not None
    views = [
        ScheduledView(
            view["view_name"], view["digest"], view["published_at"], view["waiting_since"]
        )
        for view in await session.fetch(_VIEWS)
    ]
    aside = await views_set_aside(session)
    return ScheduleState(
        **dict(row),
        retry_at=min((one.retry_at for one in aside), default=None),
        aside=frozenset(one.view for one in aside),
        views=tuple(views),
    )


def due_at(
    state: ScheduleState,
    objectives: Objectives,
    shipped: Sequence[CompiledView],
    *,
    began_at: datetime,
    jitter: float,
) -> datetime | None:
    """When the next refresh is to begin; None when nothing waits for one.

    `began_at` is when this process did; `jitter` from 0 to 1 is its share of JITTER_SHARE_MAX.
    """
    if state.running or _is_outdated(state, shipped, began_at):
        return None
    reasons = [
        *_changes(state, objectives, jitter),
        *_overlay(state, objectives),
        *_definitions(state, shipped),
        *([state.retry_at] if state.retry_at else []),
    ]
    if not reasons:
        return None
    return max(min(reasons), _not_before(state, jitter))


def _changes(state: ScheduleState, objectives: Objectives, jitter: float) -> list[datetime]:
    """For each view that lacks a change, the latest beginning that meets its objective."""
    found = []
    for view in state.views:
        objective_s = objectives.of(view.name)
        if view.waiting_since is None or objective_s is None:
            continue
        lead_s = min(state.took_s, objective_s / 2) + jitter * JITTER_SHARE_MAX * objective_s
        found.append(view.waiting_since + timedelta(seconds=objective_s - lead_s))
    return found


def _overlay(state: ScheduleState, objectives: Objectives) -> list[datetime]:
    if state.waiting < objectives.overlay_max:
        return []
    if state.last_ended_at is None:
        return [state.now]
    return [state.last_ended_at + timedelta(seconds=max(OVERLAY_PAUSE_S, 2 * state.took_s))]


def _definitions(state: ScheduleState, shipped: Sequence[CompiledView]) -> list[datetime]:
    """A shipped view that is not published as this process defines it is published at once."""
    published = {view.name: view.digest for view in state.views}
    if all(view.name in state.aside or published.get(view.name) == view.digest for view in shipped):
        return []
    return [state.now]


def _is_outdated(state: ScheduleState, shipped: Sequence[CompiledView], began_at: datetime) -> bool:
    """Whether a process of another release, begun later, has published its definitions.

    Two releases at once would otherwise undo each other's views for ever.
    """
    own = {view.name: view.digest for view in shipped}
    return any(
        own.get(view.name, view.digest) != view.digest and view.published_at > began_at
        for view in state.views
    )


def _not_before(state: ScheduleState, jitter: float) -> datetime:
    """Failures are waited out, each twice as long as the one before."""
    if state.last_ended_at is None or state.failures == 0:
        return state.now
    pause_s = min(BACKOFF_MIN_S * 2 ** min(state.failures - 1, 16), BACKOFF_MAX_S)
    if state.last_outcome == "cancelled":
        pause_s = max(pause_s, CANCELLED_PAUSE_S)
    return state.last_ended_at + timedelta(seconds=pause_s * (1 + jitter * JITTER_SHARE_MAX))
