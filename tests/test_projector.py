"""The change log on its way into the overlay: durability, losses, several projectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from researchflow_runners.errors import StoreError
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.keys import changes_key
from researchflow_runners.speed.projector import Projector
from researchflow_runners.store.locks import OVERLAY_LOCK_KEY
from researchflow_server.embedded import Services
from researchflow_server.embedded.process import until
from speed_stack import SpeedStack, compiled, patient, speed_stack

WAIT_TIMEOUT_S = 20.0
#: Waiting before anything is read or written, not at the first conflict.
BLOCKED_READS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ '(^|;)\\s*SELECT'
"""
BATCH = {"p1": "female", "p2": "male"}


async def published(stack: SpeedStack) -> SpeedStack:
    """Patients p1 (female) and p2 (male), version 1, in the batch layer."""
    await stack.at_source("Patient", "p1", 1, patient("p1"))
    await stack.at_source("Patient", "p2", 1, patient("p2", "male"))
    await stack.refresher.refresh()
    return stack


@pytest_asyncio.fixture
async def stack(postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    async with speed_stack(postgres_dsn, redis_url, [compiled("patient_simple")]) as opened:
        yield await published(opened)


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    yield client
    await client.aclose()


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(projector.run(stop))
    yield
    stop.set()
    async with asyncio.timeout(WAIT_TIMEOUT_S):
        await task


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    assert await until(holds, timeout_s=WAIT_TIMEOUT_S)


async def genders(stack: SpeedStack) -> dict[str, str]:
    return dict(await stack.live("patient_simple", "id, gender"))


async def put(stack: SpeedStack, patient_id: str, gender: str, version: int) -> None:
    await stack.redis.set_fhir_resource(
        "Patient", patient_id, patient(patient_id, gender), version=version
    )


async def test_drain_applies_what_others_wrote_once(stack: SpeedStack) -> None:
    await put(stack, "p1", "other", 2)
    await put(stack, "p3", "male", 1)
    assert await stack.projector.drain() == 2
    assert await stack.projector.drain() == 0
    assert await genders(stack) == {"p1": "other", "p2": "male", "p3": "male"}


async def test_running_projector_shows_changes_that_nobody_drains(stack: SpeedStack) -> None:
    async with running(stack.projector):
        await put(stack, "p1", "other", 2)

        async def shown() -> bool:
            return await genders(stack) == {"p1": "other", "p2": "male"}

        await eventually(shown)
        assert stack.projector.state.running
        assert stack.projector.state.last_error_code is None
    assert not stack.projector.state.running


async def test_running_projector_lets_go_of_what_a_refresh_covered(stack: SpeedStack) -> None:
    async with running(stack.projector):
        await stack.at_source("Patient", "p1", 2, patient("p1", "other"))
        await stack.writer.apply([Change.put(patient("p1"), version=2)], provenance="test")
        await stack.refresher.refresh()

        async def gone() -> bool:
            return await stack.redis.count("Patient") == 0

        await eventually(gone)
    assert await genders(stack) == {"p1": "other", "p2": "male"}


async def test_applied_entries_leave_the_stream(stack: SpeedStack, redis_url: str) -> None:
    for number in range(5):
        await put(stack, f"x{number}", "male", 1)
        await stack.projector.drain()
    async with raw(redis_url) as client:
        assert await client.xlen(changes_key("Patient")) <= 2


async def test_expired_entry_leaves_both_stores_and_the_batch_row_returns(
    stack: SpeedStack,
) -> None:
    await stack.redis.set_fhir_resource(
        "Patient", "p1", patient("p1", "other"), version=2, ttl_s=0.2
    )
    await stack.projector.drain()

    async def returned() -> bool:
        return await genders(stack) == BATCH

    await eventually(returned)
    await stack.projector.forget_covered()
    assert await stack.redis.count("Patient") == 0
    assert await stack.value("SELECT count(*) FROM researchflow.overlay_entry") == 0


async def test_late_version_that_the_batch_covers_does_not_stay_cached(stack: SpeedStack) -> None:
    await put(stack, "p1", "other", 1)
    await stack.projector.drain()
    assert await stack.redis.count("Patient") == 0
    assert await genders(stack) == BATCH


@pytest.mark.failure("redis-emptied")
async def test_flushed_redis_is_noticed_and_filled_again(stack: SpeedStack, redis_url: str) -> None:
    await put(stack, "p1", "other", 3)
    await stack.redis.delete("Patient", "p2", version=2)
    await stack.projector.drain()
    before = await stack.redis.get_fhir_resource("Patient", "p1")
    async with raw(redis_url) as client:
        await client.flushall()
    await put(stack, "p1", "male", 2)
    await stack.projector.drain()
    assert await genders(stack) == {"p1": "other"}
    after = await stack.redis.get_fhir_resource("Patient", "p1")
    tombstone = await stack.redis.get_fhir_resource("Patient", "p2")
    assert before is not None
    assert after is not None
    assert (after.version, after.text, after.received_at, after.expires_at) == (
        before.version,
        before.text,
        before.received_at,
        before.expires_at,
    )
    assert tombstone is not None
    assert tombstone.deleted


@pytest.mark.failure("redis-older")
async def test_redis_restored_from_an_old_dump_is_noticed_even_after_new_writes(
    stack: SpeedStack, redis_url: str
) -> None:
    await put(stack, "p1", "other", 2)
    await stack.projector.drain()
    async with raw(redis_url) as client:
        dump = {key: await client.dump(key) for key in await client.keys()}
        await put(stack, "p1", "unknown", 3)
        await stack.projector.drain()
        await client.flushall()
        for key, content in dump.items():
            await client.restore(key, 0, content)
    await put(stack, "p3", "male", 1)
    await stack.projector.drain()
    assert await genders(stack) == {"p1": "unknown", "p2": "male", "p3": "male"}
    found = await stack.redis.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert found.version == 3


async def test_new_warehouse_takes_over_what_redis_holds(
    stack: SpeedStack, source_dsn: str, redis_url: str
) -> None:
    await put(stack, "p1", "other", 2)
    await stack.projector.drain()
    async with speed_stack(source_dsn, redis_url, stack.views) as other:
        await published(other)
        await other.projector.drain()
        assert await genders(other) == {"p1": "other", "p2": "male"}


async def test_two_projectors_and_many_writers_apply_each_change_once(
    stack: SpeedStack, postgres_dsn: str, redis_url: str
) -> None:
    async with speed_stack(postgres_dsn, redis_url, stack.views) as other:

        async def write(number: int) -> None:
            writer = (stack, other)[number % 2].writer
            change = Change.put(patient(f"x{number % 7}", "male"), version=number + 1)
            await writer.apply([change], provenance="test")

        await asyncio.gather(*(write(number) for number in range(40)))
    rows = await stack.live("patient_simple", "id, gender")
    assert len(rows) == len(dict(rows)) == 9
    versions = "SELECT array_agg(version ORDER BY id) FROM researchflow.overlay_entry"
    newest = [max(n + 1 for n in range(40) if n % 7 == kind) for kind in range(7)]
    assert await stack.value(versions) == newest


@pytest.mark.parametrize(
    "lock",
    [
        pytest.param(
            "SELECT FROM researchflow.projection WHERE res_type = 'Patient' FOR UPDATE",
            id="another projector",
        ),
        pytest.param(f"SELECT pg_advisory_xact_lock({OVERLAY_LOCK_KEY})", id="a refresh"),
    ],
)
async def test_projection_waits_for_another_projector_and_for_a_refresh(
    stack: SpeedStack, lock: str
) -> None:
    await stack.projector.drain(["Patient"])
    await put(stack, "p1", "other", 2)
    async with stack.database.transaction() as session:
        await session.execute(lock)
        waiting = asyncio.create_task(stack.projector.drain(["Patient"]))

        async def waits() -> bool:
            return waiting.done() or await stack.value(BLOCKED_READS) > 0

        await eventually(waits)
        assert not waiting.done()
        assert await genders(stack) == BATCH
    assert await waiting == 1
    assert (await genders(stack))["p1"] == "other"


async def test_writes_during_refreshes_are_all_there(stack: SpeedStack) -> None:
    async def write() -> None:
        for number in range(15):
            change = Change.put(patient(f"x{number}"))
            (outcome,) = await stack.writer.apply([change], provenance="test")
            assert outcome.outcome == "stored"

    async def refresh() -> None:
        for number in range(4):
            await stack.at_source("Patient", f"y{number}", 1, patient(f"y{number}"))
            await stack.refresher.refresh()

    await asyncio.gather(write(), refresh())
    wanted = {
        *BATCH,
        *(f"x{number}" for number in range(15)),
        *(f"y{number}" for number in range(4)),
    }
    rows = await stack.live("patient_simple", "id, gender")
    assert [row[0] for row in rows] == sorted(wanted)


async def test_cancelled_caller_does_not_cancel_the_others(stack: SpeedStack) -> None:
    await put(stack, "p1", "other", 2)
    first = asyncio.create_task(stack.projector.drain())
    second = asyncio.create_task(stack.projector.drain())
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert (await genders(stack))["p1"] == "other"


async def test_view_published_from_another_definition_is_refused_not_skipped(
    stack: SpeedStack,
) -> None:
    await stack.value("UPDATE researchflow.view_catalogue SET digest = 'other'")
    with pytest.raises(StoreError) as refusal:
        await stack.writer.apply([Change.put(patient("p1", "other"))], provenance="test")
    assert refusal.value.code == "view_definition_differs"
    assert stack.projector.state.last_error_code == "view_definition_differs"
    assert stack.projector.state.failing_since is not None


async def test_outages_are_told_waited_out_and_lose_nothing(own_services: Services) -> None:
    views = [compiled("patient_simple")]
    async with speed_stack(own_services.postgres_dsn, own_services.redis_url, views) as stack:
        await published(stack)
        await stack.writer.apply([Change.put(patient("p1", "other"))], provenance="test")
        async with running(stack.projector):
            for service, code in (
                (own_services.redis, "redis_unavailable"),
                (own_services.postgres, "postgres_unavailable"),
            ):
                await service.kill()

                async def told(code: str = code) -> bool:
                    return stack.projector.state.last_error_code == code

                await eventually(told)
                with pytest.raises(StoreError) as refusal:
                    await stack.writer.apply([Change.put(patient("p9"))], provenance="test")
                assert (refusal.value.code, refusal.value.retryable) == (code, True)
                await service.start()

                async def recovered() -> bool:
                    return stack.projector.state.last_error_code is None

                await eventually(recovered)
        assert (await genders(stack))["p1"] == "other"
        (outcome,) = await stack.writer.apply([Change.put(patient("p9"))], provenance="test")
        assert outcome.outcome in ("stored", "duplicate")
        assert "p9" in await genders(stack)


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Writes in any order with repeats, drains and losses of Redis between them."""
    steps: list[tuple[str, Any]] = []
    for resource_id in ("p1", "p2", "p3"):
        for version in range(1, draw(st.integers(1, 4)) + 1):
            gender = draw(st.sampled_from([None, "male", "female", "other"]))
            steps.append(("write", (resource_id, version, gender)))
    steps += draw(st.lists(st.sampled_from(steps), max_size=6))
    steps += [("drain", None)] * draw(st.integers(0, 3))
    return draw(st.permutations(steps))


@given(history=_histories())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_order_with_repeats_ends_in_the_newest_versions(
    stack: SpeedStack, history: list[tuple[str, Any]]
) -> None:
    await stack.value("TRUNCATE researchflow.overlay_entry CASCADE")
    await stack.value("TRUNCATE researchflow.projection")
    await stack.redis.flush_all()
    newest: dict[str, tuple[int, str | None]] = {"p1": (1, "female"), "p2": (1, "male")}
    genders_of = {(one[0], one[1]): one[2] for step, one in history if step == "write"}
    for (resource_id, version), gender in genders_of.items():
        if version > newest.get(resource_id, (0, None))[0]:
            newest[resource_id] = (version, gender)
    for step, one in history:
        if step == "drain":
            await stack.projector.drain(["Patient"])
            continue
        resource_id, version, gender = one
        if gender is None:
            await stack.redis.delete("Patient", resource_id, version=version)
        else:
            await put(stack, resource_id, gender, version)
    await stack.projector.drain(["Patient"])
    assert await genders(stack) == {
        resource_id: gender for resource_id, (_version, gender) in newest.items() if gender
    }
