"""Promises 3 and 4 hold for any sequence of what can happen to a resource.

Hypothesis makes the sequences; `clinic_model` says, by plain recomputation, what each view must
show. After every step the merged rows are compared, and every anchor ever published is read again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clinic import Clinic, cut_off_writer, open_clinic
from clinic_model import VIEWS, Key, Model, Resource, Row
from researchflow_runners.batch.catalogue import UNCHANGED, CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import Progress
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import FreshnessError, QueryError
from researchflow_runners.query.model import LIMIT_MAX, Query
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.keys import entry_key
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_server.embedded import Services

COMPILED = tuple(compile_view(definition) for definition in VIEWS)
#: A view registered at run time: now with one definition, now with another, now not at all.
OWN = "own"
OWN_VIEWS = {view["name"]: compile_view({**view, "name": OWN}) for view in VIEWS}
_numbers = count(1)

_EXPIRE = """
UPDATE researchflow.overlay_entry
SET valid_until = CASE origin WHEN 'provisional' THEN now() ELSE valid_until END,
    valid_from = CASE origin WHEN 'source' THEN now() ELSE valid_from END
WHERE res_type = $1 AND id = $2
"""

keys = st.sampled_from([("Patient", name) for name in "abc"] + [("Condition", "x")])


@st.composite
def resources(draw: st.DrawFn, key: Key) -> Resource:
    """A small resource of the key, in one of few shapes."""
    resource_type, name = key
    bare: Resource = {"resourceType": resource_type, "id": name}
    if resource_type == "Condition":
        codes = draw(st.lists(st.sampled_from(["E11", "I10"]), max_size=2))
        return {
            **bare,
            "subject": {"reference": f"Patient/{draw(st.sampled_from('ab'))}"},
            "code": {"text": "t", "coding": [{"code": code} for code in codes]} if codes else
            {"text": "t"},
        }  # fmt: skip
    given = draw(st.lists(st.sampled_from(["Ann", "Eve"]), min_size=1, max_size=2))
    return {
        **bare,
        "gender": draw(st.sampled_from(["female", "male"])),
        **draw(st.sampled_from([{}, {"active": False}, {"birthDate": "1970-01"}])),
        **draw(st.sampled_from([{}, {"name": [{"given": given}]}])),
    }


@dataclass(frozen=True)
class Told:
    """What somebody says of the server: a version that may be any, a deletion without one."""

    resource: Resource | None
    version: int | None
    can_ask: bool
    twice: bool


@st.composite
def reports(draw: st.DrawFn) -> tuple[Key, Told]:
    """An update or a deletion that may be late, early, invented or of what was expunged."""
    key = draw(keys)
    can_ask, twice = draw(st.booleans()), draw(st.booleans())
    if draw(st.booleans()):
        return key, Told(None, None, can_ask, twice)
    return key, Told(draw(resources(key)), draw(st.integers(1, 6)), can_ask, twice)


keyed = keys.flatmap(lambda key: st.tuples(st.just(key), resources(key)))


#: A time to live that is over before anybody looks.
ELAPSED_S = 0.001


class World:
    """The clinic and its model, changed together."""

    def __init__(self, clinic: Clinic, cut_off: ChangeWriter) -> None:
        self.clinic = clinic
        #: A writer that cannot ask the source.
        self.cut_off = cut_off
        self.model = Model()
        self.anchors: dict[int, dict[str, list[Row]]] = {}
        #: The view whose definition OWN has, and the first anchor that holds OWN like that.
        self.own: tuple[str, int] | None = None

    async def put(self, key: Key, resource: Resource) -> None:
        await self.clinic.put(resource)
        self.model.put(key, resource)

    async def delete(self, key: Key) -> None:
        await self.clinic.delete("/".join(key))
        self.model.delete(key)

    async def expunge(self, key: Key) -> None:
        await self.clinic.expunge("/".join(key))
        self.model.expunge(key)

    async def hint(self, key: Key, age: int, resource: Resource) -> None:
        """A change to one of the last versions, with a content that may be any old one."""
        version = max(1, self.model.server[key].version - age)
        change = Change.put(resource, version=version)
        if self.model.server[key].resource is None and age == 0:
            change = Change.delete(*key, version=version)
        await self.clinic.writer.apply([change, change][: 1 + age], provenance="hint")
        self.model.confirm(key)

    async def report(self, key: Key, told: Told) -> None:
        """Somebody says this of the server; where it can be asked, that is no more than a hint."""
        change = Change(told.resource, *key, version=told.version)
        writer = self.clinic.writer if told.can_ask else self.cut_off
        await writer.hear([change, change][: 1 + told.twice], provenance="subscription")
        if told.can_ask:
            self.model.hear(key)
        else:
            self.model.report(key, told.version, told.resource)

    async def settle(self) -> None:
        await self.clinic.writer.settle()
        self.model.settle()

    async def insert(self, key: Key, resource: Resource | None) -> None:
        """A writer's own change, without version; it may turn out to be none."""
        change = Change.delete(*key) if resource is None else Change.put(resource)
        (outcome,) = await self.clinic.writer.apply([change], provenance="agent")
        if outcome.outcome == "stored":
            assert outcome.version is not None
            self.model.insert(key, outcome.version, resource)

    async def insert_elapsed(self, key: Key, resource: Resource) -> None:
        """A change that nobody projects before its time is over.

        It goes past the writer, which would write again where Redis still knows the version.
        """
        redis = self.clinic.redis
        version = self.model.newest_version(key) + 1
        result = await redis.set_fhir_resource(*key, resource, version=version, ttl_s=ELAPSED_S)
        if result.outcome != "stored":
            return
        await self._wait_until(result.expires_at)
        await self.clinic.projector.drain([key[0]])

    async def expire(self, key: Key) -> None:
        """The time of a provisional change passes, in both stores."""
        async with self.clinic.database.transaction() as session:
            await session.execute(_EXPIRE, *key)
        command = ("HSET", entry_key(*key), "provisional.expires_at", "1")
        await self.clinic.redis.connection.pipeline([command])
        self.model.expire(key)

    async def register(
        self, name: str, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """OWN is defined like the view of that name."""
        before = self.own
        anchor = await self.refresh(meanwhile, CatalogueChange(register=OWN_VIEWS[name]))
        self.own = before if before and before[0] == name else (name, anchor)

    async def drop(self) -> None:
        """OWN is dropped."""
        await self.refresh(None, CatalogueChange(drop=OWN))
        self.own = None

    async def refresh(
        self,
        meanwhile: Callable[[], Awaitable[None]] | None,
        change: CatalogueChange = UNCHANGED,
    ) -> int:
        """A refresh, its anchor; `meanwhile` happens after its snapshot and before its commit."""
        server = dict(self.model.server)
        heard = [*self.model.confirmed.values(), *self.model.reported.values()]
        waiting = [meanwhile] if meanwhile else []

        async def progress(_step: Progress) -> None:
            if waiting:
                await waiting.pop()()

        refresher = Refresher(self.clinic.database, self.clinic.source, COMPILED)
        result = await refresher.refresh(progress, change=change)
        self.model.refresh(server, heard)
        self.anchors[result.anchor] = self.model.anchored()
        return result.anchor

    async def flush_redis(self) -> None:
        await self.clinic.redis.connection.redis.flushall()

    async def sweep(self) -> None:
        await self.clinic.projector.drain()
        await self.clinic.projector.forget_covered()

    async def check(self) -> None:
        """Promise 3, and promise 4 for every anchor so far."""
        if not self.anchors:
            return
        live = self.model.live()
        assert await self._read({}) == live
        for anchor, rows in self.anchors.items():
            assert await self._read({"as_of": anchor}) == rows
        await self._check_own(live)

    async def _check_own(self, live: dict[str, list[Row]]) -> None:
        if self.own is None:
            with pytest.raises(QueryError):
                await self._rows(OWN, {})
            return
        name, since = self.own
        assert await self._rows(OWN, {}) == live[name]
        for anchor, rows in self.anchors.items():
            if anchor >= since:
                assert await self._rows(OWN, {"as_of": anchor}) == rows[name]
                continue
            with pytest.raises(FreshnessError):
                await self._rows(OWN, {"as_of": anchor})

    async def _read(self, asked: dict[str, Any]) -> dict[str, list[Row]]:
        return {view.name: await self._rows(view.name, asked) for view in COMPILED}

    async def _rows(self, view: str, asked: dict[str, Any]) -> list[Row]:
        query = Query.model_validate({"view": view, "limit": LIMIT_MAX, **asked})
        return list((await self.clinic.runner.query(query)).rows)

    async def _wait_until(self, instant: Any) -> None:
        for _look in range(1_000):
            async with self.clinic.database.session() as session:
                if await session.fetchval("SELECT clock_timestamp() > $1", instant):
                    return
        raise AssertionError("the database's clock stands still")


@asynccontextmanager
async def open_world(services: Services) -> AsyncIterator[World]:
    name = f"world_{next(_numbers)}"
    connection = await asyncpg.connect(services.postgres_dsn)
    try:
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE hapi_template STRATEGY file_copy"
        )
        dsn = services.postgres.dsn_of(name)
        async with open_clinic(dsn, services.redis_url, views=COMPILED) as clinic:
            await clinic.redis.connection.redis.flushall()
            world = World(clinic, await cut_off_writer(clinic, dsn))
            await world.refresh(None)
            yield world
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


class LiveEqualsRebuilt(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    services: Services
    portal: BlockingPortal

    def __init__(self) -> None:
        super().__init__()
        self._opened = self.portal.wrap_async_context_manager(open_world(self.services))
        self.world = self._opened.__enter__()

    def teardown(self) -> None:
        self._opened.__exit__(None, None, None)

    def known(self) -> list[Key]:
        return sorted(self.world.model.server)

    @rule(one=keyed)
    def server_stores(self, one: tuple[Key, Resource]) -> None:
        self.portal.call(self.world.put, *one)

    @rule(one=keyed)
    def server_stores_and_tells(self, one: tuple[Key, Resource]) -> None:
        self.portal.call(self.world.put, *one)
        self.portal.call(self.world.hint, one[0], 0, one[1])

    @rule(key=keys)
    def server_deletes(self, key: Key) -> None:
        self.portal.call(self.world.delete, key)

    @rule(key=keys)
    def server_expunges(self, key: Key) -> None:
        self.portal.call(self.world.expunge, key)

    @precondition(known)
    @rule(data=st.data(), age=st.integers(0, 2))
    def hint_arrives(self, data: st.DataObject, age: int) -> None:
        key = data.draw(st.sampled_from(self.known()))
        self.portal.call(self.world.hint, key, age, data.draw(resources(key)))

    @rule(one=reports())
    def report_arrives(self, one: tuple[Key, Told]) -> None:
        self.portal.call(self.world.report, *one)

    @rule(one=keyed)
    def delete_arrives_after_the_undelete(self, one: tuple[Key, Resource]) -> None:
        self.portal.call(self.world.put, *one)
        self.portal.call(self.world.delete, one[0])
        self.portal.call(self.world.put, *one)
        self.portal.call(self.world.report, one[0], Told(None, None, True, False))

    @rule(one=keyed, can_ask=st.booleans())
    def update_arrives_after_the_expunge(self, one: tuple[Key, Resource], can_ask: bool) -> None:
        self.portal.call(self.world.put, *one)
        version = self.world.model.server[one[0]].version
        self.portal.call(self.world.expunge, one[0])
        self.portal.call(self.world.report, one[0], Told(one[1], version, can_ask, False))

    @rule()
    def source_is_asked_about_the_reports(self) -> None:
        self.portal.call(self.world.settle)

    @rule(one=keyed)
    def agent_inserts(self, one: tuple[Key, Resource]) -> None:
        self.portal.call(self.world.insert, *one)

    @rule(key=keys)
    def agent_deletes(self, key: Key) -> None:
        self.portal.call(self.world.insert, key, None)

    @rule(one=keyed)
    def agent_insert_elapses(self, one: tuple[Key, Resource]) -> None:
        if one[0] not in self.world.model.provisional:
            self.portal.call(self.world.insert_elapsed, *one)

    @precondition(lambda self: self.world.model.provisional)
    @rule(data=st.data())
    def agent_insert_expires(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.model.provisional)))
        self.portal.call(self.world.expire, key)

    @rule()
    def refresh(self) -> None:
        self.portal.call(self.world.refresh, None)

    @rule(one=keyed, told=st.booleans())
    def refresh_while_the_server_stores(self, one: tuple[Key, Resource], told: bool) -> None:
        async def meanwhile() -> None:
            await self.world.put(*one)
            if told:
                await self.world.hint(one[0], 0, one[1])

        self.portal.call(self.world.refresh, meanwhile)

    @rule(one=keyed)
    def refresh_while_an_agent_inserts(self, one: tuple[Key, Resource]) -> None:
        async def meanwhile() -> None:
            await self.world.insert(*one)

        self.portal.call(self.world.refresh, meanwhile)

    @rule(name=st.sampled_from(sorted(OWN_VIEWS)))
    def view_is_registered(self, name: str) -> None:
        self.portal.call(self.world.register, name)

    @rule(name=st.sampled_from(sorted(OWN_VIEWS)), one=keyed)
    def view_is_registered_while_an_agent_inserts(
        self, name: str, one: tuple[Key, Resource]
    ) -> None:
        async def meanwhile() -> None:
            await self.world.insert(*one)

        self.portal.call(self.world.register, name, meanwhile)

    @precondition(lambda self: self.world.own)
    @rule()
    def view_is_dropped(self) -> None:
        self.portal.call(self.world.drop)

    @rule()
    def redis_is_flushed(self) -> None:
        self.portal.call(self.world.flush_redis)

    @rule()
    def projector_sweeps(self) -> None:
        self.portal.call(self.world.sweep)

    @invariant()
    def live_rows_and_every_anchor_are_as_recomputed(self) -> None:
        self.portal.call(self.world.check)


SETTINGS = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def test_live_equals_rebuilt_and_anchors_repeat(services: Services) -> None:
    with start_blocking_portal() as portal:
        machine = type("Machine", (LiveEqualsRebuilt,), {"services": services, "portal": portal})
        run_state_machine_as_test(machine, settings=SETTINGS)
