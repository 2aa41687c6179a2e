"""A refresh: the source's changes computed from one snapshot, published in one commit.

Computing takes as long as it takes and nobody sees it. Publishing is short and all or nothing:
rows, history, ledger, overlay, catalogue and anchor of every view change together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio

from researchflow_runners.batch.absorb import note_entries
from researchflow_runners.batch.catalogue import (
    UNCHANGED,
    CatalogueChange,
    catalogue_views,
)
from researchflow_runners.batch.compute import compute
from researchflow_runners.batch.contents import hash_unhashed
from researchflow_runners.batch.counts import TypeCount, store_counts
from researchflow_runners.batch.plan import make_plan
from researchflow_runners.batch.publish import publish
from researchflow_runners.batch.repeatable import require_repeatable
from researchflow_runners.batch.result import ProgressCallback, RefreshResult
from researchflow_runners.batch.run import begin_run, mark_failed
from researchflow_runners.batch.staging import Origin, open_staging
from researchflow_runners.batch.steps import Steps
from researchflow_runners.batch.tables import drop_orphans
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ResearchFlowError, ViewDefinitionError
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.store.database import CLEANUP_TIMEOUT_S, Database, Session

TIMEOUT_S = 6 * 3600.0
#: Memory of the refresher's one session; statistics are a first sample, autovacuum deepens them.
_SETTINGS = """
SET work_mem = '64MB'; SET maintenance_work_mem = '256MB'; SET temp_buffers = '64MB';
SET default_statistics_target = 10
"""


class Refresher:
    """Keeps the given views and the registered ones, and no others, up to date with the source."""

    def __init__(
        self,
        warehouse: Database,
        source: HapiSource,
        views: Sequence[CompiledView],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """The source may be in the warehouse (its `database` is then the same object) or apart.

        A published view that is neither among `views` nor registered is retired.
        ViewDefinitionError `duplicate_view`, `view_not_repeatable`.
        """
        _refuse_duplicates(views)
        for view in views:
            require_repeatable(view)
        self._warehouse = warehouse
        self._source = source
        self._views = tuple(views)
        self._timeout_s = timeout_s

    async def refresh(
        self,
        progress: ProgressCallback | None = None,
        *,
        change: CatalogueChange = UNCHANGED,
    ) -> RefreshResult:
        """Publishes one new anchor, with the views as `change` makes them, or raises.

        When it raises nothing has changed, the set of views neither.

        RefreshError `refresh_running` (another one is at work), `view_fails`,
        `coverage_mismatch`; StoreError when a database is lost. All may be tried again.
        """
        await self._warehouse.install_schema()
        async with self._warehouse.dedicated(statement_timeout_s=self._timeout_s) as session:
            run_id = await begin_run(session)
            try:
                return await self._perform(session, run_id, Steps(progress), change)
            except BaseException as error:
                code = error.code if isinstance(error, ResearchFlowError) else "interrupted"
                await _clean_up(session)
                await mark_failed(self._warehouse, run_id, code)
                raise

    async def _perform(
        self, session: Session, run_id: int, steps: Steps, change: CatalogueChange
    ) -> RefreshResult:
        started = time.monotonic()
        await drop_orphans(session)
        await session.execute(_SETTINGS)
        wanted = await catalogue_views(session, self._views, change)
        plan = await make_plan(session, wanted, self._source.options)
        await hash_unhashed(session, plan)
        await note_entries(session)
        origin = Origin(self._source, plan.meta_types)
        opened = open_staging(session, self._warehouse, origin, timeout_s=self._timeout_s)
        async with opened as staging:
            computed = await compute(session, staging, plan, steps)
        with steps.phase("publish"):
            views, dropped = await publish(session, plan, computed, staging, run_id)
            if plan.new_types:
                await session.execute("ANALYZE researchflow.ledger")
            counts: tuple[TypeCount, ...] = ()
            if computed.counts is not None:
                counts = await store_counts(
                    session, plan.types, computed.counts, staging.data_as_of
                )
        await steps.done("publish")
        return RefreshResult(
            run_id=run_id,
            anchor=plan.anchor,
            data_as_of=staging.data_as_of,
            changed=computed.diff.total,
            views=views,
            retired=plan.retired,
            overlay_dropped=dropped,
            counts=counts,
            duration_s=time.monotonic() - started,
            phases_s=steps.seconds,
        )


async def _clean_up(session: Session) -> None:
    """Drops what was built and not published; what stays, the next refresh drops."""
    with anyio.move_on_after(CLEANUP_TIMEOUT_S, shield=True):
        try:
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
