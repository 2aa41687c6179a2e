"""The parts that tools and commands stand on, wired over the stores: runners and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from researchflow_runners.batch.pending import check_source
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.retention import Expiry, Retention, expire_anchors
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import StoreError
from researchflow_runners.feed.outbox import prune_unfollowed
from researchflow_runners.feed.tail import Tail
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.definitions import registered_views
from researchflow_runners.views import shipped_libraries, shipped_views
from researchflow_server.metrics.core import Metrics
from researchflow_server.metrics.families import Family, counter_families
from researchflow_server.metrics.snapshot import Snapshot, ViewState, take_snapshot
from researchflow_server.metrics.tally import RefreshTally
from researchflow_server.pictures import Renderer
from researchflow_server.runtime.keyfile import cursor_key
from researchflow_server.runtime.refreshes import Refreshes
from researchflow_server.runtime.stores import Stores
from researchflow_server.settings import Settings

logger = logging.getLogger(__name__)


class Runtime:
    """The parts, wired; `open_runtime` makes and closes one.

    `views` are those there were when the warehouse last told: the shipped and the registered ones.
    """

    def __init__(
        self, settings: Settings, stores: Stores, shipped: Mapping[str, CompiledView]
    ) -> None:
        self.settings = settings
        self.stores = stores
        self.views = shipped
        self.shipped = shipped
        compiled = tuple(shipped.values())
        self.source = HapiSource(stores.source, settings.source_options)
        self.projector = Projector(stores.warehouse, stores.redis, compiled)
        self.refresher = Refresher(
            stores.warehouse, self.source, compiled, libraries=shipped_libraries()
        )
        self.writer = ChangeWriter(
            database=stores.warehouse,
            redis=stores.redis,
            projector=self.projector,
            source=self.source,
            ttl_s=settings.provisional_ttl_h * 3600,
        )
        self.tail = Tail(
            stores.warehouse, self.source, compiled, scan_interval_s=settings.pending_check_s
        )
        self.refreshes = Refreshes(stores.warehouse, self.refresher)
        self.hybrid = HybridRunner(
            stores.warehouse,
            stores.redis,
            source=self.source,
            views=compiled,
            use_speed_layer=settings.use_speed_layer,
            cursor_key=cursor_key(settings.cursor_key_path),
        )
        self.renderer = Renderer()
        self.metrics = Metrics(self._counted)
        self._refresh_tally = RefreshTally()
        self._looking: asyncio.Task[Snapshot] | None = None
        self._next_look: asyncio.Task[Snapshot] | None = None

    async def fresh_snapshot(self) -> Snapshot:
        """A look at the stores that began after it was asked for; who waits for one shares it."""
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_after(self._looking))
        return await asyncio.shield(self._next_look)

    async def view_states(self) -> dict[str, ViewState]:
        """Freshness by view; StoreError when the warehouse cannot tell."""
        snapshot = await self.fresh_snapshot()
        if not snapshot.warehouse_up:
            raise StoreError(
                "postgresql does not answer",
                code="postgres_unavailable",
                hint="try again in a moment; the server recovers by itself",
            )
        return {state.view: state for state in snapshot.views}

    async def known_views(self) -> Mapping[str, CompiledView]:
        """The shipped and the registered views by name; StoreError, ViewDefinitionError."""
        async with self.stores.warehouse.session() as session:
            self.views = {**self.shipped, **(await registered_views(session)).compiled}
        return self.views

    async def unknown_objectives(self) -> tuple[str, ...]:
        """The names with a refresh objective that no view has; errors as of `known_views`."""
        return self.settings.objectives.unknown(await self.known_views())

    async def require_source(self) -> None:
        """Returns when the FHIR server's database answers; StoreError `source_unavailable`."""
        try:
            async with self.stores.source.session() as session:
                await session.fetchval("SELECT 1")
        except StoreError as error:
            if error.code != "postgres_unavailable":
                raise
            raise StoreError(
                "the FHIR server's database cannot be reached or is restarting",
                code="source_unavailable",
                hint="check the database of RESEARCHFLOW_SOURCE_URL, then try again",
            ) from error

    async def check_source(self) -> None:
        """Looks at the source for changes that the batch layer lacks."""
        types = sorted({view.resource for view in (await self.known_views()).values()})
        await check_source(self.stores.warehouse, self.source, types)

    async def expire_anchors(self) -> Expiry:
        """Gives up the anchors beyond the retention that nobody pinned."""
        keep_for = timedelta(days=self.settings.retention_days)
        retention = Retention(keep_for, self.settings.retention_anchors)
        return await expire_anchors(self.stores.warehouse, retention)

    async def prune_outbox(self) -> int:
        """Lets go of what was read of the source's outbox, where no tail does."""
        return await prune_unfollowed(self.stores.warehouse, self.stores.source)

    async def _look_after(self, running: asyncio.Task[Snapshot] | None) -> Snapshot:
        if running is not None:
            await asyncio.wait([running])
        # What happens from here on may be missed: whoever comes now needs another look.
        self._looking, self._next_look = self._next_look, None
        snapshot = await take_snapshot(
            self.stores.warehouse, self.stores.redis, self._refresh_tally
        )
        self.metrics.snapshot = snapshot
        return snapshot

    def _counted(self) -> list[Family]:
        return counter_families(
            self.hybrid.statistics,
            self.stores.redis.statistics,
            self.writer.outcomes,
            views=tuple(self.views),
        )

    async def close(self) -> None:
        """Ends what still runs."""
        await self.refreshes.close()
        await self.renderer.close()
        looks = [look for look in (self._looking, self._next_look) if look is not None]
        if looks:
            await asyncio.wait(looks)


def compiled_views() -> dict[str, CompiledView]:
    """The shipped views by name, in the order in which they are listed."""
    compiled = [compile_view(definition) for definition in shipped_views()]
    return {view.name: view for view in compiled}
