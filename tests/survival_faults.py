"""What happens to a World: its processes die and hang, its stores are emptied and put back, and
the FHIR server's deliveries come as they like."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx2
from redis.asyncio import Redis

from forked import Forked, command, refresher
from hospital import State, resource_of
from prometheus_server import until
from researchflow_runners.batch.schedule import BACKOFF_MIN_S
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.speed.keys import entry_key
from researchflow_server.feeds.endpoint import FEED_PATH
from stopped import stopped
from survival import CALL_S, QUIET_S, SIMPLE, Refused, World
from survival_home import SECRET

START_S = 60
STOPPED_S = 0.3
#: What a refresh of its own process may end with: done, and another one is running.
REFRESHED = {0, 5}
SUPERSEDED = {"refresh_superseded", "refresh_running", "postgres_unavailable"}
RUNNING = "SELECT count(*) FROM researchflow.refresh_run WHERE outcome = 'running'"
FAILURES = """
SELECT count(*) FROM researchflow.refresh_run WHERE run_id > (
    SELECT max(run_id) FROM researchflow.refresh_run WHERE outcome IN ('published', 'unchanged'))
"""
CUT_REFRESHER = """
SELECT count(pg_terminate_backend(pid)) FROM pg_locks
WHERE locktype = 'advisory' AND objid = 1381189171 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
EXPIRE = """
UPDATE researchflow.overlay_entry SET valid_until = now()
WHERE res_type = 'Patient' AND id = $1 AND origin = 'provisional'
"""

# the FHIR server


async def put_late(world: World, name: str, state: State, other: str, tag: str) -> None:
    """A change commits after one of a later transaction, and after a refresh that saw only that."""
    async with world.hospital.late(name, state):
        if other != name:
            await world.hospital.add_tag(other, tag)
        await world.refresh()


async def deliver(world: World, name: str, picked: list[int], hours_late: int) -> None:
    """Webhooks of states that were: some lost, some twice, in any order, some a day late."""
    told = world.hospital.told.get(name, [(None, 0)])
    async with httpx2.AsyncClient(timeout=CALL_S) as http:
        await asyncio.gather(
            *(_deliver(world, http, name, told[one % len(told)], hours_late) for one in picked)
        )


async def deliver_while_it_changes(world: World, name: str, state: tuple[str, str]) -> None:
    """What is delivered is no longer, or not yet, what the FHIR server has."""
    newest = [len(world.hospital.told.get(name, [0])) - 1]
    await asyncio.gather(
        deliver(world, name, newest, 0),
        world.hospital.put(name, state),
        deliver(world, name, newest, 0),
    )


async def _deliver(
    world: World,
    http: httpx2.AsyncClient,
    name: str,
    told: tuple[State, int],
    hours_late: int,
) -> None:
    state, version = told
    headers = {"X-Secret": SECRET, "content-type": "application/fhir+json"}
    url = world.urls[0].removesuffix("/mcp") + FEED_PATH + f"/Patient/{name}"
    with suppress(httpx2.TransportError):
        if state is None:
            answer = await http.request("DELETE", url, headers=headers)
        else:
            at = datetime.now(UTC) - timedelta(hours=hours_late)
            meta = {"versionId": str(version), "lastUpdated": at.isoformat()}
            body = json.dumps({**resource_of(name, state), "meta": meta}).encode()
            headers["If-Match"] = f'W/"{version}"'
            answer = await http.request("PUT", url, content=body, headers=headers)
        assert answer.status_code in (200, 503), (answer.status_code, answer.text)


# time


async def expire(world: World, name: str) -> None:
    """The time of what an agent inserted is over, in both stores."""
    world.may_be(name, None)
    with suppress(ResearchFlowError, OSError, asyncpg.PostgresError):
        async with world.warehouse() as connection:
            await connection.execute(EXPIRE, name)
        client = Redis.from_url(world.services.redis_url)
        key = entry_key("Patient", name)
        if await client.hexists(key, "provisional.version"):
            await client.hset(key, "provisional.expires_at", "1")
        await client.aclose()


async def server_killed(world: World, counts_s: float) -> None:
    """What agents insert at the next server counts for so long."""
    assert world.process is not None
    await world.process.kill()
    world.settings = world.settings.model_copy(update={"provisional_ttl_h": counts_s / 3600})
    await world.serve()


async def anchor_pinned(world: World) -> None:
    """The newest anchor is kept under a name."""
    name = f"kept-{len(world.pins)}"
    if await _done(world, "anchor", "pin", name):
        world.pins.append(name)


async def anchors_expire(world: World) -> None:
    """Those beyond the number to keep; the hashes of the newest are those of its rows."""
    assert await _done(world, "anchor", "expire")
    assert await _done(world, "anchor", "verify")


async def _done(world: World, *words: str) -> bool:
    process = command(world.environment, world.home, *words)
    return await process.ended() == 0


async def scheduler_publishes(world: World, name: str, state: tuple[str, str]) -> None:
    """A change comes to be in an anchor without anybody asking, failures waited out."""
    async with world.warehouse() as connection:
        pause_s = BACKOFF_MIN_S * 2 ** await connection.fetchval(FAILURES)
    await world.hospital.put(name, state)

    async def is_anchored() -> bool:
        with suppress(Refused):
            return (name, *state) in (await world.ask(SIMPLE, freshness="anchored"))["rows"]
        return False

    assert await until(is_anchored, timeout_s=QUIET_S + pause_s), (name, state)


# refreshers


async def refreshers_together(world: World) -> None:
    await asyncio.gather(world.refresh(), world.refresh())


async def second_refresher(world: World, name: str, state: tuple[str, str]) -> None:
    """`researchflow refresh` beside the server, whose own is at work too; it expires anchors."""
    await world.hospital.put(name, state)
    process = command(world.environment, world.home, "refresh", "--json")
    await world.refresh()
    code = await process.ended()
    assert code in REFRESHED, (code, (world.home / "log").read_text()[-2_000:])


async def refresher_killed(world: World) -> None:
    """A refresh of a process of its own, killed once it runs."""
    process = command(world.environment, world.home, "refresh")

    async def is_at_work() -> bool:
        async with world.warehouse() as connection:
            return process.code is not None or await connection.fetchval(RUNNING) > 0

    try:
        await until(is_at_work, timeout_s=START_S)
    finally:
        await process.kill()


async def refresher_killed_at(world: World, phase: str, name: str, state: tuple[str, str]) -> None:
    """A refresh with something to do, killed at that step, unless another was before it."""
    await world.hospital.put(name, state)
    process = refresher(world.environment, world.home, phase, signal.SIGKILL)
    assert await process.ended() in (0, -signal.SIGKILL)


async def refresher_stopped_at(
    world: World, phase: str, name: str, state: tuple[str, str], is_cut: bool
) -> None:
    """A refresh hangs at that step while the source goes on; with its lock or without."""
    await world.hospital.put(name, state)
    process = refresher(world.environment, world.home, phase, signal.SIGSTOP)
    try:
        await _wait_until_still(process)
        await world.hospital.delete(name)
        if is_cut:
            async with world.warehouse() as connection:
                await connection.execute(CUT_REFRESHER)
        await world.refresh()
        await world.look()
        while process.code is None:
            process.signal(signal.SIGCONT)
            await _wait_until_still(process)
    finally:
        await process.kill()
    said = process.said.read_text().strip()
    assert said.startswith("anchor ") or said in SUPERSEDED, said


async def _wait_until_still(process: Forked) -> None:
    async def is_still() -> bool:
        return process.code is not None or process.is_stopped

    assert await until(is_still, timeout_s=START_S)


# processes and stores


async def postgres_killed(world: World) -> None:
    await world.services.postgres.kill()
    await world.look()
    await world.services.postgres.start()


async def redis_killed(world: World) -> None:
    await world.services.redis.kill()
    await world.look()
    await world.services.redis.start()


async def redis_flushed(world: World) -> None:
    client = Redis.from_url(world.services.redis_url)
    await client.flushall()
    await client.aclose()


async def redis_kept(world: World) -> None:
    """Today's file is put aside."""
    await asyncio.to_thread(_kept(world).mkdir, exist_ok=True)
    await asyncio.to_thread(_put_back, _redis_home(world), _kept(world))


async def redis_restored(world: World) -> None:
    """Redis comes back as it was when its file was put aside, or empty."""
    await world.services.redis.kill()
    await asyncio.to_thread(_put_back, _kept(world), _redis_home(world))
    await world.services.redis.start()


async def hangs(world: World, what: str, name: str, state: State) -> None:
    """A process hangs for a moment while an agent inserts."""
    pids = {
        "postgres": world.services.postgres.pid(),
        "redis": world.services.redis.pid(),
        "server": world.process.pid if world.process else None,
    }
    with stopped(pids[what]):
        inserting = asyncio.create_task(world.insert(name, state))
        await asyncio.wait([inserting], timeout=STOPPED_S)
    await inserting


def _redis_home(world: World) -> Path:
    return world.services.redis.directory / "redis"


def _kept(world: World) -> Path:
    return world.home / "redis-kept"


def _put_back(kept: Path, home: Path) -> None:
    """The append-only file of `home`, a folder since Redis 7, as it was kept."""
    for one in home.glob("appendonly*"):
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    for one in kept.glob("appendonly*"):
        again = shutil.copytree if one.is_dir() else shutil.copy
        again(one, home / one.name)
