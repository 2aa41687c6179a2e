"""Refreshes without hands: begins one when it is due, on whichever server notices first."""

from __future__ import annotations

import random
from datetime import datetime

from researchflow_runners.batch.result import Progress
from researchflow_runners.batch.schedule import Objectives, due_at, read_state
from researchflow_runners.errors import RefreshError
from researchflow_server.runtime.runtime import Runtime

#: How often the warehouse is asked whether a refresh is due.
TICK_S = 1.0
REFRESH_TIMEOUT_S = 6 * 3600.0


class Scheduler:
    """Keeps the objectives of one process' settings."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._objectives: Objectives = runtime.settings.objectives
        self._began_at: datetime | None = None
        self._jitter = random.random()

    async def step(self) -> None:
        """Begins a refresh if one is due, and waits for its end; raises what it raises.

        Another one that runs does the work: that is no error.
        """
        async with self._runtime.stores.warehouse.session() as session:
            state = await read_state(session)
        self._began_at = self._began_at or state.now
        due = due_at(
            state,
            self._objectives,
            tuple(self._runtime.shipped.values()),
            began_at=self._began_at,
            jitter=self._jitter,
        )
        if due is None or due > state.now:
            return
        self._jitter = random.random()
        try:
            await self._runtime.refreshes.start(
                wait_s=REFRESH_TIMEOUT_S, watcher=_untold, retry_all=False
            )
        except RefreshError as error:
            if error.code not in ("refresh_running", "refresh_cancelled"):
                raise


async def _untold(_progress: Progress) -> None:
    """Nobody watches."""
