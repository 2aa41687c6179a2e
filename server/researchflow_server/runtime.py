"""Everything the tools and commands stand on, opened once: stores, runners, metrics.

A server also runs the background work: the projector, the look at the source for pending changes
and the metric snapshots. Redis may be away at the start and later: answers go on, marked, and
changes are refused until it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from researchflow_runners.batch.anchors import expire_anchors
from researchflow_runners.batch.pending import check_source
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import ResearchFlowError, StoreError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.redis_connection import RedisConnection
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.database import Database
from researchflow_runners.store.definitions import registered_views
from researchflow_runners.views import shipped_views
from researchflow_server.embedded import embedded_services, running
from researchflow_server.keyfile import cursor_key
from researchflow_server.metrics.core import Metrics
from researchflow_server.metrics.families import Family, counter_families
from researchflow_server.metrics.snapshot import Snapshot, ViewState, take_snapshot
from researchflow_server.metrics.tally import RefreshTally
from researchflow_server.refreshes import Refreshes
from researchflow_server.settings import Settings

logger = logging.getLogger(__name__)

#: The server's own deadline for one statement lies below the shortest of its callers'.
STATEMENT_TIMEOUT_S = 45.0
EXPIRE_INTERVAL_S = 3600.0
REVIVE_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Stores:
    """The connections."""

    warehouse: Database
    source: Database
    redis: RedisClient


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
        self.source = HapiSource(stores.source)
        self.projector = Projector(stores.warehouse, stores.redis, compiled)
        self.refresher = Refresher(stores.warehouse, self.source, compiled)
        self.writer = ChangeWriter(
            database=stores.warehouse,
            redis=stores.redis,
            projector=self.projector,
            source=self.source,
            ttl_s=settings.provisional_ttl_h * 3600,
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
            self.views = {**self.shipped, **await registered_views(session)}
        return self.views

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

    async def expire_anchors(self) -> None:
        """Gives up the history of anchors older than the retention."""
        keep_for = timedelta(days=self.settings.retention_days)
        await expire_anchors(self.stores.warehouse, keep_for=keep_for)

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
        looks = [look for look in (self._looking, self._next_look) if look is not None]
        if looks:
            await asyncio.wait(looks)


def compiled_views() -> dict[str, CompiledView]:
    """The shipped views by name, in the order in which they are listed."""
    compiled = [compile_view(definition) for definition in shipped_views()]
    return {view.name: view for view in compiled}


@asynccontextmanager
async def open_runtime(settings: Settings, *, background: bool) -> AsyncIterator[Runtime]:
    """The runtime of these settings, its embedded services started when no URL is given.

    StoreError when PostgreSQL cannot be reached, or when Redis answers and is unfit.
    """
    async with AsyncExitStack() as stack:
        stores = await _open_stores(settings, stack)
        runtime = Runtime(settings, stores, compiled_views())
        stack.push_async_callback(runtime.close)
        if background:
            await stack.enter_async_context(_background(runtime))
        yield runtime


def uses_embedded(settings: Settings) -> bool:
    """Whether PostgreSQL or Redis is one that we start ourselves."""
    return settings.database_url is None or settings.redis_url is None


async def _revive(directory: Path) -> None:
    """Starts the embedded services again when one of them was killed."""
    if not running(directory):
        async with embedded_services(directory):
            logger.warning("the embedded services were started again")


async def _urls(settings: Settings, stack: AsyncExitStack) -> tuple[str, str]:
    """PostgreSQL's and Redis', after starting the embedded ones that stand in for either."""
    if settings.database_url is not None and settings.redis_url is not None:
        return settings.database_url, settings.redis_url
    embedded = await stack.enter_async_context(embedded_services(settings.embedded_path))
    return (
        settings.database_url or embedded.postgres_dsn,
        settings.redis_url or embedded.redis_url,
    )


async def _open_stores(settings: Settings, stack: AsyncExitStack) -> Stores:
    database_url, redis_url = await _urls(settings, stack)
    warehouse = await _database(database_url, settings, stack)
    await warehouse.install_schema()
    if settings.database_url is None and settings.source_url is None:
        await create_hapi_tables(warehouse)
    source = warehouse
    if settings.source_url not in (None, database_url):
        assert settings.source_url is not None
        source = await _source(settings.source_url, settings, stack)
    redis = RedisClient(RedisConnection.open(redis_url))
    stack.push_async_callback(redis.close)
    await _check_redis(redis)
    return Stores(warehouse, source, redis)


async def _database(url: str, settings: Settings, stack: AsyncExitStack) -> Database:
    database = await Database.connect(
        url, pool_size_max=settings.pool_max, statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    stack.push_async_callback(database.close)
    return database


async def _source(url: str, settings: Settings, stack: AsyncExitStack) -> Database:
    """The FHIR server's database, which may be away: materialised views answer without it."""
    source = await Database.connect(
        url,
        pool_size_max=settings.pool_max,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
        must_answer=False,
    )
    stack.push_async_callback(source.close)
    return source


async def _check_redis(redis: RedisClient) -> None:
    try:
        await redis.connection.check_server()
    except StoreError as error:
        if error.code != "redis_unavailable":
            raise
        logger.warning("starting without redis: changes are refused until it answers")


@asynccontextmanager
async def _background(runtime: Runtime) -> AsyncIterator[None]:
    """The work that goes on beside the calls."""
    stop = asyncio.Event()
    settings = runtime.settings
    repeated = [
        (runtime.fresh_snapshot, settings.snapshot_s),
        (runtime.check_source, settings.pending_check_s),
        (runtime.expire_anchors, EXPIRE_INTERVAL_S),
    ]
    if uses_embedded(settings):
        repeated.append((partial(_revive, settings.embedded_path), REVIVE_INTERVAL_S))
    work = [asyncio.create_task(runtime.projector.run(stop))]
    work += [asyncio.create_task(_repeat(step, every_s, stop)) for step, every_s in repeated]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait(work, timeout=STATEMENT_TIMEOUT_S)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _repeat(
    step: Callable[[], Awaitable[object]], interval_s: float, stop: asyncio.Event
) -> None:
    """Takes the step now and then, until `stop`; an outage is said once and waited out."""
    failing: str | None = None
    while not stop.is_set():
        try:
            await step()
            failing = None
        except ResearchFlowError as error:
            if error.code != failing:
                logger.warning("background work waits: %s", error.code)
            failing = error.code
        try:
            await asyncio.wait_for(stop.wait(), interval_s)
        except TimeoutError:
            continue
