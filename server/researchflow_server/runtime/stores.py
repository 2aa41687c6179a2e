"""The connections: the warehouse, the FHIR server's database and Redis, opened and checked.

Redis may be away at the start and later: answers go on, marked, and changes are refused until it
is back.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from researchflow_runners.errors import StoreError
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.redis_connection import RedisConnection
from researchflow_runners.store.database import Database
from researchflow_server.embedded import embedded_services
from researchflow_server.settings import Settings

logger = logging.getLogger(__name__)

#: The server's own deadline for one statement lies below the shortest of its callers'.
STATEMENT_TIMEOUT_S = 45.0


@dataclass(frozen=True, slots=True)
class Stores:
    """The connections."""

    warehouse: Database
    source: Database
    redis: RedisClient


def uses_embedded(settings: Settings) -> bool:
    """Whether PostgreSQL or Redis is one that we start ourselves."""
    return settings.database_url is None or settings.redis_url is None


async def open_stores(settings: Settings, stack: AsyncExitStack) -> Stores:
    """Opens them on the stack, the embedded services started when no URL is given; StoreError."""
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


async def _urls(settings: Settings, stack: AsyncExitStack) -> tuple[str, str]:
    """PostgreSQL's and Redis', after starting the embedded ones that stand in for either."""
    if settings.database_url is not None and settings.redis_url is not None:
        return settings.database_url, settings.redis_url
    embedded = await stack.enter_async_context(embedded_services(settings.embedded_path))
    return (
        settings.database_url or embedded.postgres_dsn,
        settings.redis_url or embedded.redis_url,
    )


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
        role="source",
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
