"""Refreshes as handles: one call starts a refresh, any later one may ask how it went.

A refresh outlives the call that started it. What is told comes from the warehouse, so it is the
same for a refresh that another process runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.batch.catalogue import UNCHANGED, CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import Progress, RefreshResult
from researchflow_runners.batch.run import cancel_run
from researchflow_runners.errors import QueryError, RefreshError, ResearchFlowError
from researchflow_runners.store.database import Database
from researchflow_server.contract.refresh_views import RefreshStatus

logger = logging.getLogger(__name__)

POLL_S = 0.2
START_POLL_S = 0.01
RUN_ID_MAX = 2**63 - 1

#: The row of a refresher that died says so once the next one has closed it; this says it before.
_RUN = """
SELECT r.run_id, r.anchor, a.data_as_of, r.changed,
       CASE WHEN d.run_id IS NULL THEN r.outcome ELSE 'failed' END AS status,
       CASE WHEN d.run_id IS NULL THEN r.error_code ELSE d.error_code END AS error_code,
       extract(epoch FROM coalesce(r.finished_at, d.seen_at, clock_timestamp())
                          - r.started_at)::float8 AS duration_s
FROM researchflow.refresh_run AS r
LEFT JOIN researchflow.refresh_dead AS d ON d.run_id = r.run_id
LEFT JOIN researchflow.anchor AS a ON a.anchor = r.anchor
"""
_BY_ID = f"{_RUN} WHERE r.run_id = $1"
_RUNNING = f"{_RUN} JOIN researchflow.refresh_alive AS l ON l.run_id = r.run_id"

Watcher = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RefreshRun:
    """One refresh as the warehouse tells it."""

    run_id: int
    status: RefreshStatus
    anchor: int | None
    data_as_of: datetime | None
    changed: int | None
    error_code: str | None
    duration_s: float


class Refreshes:
    """The refreshes of one process: one at a time; each sees what was there when it was asked."""

    def __init__(self, warehouse: Database, refresher: Refresher) -> None:
        self._warehouse = warehouse
        self._refresher = refresher
        self._task: asyncio.Task[RefreshResult] | None = None
        self._begun = 0
        self._change = UNCHANGED
        self._retries = True
        self._newest_progress: Progress | None = None
        self._progressed = asyncio.Event()

    async def start(self, *, wait_s: float, watcher: Watcher, retry_all: bool = True) -> RefreshRun:
        """Starts a refresh and waits at most that long; who asks meanwhile shares the next one.

        One that runs already may have looked before the caller's change: it is waited for, as is
        one that registers or drops a view or tries less than is asked. Raises the error of a
        refresh that failed meanwhile; RefreshError `refresh_running` when another process
        refreshes, or a change of views outlasts the time. Where another refresh outlasts the time
        it is that one's run.
        """
        deadline = _in(wait_s)
        asked = self._begun
        while (task := self._other(asked, retry_all=retry_all)) is not None:
            if self._change == UNCHANGED and _left(deadline) <= 0:
                return await self._running(task)
            await self._outwait(task, watcher, deadline)
        if self._under_way() is None:
            self._begin(UNCHANGED, retry_all=retry_all)
        return await self._followed(watcher, _left(deadline))

    async def change(
        self, change: CatalogueChange, *, wait_s: float, watcher: Watcher
    ) -> tuple[RefreshRun, RefreshResult | None]:
        """Starts the refresh that registers or drops a view, once none runs here any more.

        The result is there when it ended in time. Raises what the refresh raises; RefreshError
        `refresh_running` when another refresh outlasts the time.
        """
        deadline = _in(wait_s)
        while (task := self._under_way()) is not None:
            await self._outwait(task, watcher, deadline)
        task = self._begin(change)
        run = await self._followed(watcher, _left(deadline))
        return run, task.result() if task.done() else None

    async def _outwait(
        self, task: asyncio.Task[RefreshResult], watcher: Watcher, deadline: float
    ) -> None:
        """Waits for another's refresh, however it ends; RefreshError `refresh_running`."""
        if _left(deadline) <= 0:
            raise _busy()
        await self._watch(task, watcher, _left(deadline))

    def _begin(
        self, change: CatalogueChange, *, retry_all: bool = True
    ) -> asyncio.Task[RefreshResult]:
        self._newest_progress = None
        self._begun += 1
        self._change, self._retries = change, retry_all
        self._task = asyncio.create_task(
            self._refresher.refresh(self._tell, change=change, retry_all=retry_all)
        )
        self._task.add_done_callback(_note_failure)
        return self._task

    async def _followed(self, watcher: Watcher, wait_s: float) -> RefreshRun:
        assert self._task is not None
        task = self._task
        await self._watch(task, watcher, wait_s)
        if task.done():
            return _ended(task.result())
        return await self._running(task)

    async def _watch(
        self, task: asyncio.Task[RefreshResult], watcher: Watcher, wait_s: float
    ) -> None:
        """Tells the newest progress until the refresh ends or the time is over.

        From the caller's own task: a client that takes nothing holds up itself, never the refresh.
        """
        telling = asyncio.create_task(self._tell_on(watcher))
        try:
            await asyncio.wait([task], timeout=wait_s)
        finally:
            telling.cancel()
            await asyncio.wait([telling])
            if not telling.cancelled() and (error := telling.exception()) is not None:
                logger.info("progress could not be told: %s", type(error).__name__)

    async def _tell_on(self, watcher: Watcher) -> None:
        told: Progress | None = None
        while True:
            progressed = self._progressed
            if self._newest_progress is not None and self._newest_progress is not told:
                told = self._newest_progress
                await watcher(told)
                continue
            await progressed.wait()

    async def look(self, run_id: int, *, wait_s: float) -> RefreshRun:
        """The run of that number, once it has ended or the time is over."""
        deadline = _in(wait_s)
        while True:
            run = await self._find(_BY_ID, run_id) if 0 < run_id <= RUN_ID_MAX else None
            if run is None:
                raise QueryError(
                    f'no refresh has the number "{run_id}"',
                    code="unknown_run",
                    field="run_id",
                    hint="leave run_id out to start a refresh",
                )
            if run.status != "running" or _left(deadline) <= 0:
                return run
            await asyncio.sleep(POLL_S)

    async def cancel(self, run_id: int | None) -> RefreshRun:
        """The run that was ended by this: the one that runs, or only the one of that number.

        The run as it ended when it was no longer running; QueryError `unknown_run` when there is
        none of that number, `no_refresh_runs` when none runs at all.
        """
        cancelled = await cancel_run(self._warehouse, run_id)
        if cancelled is None and run_id is None:
            raise QueryError(
                "no refresh is running",
                code="no_refresh_runs",
                field="cancel",
                hint="nothing is to be ended; leave cancel out to start a refresh",
            )
        return await self.look(cancelled or run_id or 0, wait_s=0)

    async def close(self) -> None:
        """Ends a refresh that still runs; nothing of it is published."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _running(self, task: asyncio.Task[RefreshResult]) -> RefreshRun:
        """The run of a refresh under way: the one that runs, for only one can.

        Of a refresh begun just now the row may not be there yet.
        """
        while not task.done():
            run = await self._find(_RUNNING)
            if run is not None:
                return run
            await asyncio.sleep(START_POLL_S)
        return _ended(task.result())

    def _under_way(self) -> asyncio.Task[RefreshResult] | None:
        return None if self._task is None or self._task.done() else self._task

    def _other(self, asked: int, *, retry_all: bool) -> asyncio.Task[RefreshResult] | None:
        """The refresh of this process, unless it began after `asked` ones and does as much."""
        is_later = self._begun > asked and self._change == UNCHANGED
        return None if is_later and self._retries >= retry_all else self._under_way()

    async def _find(self, statement: str, *args: int) -> RefreshRun | None:
        async with self._warehouse.session() as session:
            row = await session.fetchrow(statement, *args)
        return RefreshRun(**dict(row)) if row else None

    async def _tell(self, progress: Progress) -> None:
        """Notes the progress and wakes who waits for it."""
        self._newest_progress = progress
        self._progressed.set()
        self._progressed = asyncio.Event()


def _ended(result: RefreshResult) -> RefreshRun:
    """The run as its own process knows it: whatever fails from here on, it went well."""
    return RefreshRun(
        run_id=result.run_id,
        status="published" if result.published else "unchanged",
        anchor=result.anchor,
        data_as_of=result.data_as_of,
        changed=result.changed,
        error_code=None,
        duration_s=result.duration_s,
    )


def _in(seconds: float) -> float:
    """The loop's time so many seconds from now."""
    return asyncio.get_running_loop().time() + seconds


def _left(deadline: float) -> float:
    """Seconds until then; 0 once it has passed."""
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _busy() -> RefreshError:
    return RefreshError(
        "another refresh is running",
        code="refresh_running",
        hint="wait for it to finish, then try again",
    )


def _note_failure(task: asyncio.Task[RefreshResult]) -> None:
    """Takes note of an error that no caller waits for any more."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        code = error.code if isinstance(error, ResearchFlowError) else type(error).__name__
        logger.warning("refresh failed: %s", code)
