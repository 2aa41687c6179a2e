"""One refresher at a time, and a row for every attempt, the failed ones too.

The row is the fencing token: a refresher publishes only while its own is still `running`, and
holds it while it does. Who cancels a refresh, or takes over from one that is no longer heard of,
first closes the row, so that the other cannot publish whatever becomes of its lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

import anyio

from researchflow_runners.errors import RefreshError, ResearchFlowError, StoreError
from researchflow_runners.store.database import CLEANUP_TIMEOUT_S, Database, Session
from researchflow_runners.store.locks import REFRESH_LOCK_KEY

#: error_code of a run whose backend died, and of one whose process is no longer heard of; the
#: next refresher writes them.
DIED = "refresher_died"
STALLED = "refresher_stalled"
CANCELLED = "refresh_cancelled"
SUPERSEDED = "refresh_superseded"

#: So many attempts are kept, and the last that went well, however long ago.
RUNS_MAX = 1_000
#: How often a refresher says that it is alive, and how long after the last word it counts as
#: stopped; a new refresher then takes its place.
HEARTBEAT_S = 5.0
LEASE_S = 60.0
#: How long the backend of a refresher that was cut may take to give its lock back.
TAKEOVER_TIMEOUT_S = 10

_PRUNE = """
DELETE FROM researchflow.refresh_run
WHERE outcome <> 'running'
  AND run_id <= (SELECT max(run_id) FROM researchflow.refresh_run) - $1
  AND run_id <> (SELECT coalesce(max(run_id), 0) FROM researchflow.refresh_run
                 WHERE outcome IN ('published', 'unchanged'))
"""
#: A stopped refresher may sit here with the lock and without a row.
_SETTINGS = "SET idle_session_timeout = '{}s'"
_BURY = """
UPDATE researchflow.refresh_run
SET outcome = 'failed', error_code = $1, finished_at = clock_timestamp()
WHERE outcome = 'running' RETURNING backend_pid
"""
_BEGIN = """
INSERT INTO researchflow.refresh_run (backend_pid) VALUES (pg_backend_pid()) RETURNING run_id
"""
_BEAT = """
UPDATE researchflow.refresh_run SET seen_at = clock_timestamp()
WHERE run_id = $1 AND outcome = 'running'
"""
_STALE = """
SELECT EXISTS (
    SELECT FROM researchflow.refresh_run
    WHERE outcome = 'running' AND seen_at < clock_timestamp() - make_interval(secs => $1))
"""
_TOKEN = "SELECT outcome FROM researchflow.refresh_run WHERE run_id = $1 FOR UPDATE"
_DONE = """
UPDATE researchflow.refresh_run
SET outcome = $2, finished_at = clock_timestamp(), anchor = $3, changed = $4, counted = $5
WHERE run_id = $1
"""
_CLOSE = """
UPDATE researchflow.refresh_run
SET outcome = $2, finished_at = clock_timestamp(), error_code = $3
WHERE run_id = $1 AND outcome = 'running'
"""
_OUTCOME = "SELECT outcome, error_code FROM researchflow.refresh_run WHERE run_id = $1"
_CANCEL = """
UPDATE researchflow.refresh_run
SET outcome = 'cancelled', error_code = $2, finished_at = clock_timestamp()
WHERE outcome = 'running' AND ($1::bigint IS NULL OR run_id = $1)
RETURNING run_id, backend_pid
"""
_UNLOCK = "SELECT pg_advisory_unlock($1)"
#: Only the holder of the lock: the row's own backend may have ended and its number been reused.
_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE pid = ANY ($2::int[])
  AND locktype = 'advisory' AND granted AND classid = 0 AND objid = $1 AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def begin_run(session: Session) -> int:
    """A run of its own for the holder of the refresh lock; gives its number.

    Who holds the lock is the only refresher alive, so runs still marked as running are those of
    dead ones.
    """
    await session.execute(_SETTINGS.format(round(LEASE_S)))
    await session.execute(_BURY, DIED)
    await session.execute(_PRUNE, RUNS_MAX)
    return int(await session.fetchval(_BEGIN))


@asynccontextmanager
async def holding_refreshes(session: Session) -> AsyncIterator[None]:
    """Holds the refresh lock inside; RefreshError `refresh_running` when another refresher does.

    It is free when this is left, or with the session at the latest: a backend that ends holds on
    to it for as long as its temporary tables take.
    """
    if not await _locked(session) and not await _taken_over(session):
        raise RefreshError(
            "another refresh is running",
            code="refresh_running",
            hint="wait for it to finish; its progress is in researchflow.refresh_run",
        )
    yield
    await _unlock(session)


@asynccontextmanager
async def waiting_for_refreshes(session: Session) -> AsyncIterator[bool]:
    """The same, waiting TAKEOVER_TIMEOUT_S for it; gives whether it is held."""
    is_held = await _wait_for_lock(session)
    yield is_held
    if is_held:
        await _unlock(session)


async def require_token(session: Session, run_id: int) -> None:
    """Holds the run's row until the transaction ends, so that nobody else closes it.

    RefreshError `refresh_cancelled` or `refresh_superseded` when somebody has.
    """
    outcome = await session.fetchval(_TOKEN, run_id)
    if outcome != "running":
        raise _ended(outcome)


async def mark_done(
    session: Session,
    run_id: int,
    outcome: Literal["published", "unchanged"],
    *,
    anchor: int,
    changed: int,
    is_counting: bool,
) -> None:
    """Closes the run, in the transaction that publishes.

    `is_counting`: source and ledger are to be compared after it, and are not yet.
    """
    await session.execute(_DONE, run_id, outcome, anchor, changed, False if is_counting else None)


async def has_published(warehouse: Database, run_id: int) -> bool:
    """Whether the run went well, once the transaction that holds its row has ended.

    For who lost the connection over the commit; False too when the warehouse does not tell.
    """
    with anyio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
        try:
            async with warehouse.session() as session:
                return await session.fetchval(_TOKEN, run_id) in ("published", "unchanged")
        except ResearchFlowError:
            return False
    return False


async def close_run(
    warehouse: Database, run_id: int, outcome: Literal["failed", "cancelled"], error_code: str
) -> RefreshError | None:
    """Closes a run that did not publish; when even that fails the next run does it.

    Gives the error to tell in place of its own when somebody else had closed it before.
    """
    with anyio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
        try:
            async with warehouse.session() as session:
                if await session.execute(_CLOSE, run_id, outcome, error_code):
                    return None
                row = await session.fetchrow(_OUTCOME, run_id)
        except ResearchFlowError:
            return None
        if row is not None and row["outcome"] in ("failed", "cancelled"):
            return _ended(row["outcome"])
    return None


async def cancel_run(warehouse: Database, run_id: int | None = None) -> int | None:
    """Ends the refresh that runs, of whichever process, or only the one of that number.

    Gives its number; None when there is none, or when it has published by now.
    """
    async with warehouse.session() as session:
        cancelled = await session.fetchrow(_CANCEL, run_id, CANCELLED)
        if cancelled is None:
            return None
        await session.execute(_CUT, REFRESH_LOCK_KEY, [cancelled["backend_pid"]])
    return int(cancelled["run_id"])


@asynccontextmanager
async def heartbeat(warehouse: Database, run_id: int) -> AsyncIterator[None]:
    """Says that the run is alive until the block is left."""
    beating = asyncio.create_task(_beat(warehouse, run_id))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])


async def _beat(warehouse: Database, run_id: int) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        try:
            async with warehouse.session() as session:
                await session.execute(_BEAT, run_id)
        except ResearchFlowError:
            continue


async def _unlock(session: Session) -> None:
    """What was done under the lock stays done; with the session it is free in any case."""
    with suppress(ResearchFlowError):
        await session.execute(_UNLOCK, REFRESH_LOCK_KEY)


async def _locked(session: Session) -> bool:
    return bool(await session.fetchval("SELECT pg_try_advisory_lock($1)", REFRESH_LOCK_KEY))


async def _taken_over(session: Session) -> bool:
    """Whether the lock was got from a refresher that is no longer heard of."""
    if not await session.fetchval(_STALE, LEASE_S):
        return False
    stalled = [row[0] for row in await session.fetch(_BURY, STALLED)]
    await session.execute(_CUT, REFRESH_LOCK_KEY, stalled)
    return await _wait_for_lock(session)


async def _wait_for_lock(session: Session) -> bool:
    """Whether the refresh lock came free within TAKEOVER_TIMEOUT_S; it is held then."""
    await session.execute(f"SET lock_timeout = '{TAKEOVER_TIMEOUT_S}s'")
    try:
        await session.execute("SELECT pg_advisory_lock($1)", REFRESH_LOCK_KEY)
    except StoreError as error:
        if error.code != "postgres_conflict":
            raise
        return False
    finally:
        await session.execute("RESET lock_timeout")
    return True


def _ended(outcome: str | None) -> RefreshError:
    if outcome == "cancelled":
        return RefreshError(
            "the refresh was cancelled",
            code=CANCELLED,
            hint="nothing has changed; start another when you like",
        )
    return RefreshError(
        "another refresh has taken this one's place, because it was not heard of for "
        f"{LEASE_S:g} s or had lost its lock",
        code=SUPERSEDED,
        hint="nothing of this one was published; the other one tells how it goes",
    )
