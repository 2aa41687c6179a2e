"""The whole product as processes, over stores that are killed and stopped, beside the plain truth.

What the FHIR server was told is kept in a dictionary; what an agent inserted too, as the set of
states that may be: a call that failed may have been heard or not.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from mcp import Client
from redis.asyncio import Redis

from prometheus_server import until
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.source.load import delete_resource, expunge, put_resource
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.speed.keys import entry_key
from researchflow_runners.store.database import Database
from researchflow_server.embedded import Services, embedded_services
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.settings import Settings, child_environment, read_settings
from stopped import stopped

SECRET = "s3cret-of-a-test"
#: In every name, and in no log and no metric.
PLANTED = "Unterhuberin"
START_S = 60
QUIET_S = 40
CALL_S = 60
#: Seconds within which the scheduler makes an anchor.
OBJECTIVE_S = 3
STOPPED_S = 0.3
COLUMNS = ["id", "gender", "birth_date"]
RUNNING = "SELECT count(*) FROM researchflow.refresh_run WHERE outcome = 'running'"
EXPIRE = """
UPDATE researchflow.overlay_entry SET valid_until = now()
WHERE res_type = 'Patient' AND id = $1 AND origin = 'provisional'
"""

State = tuple[str, str] | None


class Refused(Exception):
    """A call that failed, with its code."""


def resource_of(name: str, state: tuple[str, str]) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": name,
        "gender": state[0],
        "birthDate": state[1],
        "name": [{"family": PLANTED, "given": [name]}],
    }


@dataclass
class World:
    """`truth` is the newest state of each patient of the FHIR server; None is deleted."""

    services: Services
    settings: Settings
    source: Database
    home: Path
    truth: dict[str, State] = field(default_factory=dict)
    told: dict[str, list[State]] = field(default_factory=dict)
    agents: dict[str, set[State]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    urls: tuple[str, str] = ("", "")

    # the FHIR server

    async def put(self, name: str, state: tuple[str, str]) -> None:
        await put_resource(self.source, resource_of(name, state))
        self._is(name, state)

    async def delete(self, name: str) -> None:
        await delete_resource(self.source, "Patient", name)
        self._is(name, None)

    async def expunge(self, name: str) -> None:
        await expunge(self.source, "Patient", name)
        self._is(name, None)

    async def put_late(self, name: str, state: tuple[str, str], other: str) -> None:
        """A transaction that began before another change and commits after it."""
        connection = await asyncpg.connect(self.source_dsn)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_current_xact_id()")
                await self.put(other, state)
                await self.put(name, state)
        finally:
            await connection.close()

    @property
    def source_dsn(self) -> str:
        assert self.settings.source_url is not None
        return self.settings.source_url

    def _is(self, name: str, state: State) -> None:
        self.truth[name] = state
        self.told.setdefault(name, []).append(state)

    async def deliver(self, name: str, state: State, times: int) -> None:
        """A webhook of any state that ever was, in any order, once or more; it may get lost."""
        if state not in self.told.get(name, [None]):
            return
        headers = {"X-Secret": SECRET, "content-type": "application/fhir+json"}
        url = self.urls[0].removesuffix("/mcp") + FEED_PATH + f"/Patient/{name}"
        async with httpx2.AsyncClient(timeout=CALL_S) as http:
            for _time in range(times):
                with suppress(httpx2.TransportError):
                    if state is None:
                        await http.request("DELETE", url, headers=headers)
                    else:
                        body = json.dumps(resource_of(name, state)).encode()
                        await http.request("PUT", url, content=body, headers=headers)

    # the tools

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CALL_S), Client(self.urls[0]) as client:
                result = await client.call_tool(tool, arguments)
        except* (OSError, httpx2.TransportError) as gone:
            raise Refused("server_gone") from gone
        content: dict[str, Any] = result.structured_content or {}
        if result.is_error:
            assert content["error"]["code"] != "internal_error", (tool, content, self.log[-9:])
            raise Refused(content["error"]["code"])
        return content

    async def insert(self, name: str, state: State) -> None:
        before = self.agents.get(name, {None})
        self.agents[name] = before | {state}
        with suppress(Refused):
            if state is None:
                await self.call("cache_resources", delete=[f"Patient/{name}"])
            else:
                await self.call("cache_resources", resources=[resource_of(name, state)])
            self.agents[name] = {state}

    async def refresh(self) -> None:
        with suppress(Refused):
            await self.call("refresh_views")

    async def look(self) -> None:
        """No answer invents a state, and each has one anchor and its date."""
        with suppress(Refused):
            answer = await self.call("query_view", view="patient_simple", columns=COLUMNS)
            assert answer["data_as_of"], answer
            for name, *state in answer["rows"]:
                known = self.told.get(name, []) + list(self.agents.get(name, ()))
                assert tuple(state) in known, (name, state, known)

    async def expire(self, name: str) -> None:
        """The time of what an agent inserted is over, in both stores."""
        with suppress(ResearchFlowError, OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(self.services.postgres_dsn)
            try:
                await connection.execute(EXPIRE, name)
            finally:
                await connection.close()
            client = Redis.from_url(self.services.redis_url)
            key = entry_key("Patient", name)
            if await client.hexists(key, "provisional.version"):
                await client.hset(key, "provisional.expires_at", "1")
            await client.aclose()
        self.agents[name] = self.agents.get(name, {None}) | {None}

    # faults

    async def refresher_killed(self) -> None:
        """A refresh of a process of its own, killed once it runs."""
        process = await self._command("refresh")

        async def is_at_work() -> bool:
            async with self.warehouse() as connection:
                return process.returncode is not None or await connection.fetchval(RUNNING) > 0

        try:
            await until(is_at_work, timeout_s=START_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def refreshers_together(self) -> None:
        await asyncio.gather(self.refresh(), self.refresh())

    async def server_killed(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        await self.serve()

    async def postgres_killed(self) -> None:
        await self.services.postgres.kill()
        await self.look()
        await self.services.postgres.start()

    async def redis_killed(self) -> None:
        await self.services.redis.kill()
        await self.look()
        await self.services.redis.start()

    async def redis_flushed(self) -> None:
        client = Redis.from_url(self.services.redis_url)
        await client.flushall()
        await client.aclose()

    async def redis_kept(self) -> None:
        """Today's file is put aside."""
        await asyncio.to_thread(self._kept.mkdir, exist_ok=True)
        await asyncio.to_thread(_put_back, self._redis_home, self._kept)

    async def redis_restored(self) -> None:
        """Redis comes back as it was when its file was put aside, or empty."""
        await self.services.redis.kill()
        await asyncio.to_thread(_put_back, self._kept, self._redis_home)
        await self.services.redis.start()

    @property
    def _redis_home(self) -> Path:
        return self.services.redis.directory / "redis"

    @property
    def _kept(self) -> Path:
        return self.home / "redis-kept"

    async def stopped(self, what: str, name: str, state: State) -> None:
        """A process hangs for a moment while an agent inserts."""
        pids = {
            "postgres": self.services.postgres.pid(),
            "redis": self.services.redis.pid(),
            "server": self.process.pid if self.process else None,
        }
        with stopped(pids[what]):
            inserting = asyncio.create_task(self.insert(name, state))
            await asyncio.wait([inserting], timeout=STOPPED_S)
        await inserting

    # the end

    async def settle(self) -> None:
        """Everything runs again and nothing more happens: live equals the truth, and so does the
        anchor that a refresh makes of it."""
        await self.services.postgres.start()
        await self.services.redis.start()
        seen: list[Any] = []

        async def is_true() -> bool:
            with suppress(Refused):
                seen[:] = [await self.rows()]
                return self._is_true(seen[0])
            return False

        assert await until(is_true, timeout_s=QUIET_S), (seen, self.truth, self.agents)

        async def is_refreshed() -> bool:
            with suppress(Refused):
                return (await self.call("refresh_views"))["status"] != "failed"
            return False

        assert await until(is_refreshed, timeout_s=QUIET_S)
        assert self._is_true(await self.rows())
        kept = await self.rows(freshness="anchored")
        assert kept == {name: state for name, state in self.truth.items() if state}
        await self._check_silence()

    async def rows(self, **asked: Any) -> dict[str, State]:
        answer = await self.call("query_view", view="patient_simple", columns=COLUMNS, **asked)
        return {name: (gender, born) for name, gender, born in answer["rows"]}

    def _is_true(self, rows: dict[str, State]) -> bool:
        """Whether the FHIR server's patients are as they are, and each of an agent as it may be."""
        of_agents = all(rows.get(name) in states for name, states in self.agents.items())
        rest = {name: state for name, state in rows.items() if name not in self.agents}
        return of_agents and rest == {name: state for name, state in self.truth.items() if state}

    async def _check_silence(self) -> None:
        """No patient's name is in a log or a metric."""
        metrics = await asyncio.to_thread(_read, self.urls[1])
        said = (self.home / "log").read_text()
        assert PLANTED not in metrics
        assert PLANTED not in said
        assert "never retrieved" not in said
        assert "Traceback" not in said, said[-3_000:]

    # processes

    async def serve(self) -> None:
        self.process = await self._command("serve", "--http")
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            tools = (await self.process.stdout.readline()).decode().split()[-1]
            await self.process.stdout.readline()
            metrics = (await self.process.stdout.readline()).decode().split()[-1]
        self.urls = (tools, metrics)

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.source.close()

    @asynccontextmanager
    async def warehouse(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.services.postgres_dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def _command(self, *words: str) -> asyncio.subprocess.Process:
        with (self.home / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "researchflow_server", *words),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**child_environment(self.settings), "PYTHONUNBUFFERED": "1"},
            )


def _put_back(kept: Path, home: Path) -> None:
    """The append-only file of `home`, a folder since Redis 7, as it was kept."""
    for one in home.glob("appendonly*"):
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    for one in kept.glob("appendonly*"):
        again = shutil.copytree if one.is_dir() else shutil.copy
        again(one, home / one.name)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=CALL_S) as answer:
        text: str = answer.read().decode()
        return text


@asynccontextmanager
async def open_world(directory: Path) -> AsyncIterator[World]:
    """A hospital of one patient, its outbox, and a server at work."""
    async with embedded_services(directory, volatile=True) as services:
        connection = await asyncpg.connect(services.postgres_dsn)
        await connection.execute("CREATE DATABASE hapi")
        await connection.close()
        source = await Database.connect(services.postgres.dsn_of("hapi"))
        await create_hapi_tables(source)
        await install_outbox(source)
        settings = read_settings(
            {},
            home=directory / "home",
            database_url=services.postgres_dsn,
            source_url=services.postgres.dsn_of("hapi"),
            redis_url=services.redis_url,
            http_port=0,
            metrics_port=0,
            webhook_secret=SECRET,
            refresh_objective_s=OBJECTIVE_S,
            snapshot_s=0.5,
            pending_check_s=1,
            log_level="INFO",
        )
        world = World(services, settings, source, directory)
        try:
            await world.put("s0", ("female", "1970-01-01"))
            await world.serve()
            await world.call("refresh_views")
            yield world
        finally:
            await world.end()
