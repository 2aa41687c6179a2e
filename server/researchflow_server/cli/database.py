"""PostgreSQL for commands that only compute: the deployment's, or an embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from researchflow_runners.store.database import Database
from researchflow_server.embedded import embedded_services
from researchflow_server.settings import Settings


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The deployment's PostgreSQL as it is: no schema is installed."""
    if settings.database_url is None:
        async with embedded_services(settings.embedded_path) as embedded:
            chosen = settings.model_copy(update={"database_url": embedded.postgres_dsn})
            async with open_database(chosen) as database:
                yield database
        return
    database = await Database.connect(settings.database_url, pool_size_max=1)
    try:
        yield database
    finally:
        await database.close()
