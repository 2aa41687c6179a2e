"""Refreshes that ended since this process began to count, of whichever process.

Counted run by run: rows that leave the warehouse later stay counted, a look reads only what is new,
and a restart begins at 0, as a counter does. A count of what the table holds would fall when old
rows go, and Prometheus would take the rest for new failures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from typing import Any

from researchflow_runners.store.database import Session

#: Upper bounds of the refresh durations, seconds.
REFRESH_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

#: How a refresh may end.
OUTCOMES = ("published", "unchanged", "failed", "cancelled")

_NEW_RUNS = resources.files(__package__).joinpath("refresh.sql").read_text()
_LAST_SUCCESS = """
SELECT finished_at FROM researchflow.refresh_run
WHERE outcome IN ('published', 'unchanged') ORDER BY run_id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class RefreshState:
    """The refreshes counted so far; `bucket_counts` has one more entry than REFRESH_BUCKETS_S.

    `last_success_at` is the warehouse's, whenever that was.
    """

    outcomes: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    changed: int = 0
    seconds: float = 0.0
    bucket_counts: tuple[int, ...] = (0,) * (len(REFRESH_BUCKETS_S) + 1)
    last_success_at: datetime | None = None


class RefreshTally:
    """The count of one process; one look at a time."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._looked = False
        self._newest_run = 0
        self._running: list[int] = []
        self._state = RefreshState()

    async def look(self, session: Session) -> RefreshState:
        """What has ended up to now."""
        since_s = None if self._looked else time.monotonic() - self._began_s
        rows = await session.fetch(
            _NEW_RUNS, list(REFRESH_BUCKETS_S), self._newest_run, self._running, since_s
        )
        last_success_at = await session.fetchval(_LAST_SUCCESS)
        for row in rows:
            self._state = _counted(self._state, row)
            self._newest_run = max(self._newest_run, row["newest"])
        self._running = [run_id for row in rows for run_id in row["running"]]
        self._looked = True
        self._state = replace(self._state, last_success_at=last_success_at)
        return self._state


def _counted(state: RefreshState, row: Any) -> RefreshState:
    if row["outcome"] == "running":
        return state
    counts = list(state.bucket_counts)
    counts[row["bucket"]] += row["runs"]
    outcome = row["outcome"]
    return replace(
        state,
        outcomes={**state.outcomes, outcome: state.outcomes[outcome] + row["runs"]},
        changed=state.changed + row["changed"],
        seconds=state.seconds + row["seconds"],
        bucket_counts=tuple(counts),
    )
