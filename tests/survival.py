"""The whole product as processes, over stores that are killed and stopped, beside the plain truth.

What an agent inserted is kept as the set of states that may be: a call that failed may have been
heard or not. `survival_faults` is what happens to it.
"""

from __future__ import annotations

import asyncio
import math
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from mcp import Client

from forked import Forked, command
from hospital import PLANTED, Hospital, State, resource_of
from prometheus_server import until
from researchflow_server.embedded import Services
from researchflow_server.settings import Settings, child_environment

QUIET_S = 40
CALL_S = 60
SIMPLE = "patient_simple"
TAGGED = "patient_tagged"
COLUMNS = {SIMPLE: ["id", "gender", "birth_date"], TAGGED: ["id", "tag", "value"]}
#: Which part of a state TAGGED gives as `value`: the view is defined anew in the course of a run.
KINDS = {"gender": 0, "birthDate": 1}

#: By which the monotonic clock here and the server's may tell a time to live differently.
CLOCKS_S = 1.0
FORGOTTEN = {"anchor_expired", "anchor_unknown", "pin_unknown"}

Rows = list[tuple[Any, ...]]


class Refused(Exception):
    """A call that failed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def tagged_view(kind: str) -> dict[str, Any]:
    """A view that reads meta, and under one name this element or another."""
    own = [
        {"path": "getResourceKey()", "name": "id", "type": "string"},
        {"path": kind, "name": "value", "type": "string"},
    ]
    tag = {"path": "code", "name": "tag", "type": "string"}
    return {
        "resourceType": "ViewDefinition",
        "name": TAGGED,
        "resource": "Patient",
        "status": "active",
        "select": [{"column": own}, {"forEachOrNull": "meta.tag", "column": [tag]}],
    }


@dataclass
class World:
    """`kinds` are the definitions that TAGGED may have. `seen_at` is how many changes there had
    been when a live answer was the truth: until the next one no other answer is right. `ends` is
    between when what an agent inserted counts no longer, by the monotonic clock."""

    services: Services
    settings: Settings
    hospital: Hospital
    home: Path
    agents: dict[str, set[State]] = field(default_factory=dict)
    ends: dict[str, tuple[float, float]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    pins: list[str] = field(default_factory=list)
    anchored: dict[tuple[str, int], Rows] = field(default_factory=dict)
    seen_at: int = -1
    log: list[str] = field(default_factory=list)
    process: Forked | None = None
    urls: tuple[str, str] = ("", "")

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

    async def ask(self, view: str, **asked: Any) -> dict[str, Any]:
        """The answer of the view, its rows as tuples in a settled order."""
        asked_at = time.monotonic()
        answer = await self.call(
            "query_view", view=view, columns=COLUMNS[view], detail="full", **asked
        )
        rows = sorted(map(tuple, answer["rows"]), key=str)
        return {**answer, "rows": rows, "asked_at": asked_at}

    async def insert(self, name: str, state: State) -> None:
        self.may_be(name, state)
        began, counts_s = time.monotonic(), self.settings.provisional_ttl_h * 3600
        ends_before = self.ends.pop(name, (math.inf, math.inf))
        try:
            if state is None:
                await self.call("cache_resources", delete=[f"Patient/{name}"])
            else:
                await self.call("cache_resources", resources=[resource_of(name, state)])
        except Refused:
            self.ends[name] = (min(ends_before[0], began + counts_s), math.inf)
        else:
            self.agents[name] = {state}
            self.ends[name] = (began + counts_s, time.monotonic() + counts_s)

    def may_be(self, name: str, state: State) -> None:
        """The patient of an agent is as it was, or so."""
        self.agents[name] = self.agents.get(name, {None}) | {state}
        self.seen_at = -1

    def _states_of(self, name: str, asked_at: float) -> set[State]:
        """What an answer may show of an agent's patient that was asked for then and came now."""
        earliest, latest = self.ends.get(name, (math.inf, math.inf))
        if asked_at > latest + CLOCKS_S:
            return {None}
        over = {None} if time.monotonic() > earliest - CLOCKS_S else set()
        return self.agents[name] | over

    async def refresh(self) -> None:
        with suppress(Refused):
            await self.call("refresh_views")

    async def register(self, kind: str) -> None:
        """The view is defined anew under its name; unknown which it is when the call fails."""
        self.kinds = self.kinds | {kind}
        self.seen_at = -1
        with suppress(Refused):
            answer = await self.call("register_view", definition=tagged_view(kind))
            if answer["status"] == "published":
                self.kinds = {kind}
        await self.look()

    async def look(self) -> None:
        """No answer invents a state, each has one anchor and its date, none goes back."""
        with suppress(Refused):
            answer = await self.ask(SIMPLE)
            assert answer["data_as_of"], answer
            for name, *state in answer["rows"]:
                known = [one for one, _version in self.hospital.told.get(name, [])]
                assert tuple(state) in [*known, *self.agents.get(name, ())], (name, state, known)
            if self.seen_at == self.hospital.changes and not answer["degradations"]:
                assert self.is_true(answer), (answer, self.hospital, self.agents, self.ends)
        with suppress(Refused):
            answer = await self.ask(TAGGED)
            values = {value for _name, _tag, value in answer["rows"]}
            assert any(_is_of(kind, values) for kind in self.kinds), (answer, self.kinds)

    async def look_back(self) -> None:
        """What an anchor showed it shows again, whatever happened since, until it expires; where
        it is pinned it does not."""
        for view in COLUMNS:
            with suppress(Refused):
                answer = await self.ask(view, freshness="anchored")
                shown = self.anchored.setdefault((view, answer["anchor"]), answer["rows"])
                assert answer["rows"] == shown
            for seen, anchor in list(self.anchored):
                if seen == view:
                    with suppress(Refused):
                        answer = await self.ask(view, freshness="anchored", as_of=anchor)
                        assert answer["rows"] == self.anchored[view, anchor], (anchor, answer)
            for pin in self.pins:
                await self._look_at_pin(view, pin)

    async def _look_at_pin(self, view: str, pin: str) -> None:
        try:
            answer = await self.ask(view, freshness="anchored", as_of=pin)
        except Refused as refused:
            if refused.code in FORGOTTEN:
                raise AssertionError(view, pin, self.log[-9:]) from refused
            return
        shown = self.anchored.setdefault((view, answer["anchor"]), answer["rows"])
        assert answer["rows"] == shown, (pin, answer)

    # the end

    async def see(self) -> None:
        """Nothing more happens: live comes to be the truth."""
        shown: list[dict[str, Any]] = []

        async def is_shown() -> bool:
            with suppress(Refused):
                shown[:] = [await self.ask(view) for view in COLUMNS]
                return self.is_true(shown[0]) and await self.is_tagged(shown[1]["rows"])
            return False

        told = (self.hospital.truth, self.agents, self.kinds)
        assert await until(is_shown, timeout_s=QUIET_S), (shown, *told)
        self.seen_at = self.hospital.changes

    async def settle(self) -> None:
        """Everything runs again: live equals the truth, and so does the anchor of a refresh."""
        await self.services.postgres.start()
        await self.services.redis.start()
        await self.see()

        async def is_refreshed() -> bool:
            with suppress(Refused):
                return (await self.call("refresh_views"))["status"] in ("published", "unchanged")
            return False

        assert await until(is_refreshed, timeout_s=QUIET_S)
        assert self.is_true(await self.ask(SIMPLE))
        assert await self.is_tagged((await self.ask(TAGGED))["rows"])
        kept = await self.ask(SIMPLE, freshness="anchored")
        assert _states(kept["rows"]) == self.hospital.living
        await self.look_back()
        await self._check_silence()

    def is_true(self, answer: dict[str, Any]) -> bool:
        """Whether the FHIR server's patients are as they are, and each of an agent as it may be."""
        states, at = _states(answer["rows"]), answer["asked_at"]
        of_agents = all(states.pop(name, None) in self._states_of(name, at) for name in self.agents)
        return of_agents and states == self.hospital.living

    async def is_tagged(self, rows: Rows) -> bool:
        """Whether one definition of TAGGED makes these rows of the FHIR server's tables."""
        tags = await self.hospital.tags()
        own = [row for row in rows if row[0] not in self.agents]
        return any(
            own
            == sorted(
                (
                    (name, tag, state[KINDS[kind]])
                    for name, state in self.hospital.living.items()
                    if state
                    for tag in tags[name]
                ),
                key=str,
            )
            for kind in self.kinds
        )

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
        self.process = command(self.environment, self.home, "serve", "--http")
        tools, _feed, metrics = (await self.process.lines(3))[:3]
        self.urls = (tools.split()[-1], metrics.split()[-1])

    @property
    def environment(self) -> dict[str, str]:
        return child_environment(self.settings)

    async def end(self) -> None:
        if self.process is not None:
            await self.process.kill()
        await self.hospital.database.close()

    @asynccontextmanager
    async def warehouse(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.services.postgres_dsn)
        try:
            yield connection
        finally:
            await connection.close()


def _states(rows: Rows) -> dict[str, State]:
    return {name: (gender, born) for name, gender, born in rows}


def _is_of(kind: str, values: Iterable[str]) -> bool:
    return all(value[:1].isdigit() == (kind == "birthDate") for value in values)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=CALL_S) as answer:
        text: str = answer.read().decode()
        return text
