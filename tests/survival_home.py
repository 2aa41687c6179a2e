"""Where a World lives: made once with its stores and its first anchor, and copied for each run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from forked import command
from hospital import open_hospital
from researchflow_server.embedded import Services, embedded_services
from researchflow_server.settings import Settings, child_environment, read_settings
from survival import World, tagged_view

SECRET = "s3cret-of-a-test"
FIRST = ("s0", ("female", "1970-01-01"))
FIRST_KIND = "gender"
#: Seconds within which the scheduler makes an anchor.
OBJECTIVE_S = 1
#: Small, so that anchors expire within a run.
ANCHORS_KEPT = 4


async def furnish(directory: Path) -> None:
    """A hospital of one patient with its outbox, and the first anchor of every view."""
    async with embedded_services(directory, volatile=True) as services:
        connection = await asyncpg.connect(services.postgres_dsn)
        await connection.execute("CREATE DATABASE hapi")
        await connection.close()
        hospital = await open_hospital(services.postgres.dsn_of("hapi"))
        await hospital.put(*FIRST)
        await hospital.database.close()
        view = directory / "view.json"
        view.write_text(json.dumps(tagged_view(FIRST_KIND)))
        environment = child_environment(_settings(services, directory))
        process = command(environment, directory, "view", "register", str(view))
        assert await process.ended() == 0, process.said.read_text()


@asynccontextmanager
async def open_world(furnished: Path, directory: Path) -> AsyncIterator[World]:
    """A server at work in a copy of what was furnished."""
    copying = await asyncio.create_subprocess_exec("cp", "-a", f"{furnished}/.", str(directory))
    assert await copying.wait() == 0
    async with embedded_services(directory, volatile=True) as services:
        settings = _settings(services, directory)
        hospital = await open_hospital(services.postgres.dsn_of("hapi"))
        await hospital.put(*FIRST)
        world = World(services, settings, hospital, directory, kinds={FIRST_KIND})
        try:
            await world.serve()
            yield world
        finally:
            await world.end()


def _settings(services: Services, directory: Path) -> Settings:
    return read_settings(
        {},
        home=directory / "home",
        database_url=services.postgres_dsn,
        source_url=services.postgres.dsn_of("hapi"),
        redis_url=services.redis_url,
        http_port=0,
        metrics_port=0,
        webhook_secret=SECRET,
        refresh_objective_s=OBJECTIVE_S,
        retention_anchors=ANCHORS_KEPT,
        snapshot_s=0.5,
        pending_check_s=1,
        log_level="INFO",
    )
