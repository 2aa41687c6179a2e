"""A runtime, opened: the stores, the runners over them and, for a server, the background work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from researchflow_server.runtime.background import background_work
from researchflow_server.runtime.runtime import Runtime, compiled_views
from researchflow_server.runtime.stores import open_stores
from researchflow_server.settings import Settings


@asynccontextmanager
async def open_runtime(settings: Settings, *, background: bool) -> AsyncIterator[Runtime]:
    """The runtime of these settings, its embedded services started when no URL is given.

    StoreError when PostgreSQL cannot be reached, or when Redis answers and is unfit.
    """
    async with AsyncExitStack() as stack:
        stores = await open_stores(settings, stack)
        runtime = Runtime(settings, stores, compiled_views())
        stack.push_async_callback(runtime.close)
        if background:
            await stack.enter_async_context(background_work(runtime))
        yield runtime
