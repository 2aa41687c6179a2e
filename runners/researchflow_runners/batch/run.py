"""One refresher at a time, and a row for every attempt, the failed ones too."""

from __future__ import annotations

import anyio

from researchflow_runners.errors import RefreshError, ResearchFlowError
from researchflow_runners.store.database import CLEANUP_TIMEOUT_S, Database, Session
from researchflow_runners.store.locks import REFRESH_LOCK_KEY

#: error_code of a run whose backend died; the next refresher writes it.
DIED = "refresher_died"

#: So many attempts are kept, and the last that published, however long ago.
RUNS_MAX = 1_000

_PRUNE = """
DELETE FROM researchflow.refresh_run
WHERE outcome <> 'running'
  AND run_id <= (SELECT max(run_id) FROM researchflow.refresh_run) - $1
  AND run_id <> (SELECT coalesce(max(run_id), 0) FROM researchflow.refresh_run
                 WHERE outcome = 'published')
"""
_BURY = """
UPDATE researchflow.refresh_run
SET outcome = 'failed', error_code = $1, finished_at = clock_timestamp()
WHERE outcome = 'running'
"""
_BEGIN = "INSERT INTO researchflow.refresh_run DEFAULT VALUES RETURNING run_id"
_PUBLISHED = """
UPDATE researchflow.refresh_run
SET outcome = 'published', finished_at = clock_timestamp(), anchor = $2, changed = $3
WHERE run_id = $1
"""
_FAILED = """
UPDATE researchflow.refresh_run
SET outcome = 'failed', finished_at = clock_timestamp(), error_code = $2
WHERE run_id = $1 AND outcome = 'running'
"""


async def begin_run(session: Session) -> int:
    """Takes the refresh lock for as long as the session lives; gives the run's number.

    RefreshError `refresh_running` when another refresher holds it. Who holds the lock is the
    only refresher alive, so runs still marked as running are those of dead ones.
    """
    await hold_refreshes(session)
    await session.execute(_BURY, DIED)
    await session.execute(_PRUNE, RUNS_MAX)
    return int(await session.fetchval(_BEGIN))


async def hold_refreshes(session: Session) -> None:
    """Takes the refresh lock for as long as the session lives; RefreshError `refresh_running`."""
    if not await session.fetchval("SELECT pg_try_advisory_lock($1)", REFRESH_LOCK_KEY):
        raise RefreshError(
            "another refresh is running",
            code="refresh_running",
            hint="wait for it to finish; its progress is in researchflow.refresh_run",
        )


async def mark_published(session: Session, run_id: int, anchor: int, changed: int) -> None:
    """Closes the run, in the transaction that publishes."""
    await session.execute(_PUBLISHED, run_id, anchor, changed)


async def mark_failed(warehouse: Database, run_id: int, error_code: str) -> None:
    """Closes the run on a connection of its own; when even that fails the next run does it."""
    with anyio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
        try:
            async with warehouse.session() as session:
                await session.execute(_FAILED, run_id, error_code)
        except ResearchFlowError:
            return
