"""The connection to Redis: TLS and passwords by URL, failovers, a policy that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.crc import key_slot

from redis_gate import certificate, redis_gate
from researchflow_runners.errors import StoreError
from researchflow_runners.fhir import model
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.keys import changes_key, entry_key, index_key, state_key
from researchflow_runners.speed.redis_client import RedisClient, upsert_keys
from researchflow_server.embedded import Services
from researchflow_server.embedded.process import until
from speed_stack import SpeedStack, compiled, patient, speed_stack

PASSWORD = "p%40ss"
WAIT_S = 20.0


@pytest_asyncio.fixture
async def locked(own_services: Services) -> AsyncIterator[Services]:
    """A Redis that asks for a password."""
    client = Redis.from_url(own_services.redis_url)
    await client.config_set("requirepass", "p@ss")
    yield own_services
    await client.config_set("requirepass", "")
    await client.aclose()


async def test_tls_and_password_are_taken_from_the_url(locked: Services, tmp_path: Path) -> None:
    context, authority = certificate(tmp_path)
    async with redis_gate(locked.redis_url, context) as gate:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{gate.port}/0?ssl_ca_certs={authority}"
        client = await RedisClient.connect(url)
        written = await client.set_fhir_resource("Patient", "p1", patient("p1"))
        assert (written.outcome, await client.count("Patient")) == ("stored", 1)
        await client.close()


async def test_what_is_wrong_with_the_url_is_told_by_its_code(
    locked: Services, tmp_path: Path
) -> None:
    context, authority = certificate(tmp_path)
    trusted = f"?ssl_ca_certs={authority}"
    async with redis_gate(locked.redis_url, context) as gate:
        place = f"127.0.0.1:{gate.port}/0"
        for url, code in (
            (f"rediss://:{PASSWORD}@{place}", "redis_certificate_untrusted"),
            (f"rediss://:guess@{place}{trusted}", "redis_refused"),
            (f"rediss://{place}{trusted}", "redis_refused"),
            (f"redis://:{PASSWORD}@{place}", "redis_unavailable"),
        ):
            with pytest.raises(StoreError) as refusal:
                await RedisClient.connect(url)
            assert refusal.value.code == code, url
            assert "guess" not in str(refusal.value) + refusal.value.hint


async def test_replica_is_told_as_what_it_is_and_nothing_is_acknowledged(
    own_services: Services,
) -> None:
    views = [compiled("patient_simple")]
    async with speed_stack(own_services.postgres_dsn, own_services.redis_url, views) as stack:
        await stack.refresher.refresh()
        redis = stack.redis.connection.redis
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        for changes in ([Change.put(patient("p1"))], [Change.put(patient(n)) for n in "ab"]):
            with pytest.raises(StoreError) as refusal:
                await stack.writer.apply(changes, provenance="test")
            assert (refusal.value.code, refusal.value.retryable) == ("redis_read_only", True)
            assert "primary" in refusal.value.hint
        assert await stack.live("patient_simple", "id") == []
        await redis.execute_command("REPLICAOF", "NO", "ONE")
        await stack.writer.apply([Change.put(patient("p1"))], provenance="test")
        assert await stack.live("patient_simple", "id") == [("p1",)]


async def test_failover_behind_a_name_is_followed_by_reconnecting(
    own_services: Services, redis_url: str
) -> None:
    async with redis_gate(own_services.redis_url) as gate:
        url = f"redis://127.0.0.1:{gate.port}/0"
        client = await RedisClient.connect(url)
        await asyncio.gather(
            *(client.set_fhir_resource("Patient", f"p{n}", patient(f"p{n}")) for n in range(8))
        )
        old = Redis.from_url(own_services.redis_url)
        await old.execute_command("REPLICAOF", "127.0.0.1", "1")
        gate.target = redis_url
        written = await client.set_fhir_resource("Patient", "p9", patient("p9"))
        assert written.outcome == "stored"
        assert await client.count("Patient") == 1
        await client.close()
        await old.aclose()


@pytest_asyncio.fixture
async def stack(own_services: Services) -> AsyncIterator[SpeedStack]:
    views = [compiled("patient_simple")]
    async with speed_stack(own_services.postgres_dsn, own_services.redis_url, views) as opened:
        await opened.refresher.refresh()
        yield opened


async def test_policy_that_changes_while_it_runs_stops_writes_until_it_is_right_again(
    stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.speed.projector.FITNESS_INTERVAL_S", 0.05)
    await stack.writer.apply([Change.put(patient("p1"))], provenance="test")
    stop = asyncio.Event()
    running = asyncio.create_task(stack.projector.run(stop))
    redis = stack.redis.connection.redis
    await redis.config_set("maxmemory-policy", "allkeys-lru")

    async def told(code: str | None) -> bool:
        return stack.projector.state.last_error_code == code

    assert await until(lambda: told("redis_eviction_enabled"), timeout_s=WAIT_S)
    with pytest.raises(StoreError) as refusal:
        await stack.writer.apply([Change.put(patient("p2"))], provenance="test")
    assert refusal.value.code == "redis_eviction_enabled"
    assert await stack.live("patient_simple", "id") == [("p1",)]
    await redis.config_set("maxmemory-policy", "noeviction")
    assert await until(lambda: told(None), timeout_s=WAIT_S)
    await stack.writer.apply([Change.put(patient("p2"))], provenance="test")
    stop.set()
    await running


def test_keys_of_one_type_stay_in_one_slot() -> None:
    for name in model().resource_names():
        keys = [*upsert_keys(name, "p1"), entry_key(name, "x" * 64), index_key(name),
                changes_key(name), state_key(name)]  # fmt: skip
        assert len({key_slot(key.encode()) for key in keys}) == 1
