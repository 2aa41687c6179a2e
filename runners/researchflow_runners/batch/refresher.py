"""A refresh: the source's changes computed from one snapshot, published in one commit.

Computing takes as long as it takes and nobody sees it. Publishing is short and all or nothing:
rows, history, ledger, overlay, catalogue and anchor of every view change together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from researchflow_runners.batch.absorb import note_entries
from researchflow_runners.batch.catalogue import (
    UNCHANGED,
    CatalogueChange,
    catalogue_views,
)
from researchflow_runners.batch.compute import Computed, compute, index_codes
from researchflow_runners.batch.contents import hash_unhashed
from researchflow_runners.batch.counts import TypeCount, store_counts
from researchflow_runners.batch.plan import Plan, make_plan
from researchflow_runners.batch.publish import publish
from researchflow_runners.batch.repeatable import require_repeatable
from researchflow_runners.batch.result import ProgressCallback, RefreshResult
from researchflow_runners.batch.run import (
    begin_run,
    close_run,
    heartbeat,
    holding_refreshes,
    waiting_for_refreshes,
)
from researchflow_runners.batch.staging import SESSION_SETTINGS, Origin, Staging, open_staging
from researchflow_runners.batch.steps import Steps
from researchflow_runners.batch.tables import drop_orphans
from researchflow_runners.codes.index import index_unindexed
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import RefreshError, ResearchFlowError, ViewDefinitionError
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.store.database import CLEANUP_TIMEOUT_S, Database, Session

logger = logging.getLogger(__name__)

TIMEOUT_S = 6 * 3600.0
#: New views are built on so many at once: more would take from those who ask.
CONNECTIONS = 2
#: Plans that were made for a ledger of another size would do until autovacuum comes.
_HAS_GROWN = """
SELECT $1::bigint > 1000 AND $1::bigint > reltuples / 10 FROM pg_class
WHERE oid = 'researchflow.ledger'::regclass
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one refresh is to do beside absorbing changes."""

    change: CatalogueChange
    retry_all: bool


class Refresher:
    """Keeps the given views and the registered ones, and no others, up to date with the source."""

    def __init__(
        self,
        warehouse: Database,
        source: HapiSource,
        views: Sequence[CompiledView],
        *,
        libraries: Sequence[Mapping[str, Any]] = (),
        timeout_s: float = TIMEOUT_S,
        connections: int = CONNECTIONS,
    ) -> None:
        """The source may be in the warehouse (its `database` is then the same object) or apart.
        `libraries` are the SQLViews over these views that are kept beside them.

        A published view that is neither among `views` nor registered is retired.
        ViewDefinitionError `duplicate_view`, `view_not_repeatable`.
        """
        _refuse_duplicates(views)
        for view in views:
            require_repeatable(view)
        self._warehouse = warehouse
        self._source = source
        self._views = tuple(views)
        self._libraries = tuple(libraries)
        self._timeout_s = timeout_s
        self._connections = connections

    async def refresh(
        self,
        progress: ProgressCallback | None = None,
        *,
        change: CatalogueChange = UNCHANGED,
        retry_all: bool = True,
    ) -> RefreshResult:
        """Publishes one new anchor, with the views as `change` makes them, or raises.

        No anchor where nothing has changed. A view that cannot be computed is set aside and the
        others go on; one set aside before is tried again, without `retry_all` only when it is
        time. When it raises nothing has changed, the set of views
        neither.

        RefreshError `refresh_running` (another one is at work), `refresh_cancelled`,
        `refresh_superseded`, `view_fails`, `coverage_mismatch`; StoreError when a database is
        lost. All may be tried again.
        """
        await self._warehouse.install_schema()
        run_id = None
        try:
            async with (
                self._warehouse.dedicated(statement_timeout_s=self._timeout_s) as session,
                holding_refreshes(session),
            ):
                run_id = await begin_run(session)
                async with heartbeat(self._warehouse, run_id):
                    wanted = _Wanted(change, retry_all)
                    return await self._perform(session, run_id, Steps(progress), wanted)
        except BaseException as error:
            if run_id is not None and (told := await self._undo(run_id, error)) is not None:
                raise told from error
            raise

    async def _perform(
        self, session: Session, run_id: int, steps: Steps, asked: _Wanted
    ) -> RefreshResult:
        started = time.monotonic()
        await drop_orphans(session)
        await session.execute(SESSION_SETTINGS)
        wanted = await catalogue_views(session, self._views, asked.change)
        plan = await make_plan(
            session,
            wanted,
            self._source.options,
            libraries=self._libraries,
            retry_all=asked.retry_all,
        )
        await hash_unhashed(session, plan)
        await index_unindexed(session)
        await note_entries(session)
        origin = Origin(self._source, plan.meta_types)
        opened = open_staging(session, self._warehouse, origin, timeout_s=self._timeout_s)
        async with opened as staging:
            computed = await compute(
                session, staging, plan=plan, steps=steps, connections=self._connections
            )
        await index_codes(computed, session, plan)
        with steps.phase("publish"):
            done = await publish(
                session,
                self._warehouse,
                plan=plan,
                computed=computed,
                staging=staging,
                run_id=run_id,
            )
            counts, counts_error = await _counted(session, plan, computed, staging, run_id)
        await steps.done("publish")
        return RefreshResult(
            run_id=run_id,
            published=done.published,
            anchor=done.anchor,
            data_as_of=done.data_as_of,
            checked_at=staging.data_as_of,
            changed=computed.diff.total,
            views=done.views,
            retired=plan.retired,
            set_aside=(*computed.failures.values(), *plan.outdated),
            overlay_dropped=done.overlay_dropped,
            counts=counts,
            counts_error=counts_error,
            duration_s=time.monotonic() - started,
            phases_s=steps.seconds,
        )

    async def _undo(self, run_id: int, error: BaseException) -> RefreshError | None:
        """Closes the run and leaves nothing behind; gives the error to tell instead, if any."""
        code = error.code if isinstance(error, ResearchFlowError) else "interrupted"
        is_cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        told = await close_run(
            self._warehouse, run_id, "cancelled" if is_cancelled else "failed", code
        )
        await _clean_up(self._warehouse)
        return None if is_cancelled else told


async def _counted(
    session: Session, plan: Plan, computed: Computed, staging: Staging, run_id: int
) -> tuple[tuple[TypeCount, ...], str | None]:
    """Source and ledger compared, and the ledger's statistics; gives why, where it cannot be.

    What has been published stays so: the run tells that the comparison is missing.
    """
    try:
        if plan.new_types or await session.fetchval(_HAS_GROWN, computed.diff.total):
            await session.execute("ANALYZE researchflow.ledger")
        if computed.counts is None:
            return (), None
        found = computed.counts
        at = staging.data_as_of
        return await store_counts(session, plan, found, counted_at=at, run_id=run_id), None
    except ResearchFlowError as error:
        logger.warning("source and ledger were not compared: %s", error.code)
        return (), error.code


async def _clean_up(warehouse: Database) -> None:
    """Drops what was built and not published; what stays, the next refresh drops."""
    with anyio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
        try:
            async with (
                warehouse.dedicated(statement_timeout_s=CLEANUP_TIMEOUT_S) as session,
                waiting_for_refreshes(session) as is_held,
            ):
                if is_held:
                    await drop_orphans(session)
        except ResearchFlowError:
            return


def _refuse_duplicates(views: Sequence[CompiledView]) -> None:
    names = [view.name for view in views]
    for name in names:
        if names.count(name) > 1:
            raise ViewDefinitionError(
                f'two views are named "{name}"',
                code="duplicate_view",
                hint="give each ViewDefinition a name of its own",
                field="name",
            )
