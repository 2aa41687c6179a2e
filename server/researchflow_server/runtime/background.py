"""What goes on beside the calls: projector, tail, looks at the source, refreshes, retention."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from researchflow_runners.composed.upkeep import drop_expired
from researchflow_runners.errors import ResearchFlowError
from researchflow_server.embedded import embedded_services, running
from researchflow_server.fault import place_of
from researchflow_server.runtime.runtime import Runtime
from researchflow_server.runtime.scheduler import TICK_S, Scheduler
from researchflow_server.runtime.stores import uses_embedded

logger = logging.getLogger(__name__)

EXPIRE_INTERVAL_S = 3600.0
REVIVE_INTERVAL_S = 2.0
RESTART_S = 1.0
PRUNE_INTERVAL_S = 60.0
#: What is under way may end by itself for so long; an orchestrator kills soon after.
STOP_TIMEOUT_S = 5.0


@asynccontextmanager
async def background_work(runtime: Runtime) -> AsyncIterator[None]:
    """Goes on until the block is left."""
    stop = asyncio.Event()
    settings = runtime.settings
    repeated: list[tuple[Callable[[], Awaitable[object]], float | Callable[[], float]]] = [
        (partial(runtime.projector.run, stop), RESTART_S),
        (runtime.fresh_snapshot, settings.snapshot_s),
        (partial(_look, runtime, set()), lambda: settings.look_s(runtime.views)),
        (runtime.writer.settle, settings.pending_check_s),
        (runtime.expire_anchors, EXPIRE_INTERVAL_S),
        (partial(_drop_expired, runtime), PRUNE_INTERVAL_S),
    ]
    if settings.objectives.is_on:
        repeated.append((Scheduler(runtime).step, TICK_S))
    if uses_embedded(settings):
        repeated.append((partial(_revive, settings.embedded_path), REVIVE_INTERVAL_S))
    if settings.use_speed_layer:
        repeated.append((partial(runtime.tail.run, stop), RESTART_S))
    else:
        repeated.append((runtime.prune_outbox, PRUNE_INTERVAL_S))
    work = [asyncio.create_task(_repeat(step, every_s, stop)) for step, every_s in repeated]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait(work, timeout=STOP_TIMEOUT_S)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _drop_expired(runtime: Runtime) -> None:
    """Frees what views left that are no longer there."""
    async with runtime.stores.warehouse.transaction() as session:
        await drop_expired(session)


async def _repeat(
    step: Callable[[], Awaitable[object]],
    interval_s: float | Callable[[], float],
    stop: asyncio.Event,
) -> None:
    """Takes the step now and then, until `stop`; an outage is said once and waited out.

    An interval that may change is asked for before each pause. A fault of the program is said each
    time, by its place, and ends nothing else.
    """
    failing: str | None = None
    while not stop.is_set():
        try:
            await step()
            failing = None
        except ResearchFlowError as error:
            if error.code != failing:
                logger.warning("background work waits: %s", error.code)
            failing = error.code
        except Exception as error:  # noqa: BLE001  the outermost edge
            logger.error("background work failed: %s", place_of(error))
        try:
            pause_s = interval_s() if callable(interval_s) else interval_s
            await asyncio.wait_for(stop.wait(), pause_s)
        except TimeoutError:
            continue


async def _look(runtime: Runtime, told: set[str]) -> None:
    """Looks at the source; an objective of a view that is not there is said once, in `told`."""
    unknown = set(await runtime.unknown_objectives())
    for name in sorted(unknown - told):
        logger.warning('RESEARCHFLOW_REFRESH_OBJECTIVES: there is no view "%s"', name)
    told |= unknown
    await runtime.check_source()


async def _revive(directory: Path) -> None:
    """Starts the embedded services again when one of them was killed."""
    if not running(directory):
        async with embedded_services(directory):
            logger.warning("the embedded services were started again")
