"""Moves the log of changes into the overlay; what it has committed is durable.

Any process may project: a row lock per resource type lets one at a time go on, and the position
is stored in the transaction that applies the changes. Callers that arrive while one projection
runs share the next, so many writers cost few commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import anyio

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.fhir import model
from researchflow_runners.speed.change_log import PAGE, START, ChangeLog, Position, later
from researchflow_runners.speed.projection import Applied, Projection, positions
from researchflow_runners.speed.redis_client import CHANGES_MAX, RedisClient
from researchflow_runners.store.database import Database

#: How long a change written without a projector of its own may wait when Redis does not wake us.
WAIT_S = 1.0
SWEEP_INTERVAL_S = 60.0
#: A server that comes to evict entries is noticed so soon; what was acknowledged stays anyway.
FITNESS_INTERVAL_S = 5.0
#: Up to so many types are looked at without asking first which have moved.
DIRECT_MAX = 4
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 5.0
TRANSACTIONS_MAX = CHANGES_MAX // PAGE + 2

_NEWEST_ANCHOR = "SELECT max(anchor) FROM researchflow.anchor"


@dataclass(frozen=True, slots=True)
class ProjectorState:
    """How the projector fares; while it fails, changes wait at least since `failing_since`."""

    running: bool = False
    applied_total: int = 0
    dead_letters_total: int = 0
    last_applied_at: datetime | None = None
    failing_since: datetime | None = None
    last_error_code: str | None = None


class Projector:
    """Applies every resource type's log to the overlay of one warehouse."""

    def __init__(
        self, database: Database, redis: RedisClient, views: Sequence[CompiledView]
    ) -> None:
        self._database = database
        self._log = ChangeLog(redis)
        self._redis = redis
        self._views = {view.name: view for view in views}
        self._types = model().resource_names()
        self._state = ProjectorState()
        #: Up to where each log is to be applied; None: as far as it goes.
        self._wanted: dict[str, str | None] = {}
        #: Up to where each log was applied when this process last did it, or looked.
        self._applied: dict[str, Position] = {}
        self._next: asyncio.Task[int] | None = None
        self._turn = asyncio.Lock()
        self._anchor: int | None = None
        self._look_at = 0.0
        self._swept_anchor: int | None = None
        self._sweep_at = 0.0
        self._fitness_at = 0.0

    @property
    def state(self) -> ProjectorState:
        """A snapshot of the state."""
        return self._state

    async def drain(self, resource_types: Iterable[str] | None = None) -> int:
        """Applies what was logged before this call, for the given types or all; gives how much.

        When it returns, that is committed. StoreError when PostgreSQL or Redis is away: nothing
        is lost, the next drain goes on.
        """
        names = self._types if resource_types is None else resource_types
        return await self.reach(dict.fromkeys(names))

    async def reach(self, places: Mapping[str, str | None]) -> int:
        """The same up to a place in each log, None for all of it; gives how much was applied.

        What this process has applied already costs nothing. A place in a log that was lost since
        may be taken for one that was reached: look whether the change is there.
        """
        for name, place in places.items():
            held = self._wanted.get(name, START)
            self._wanted[name] = later(place, held) if place and held else None
        if self._next is None:
            self._next = asyncio.create_task(self._take_turn())
        # A cancelled caller must not undo the work that others wait for.
        return await asyncio.shield(self._next)

    async def forget_covered(self) -> int:
        """Lets go of what a refresh covers or what expired; gives how many entries left Redis."""
        async with self._database.session() as session:
            known = await positions(session)
        return sum([await self._projection(one).forget_covered() for one in known])

    async def retire(self, resource_type: str, reports: Mapping[str, str]) -> None:
        """Drops reports that the source does not bear out: by id, their place in the stream."""
        await self._projection(resource_type).retire(reports)

    async def run(self, stop: asyncio.Event) -> None:
        """Projects what others write and sweeps after each refresh, until `stop` is set.

        An outage is waited out with growing pauses; the state tells of it.
        """
        self._state = replace(self._state, running=True)
        pause_s = BACKOFF_FIRST_S
        try:
            while not stop.is_set():
                try:
                    await self._round(stop)
                    pause_s = BACKOFF_FIRST_S
                except ResearchFlowError:
                    await _wait(stop.wait(), pause_s)
                    pause_s = min(BACKOFF_LAST_S, pause_s * 2)
        finally:
            self._state = replace(self._state, running=False)

    async def _round(self, stop: asyncio.Event) -> None:
        """Waits for changes, applies them, and sweeps when a refresh or the clock asks for it."""
        with self._told():
            await self._check_fitness()
            await self._look_when_due()
            changed = await self._changed(stop)
            # Without news every log is looked at: one that was emptied tells nothing by itself.
            await (self.reach(changed) if changed else self.drain())
            await self._sweep_when_due()

    async def _look_when_due(self) -> None:
        """Learns how far all is applied and the newest anchor, as others may have brought them."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        async with self._database.session() as session:
            self._applied |= await positions(session)
            self._anchor = await session.fetchval(_NEWEST_ANCHOR)
        self._look_at = now + WAIT_S

    async def _check_fitness(self) -> None:
        """Looks now and then whether Redis keeps what it is given, and after each failure."""
        now = asyncio.get_running_loop().time()
        if self._state.failing_since is not None or now >= self._fitness_at:
            await self._redis.connection.check_server()
            self._fitness_at = now + FITNESS_INTERVAL_S

    async def _changed(self, stop: asyncio.Event) -> dict[str, str]:
        """The next place of each log that has one; none once `stop` is set or WAIT_S passed."""
        begin = Position("", START)
        after = {name: self._applied.get(name, begin).stream_id for name in self._types}
        change = asyncio.create_task(self._log.wait(after, WAIT_S))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((change, stopped), return_when=asyncio.FIRST_COMPLETED)
            return change.result() if change.done() else {}
        finally:
            change.cancel()
            stopped.cancel()
            await asyncio.gather(change, stopped, return_exceptions=True)

    async def _sweep_when_due(self) -> None:
        now, anchor = asyncio.get_running_loop().time(), self._anchor
        if anchor == self._swept_anchor and now < self._sweep_at:
            return
        await self.forget_covered()
        self._swept_anchor, self._sweep_at = anchor, now + SWEEP_INTERVAL_S

    async def _take_turn(self) -> int:
        """One projection for everyone who asked before it begins."""
        async with self._turn:
            wanted, self._wanted, self._next = self._wanted, {}, None
            lacking = {one for one in wanted if self._lacks(one, wanted[one])}
            if not lacking:
                return 0
            with self._told():
                return await self._project(lacking)

    def _lacks(self, resource_type: str, place: str | None) -> bool:
        """Whether the log may have to be applied further."""
        applied = self._applied.get(resource_type)
        return place is None or applied is None or not applied.reaches(applied.at(place))

    async def _project(self, wanted: set[str]) -> int:
        """Applies the logs of the wanted types that have moved; gives how many changes."""
        if len(wanted) > DIRECT_MAX:
            wanted = await self._moved(wanted)
        return sum([await self._project_type(name) for name in sorted(wanted)])

    async def _moved(self, wanted: set[str]) -> set[str]:
        """The types whose log does not end where it is applied."""
        async with self._database.session() as session:
            applied = await positions(session)
        heads = await self._log.heads(sorted(wanted))
        return {name for name in wanted if heads.get(name) != applied.get(name)}

    async def _project_type(self, resource_type: str) -> int:
        """Applies one log up to where it ended at the first look."""
        projection = self._projection(resource_type)
        done = await projection.advance(self._applied.get(resource_type))
        target, entries = done.head, self._count(resource_type, done)
        for _transaction in range(TRANSACTIONS_MAX):
            if done.position.reaches(target):
                break
            done = await projection.advance(done.position)
            entries += self._count(resource_type, done)
        return entries

    def _projection(self, resource_type: str) -> Projection:
        return Projection(resource_type, database=self._database, log=self._log, views=self._views)

    def _count(self, resource_type: str, done: Applied) -> int:
        self._applied[resource_type] = done.position
        self._state = replace(
            self._state,
            applied_total=self._state.applied_total + done.entries,
            dead_letters_total=self._state.dead_letters_total + done.dead_letters,
            last_applied_at=datetime.now(UTC) if done.entries else self._state.last_applied_at,
        )
        return done.entries

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Keeps the state's error and its beginning in step with what happens inside."""
        try:
            yield
        except ResearchFlowError as error:
            since = self._state.failing_since or datetime.now(UTC)
            self._state = replace(self._state, failing_since=since, last_error_code=error.code)
            raise
        self._state = replace(self._state, failing_since=None, last_error_code=None)


async def _wait(event: Coroutine[Any, Any, Any], timeout_s: float) -> None:
    """Waits for the event, at most so long."""
    with anyio.move_on_after(timeout_s):
        await event
