"""Both services together, shared by every process that uses the directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from researchflow_server.embedded.lease import Lease, changing
from researchflow_server.embedded.placement import prepared
from researchflow_server.embedded.postgres import PostgresServer
from researchflow_server.embedded.redis import RedisServer


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one data directory and the way to reach them."""

    directory: Path
    postgres: PostgresServer
    redis: RedisServer

    @property
    def postgres_dsn(self) -> str:
        """DSN of the embedded database."""
        return self.postgres.dsn

    @property
    def redis_url(self) -> str:
        """URL of the embedded Redis."""
        return self.redis.url

    async def start(self) -> None:
        """Both run and answer; what runs already is left alone."""
        await self.postgres.start()
        await self.redis.start()

    async def stop(self) -> None:
        """Both have ended."""
        await self.redis.stop()
        await self.postgres.stop()


def services_in(directory: Path, *, volatile: bool = False) -> Services:
    """Handles to the services of a directory, running or not.

    `volatile` gives up safety against a crash of the machine for speed: for tests.
    """
    home = prepared(directory)
    return Services(
        home,
        PostgresServer(home, volatile=volatile),
        RedisServer(home, volatile=volatile),
    )


def running(directory: Path) -> bool:
    """Whether both services of the directory run."""
    if not directory.exists():
        return False
    services = services_in(directory)
    return services.postgres.pid() is not None and services.redis.pid() is not None


@asynccontextmanager
async def embedded_services(
    directory: Path, *, volatile: bool = False, keep_running: bool = False
) -> AsyncIterator[Services]:
    """Both services, started unless another process has; stopped when the last user leaves.

    With `keep_running` they go on until `stop_services` or a later last user. A user that is
    killed counts as gone.
    """
    services = services_in(directory, volatile=volatile)
    async with changing(services.directory):
        await services.start()
        lease = Lease(services.directory)
    try:
        yield services
    finally:
        with anyio.CancelScope(shield=True):
            async with changing(services.directory):
                if lease.give_up() and not keep_running:
                    await services.stop()


async def stop_services(directory: Path) -> bool:
    """Stops the directory's services whoever uses them; whether any was running."""
    services = services_in(directory)
    async with changing(services.directory):
        found = services.postgres.pid() is not None or services.redis.pid() is not None
        await services.stop()
    return found
