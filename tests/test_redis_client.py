"""The version-guarded cache of changed resources."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from researchflow_runners.errors import QueryError, SourceDataError, StoreError
from researchflow_runners.speed.change_log import ChangeLog
from researchflow_runners.speed.entry import Draft, Entry
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.resource import parse_resource


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    opened = await RedisClient.connect(redis_url)
    yield opened
    await opened.close()


def patient(patient_id: str, **values: object) -> dict[str, object]:
    return {"resourceType": "Patient", "id": patient_id, **values}


async def test_empty_cache_has_nothing_and_counts_a_miss(client: RedisClient) -> None:
    assert await client.get_fhir_resource("Patient", "p1") is None
    assert await client.scan_recent_resources("Patient") == []
    assert await client.count("Patient") == 0
    assert (client.statistics.hits, client.statistics.misses) == (0, 1)


async def test_every_look_for_a_resource_is_a_hit_or_a_miss(client: RedisClient) -> None:
    await client.set_fhir_resource("Patient", "p1", {"resourceType": "Patient"})
    assert (client.statistics.hits, client.statistics.misses) == (0, 0)
    assert len(await client.scan_recent_resources("Patient")) == 1
    assert (client.statistics.hits, client.statistics.misses) == (1, 0)
    assert len(await ChangeLog(client).entries("Patient", ["p1", "gone"])) == 1
    assert (client.statistics.hits, client.statistics.misses) == (2, 1)


async def test_stored_resource_is_found_with_its_id_and_version(client: RedisClient) -> None:
    result = await client.set_fhir_resource("Patient", "p1", {"resourceType": "Patient"}, version=3)
    assert (result.outcome, result.version, result.newest_version) == ("stored", 3, 3)
    assert result.received_at is not None
    assert result.expires_at == result.received_at + timedelta(hours=24)
    found = await client.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert found.resource == {"resourceType": "Patient", "id": "p1", "meta": {"versionId": "3"}}
    assert client.statistics.hits == 1


async def test_older_version_is_stale_and_same_version_a_duplicate(client: RedisClient) -> None:
    await client.set_fhir_resource("Patient", "p1", patient("p1", gender="female"), version=3)
    older = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=2)
    again = await client.set_fhir_resource(
        "Patient", "p1", patient("p1", gender="female"), version=3
    )
    other = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=3)
    assert (older.outcome, older.newest_version) == ("stale", 3)
    assert (again.outcome, again.same_content) == ("duplicate", True)
    assert (other.outcome, other.same_content) == ("duplicate", False)
    found = await client.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert found.resource is not None
    assert found.resource["gender"] == "female"


async def test_version_is_the_resources_own_or_follows_the_newest(client: RedisClient) -> None:
    own = await client.set_fhir_resource("Patient", "p1", patient("p1", meta={"versionId": "7"}))
    following = await client.set_fhir_resource("Patient", "p1", patient("p1"))
    deleted = await client.delete("Patient", "p1")
    assert [own.version, following.version, deleted.version] == [7, 8, 9]


async def test_late_update_does_not_undo_a_delete_but_a_new_version_does(
    client: RedisClient,
) -> None:
    await client.delete("Patient", "p1", version=3)
    late = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=2)
    assert late.outcome == "stale"
    assert await client.scan_recent_resources("Patient") == []
    tombstone = await client.get_fhir_resource("Patient", "p1")
    assert tombstone is not None
    assert tombstone.deleted
    created = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=4)
    assert created.outcome == "stored"
    assert [one.resource_id for one in await client.scan_recent_resources("Patient")] == ["p1"]


async def test_source_wins_over_a_provisional_entry_of_the_same_version(
    client: RedisClient,
) -> None:
    await client.set_fhir_resource("Patient", "p1", patient("p1", gender="male"), version=2)
    confirmed = await client.set_fhir_resource(
        "Patient", "p1", patient("p1", gender="female"), version=2, origin="source"
    )
    late = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=2)
    older = await client.set_fhir_resource("Patient", "p1", patient("p1"), version=1)
    assert (confirmed.outcome, confirmed.expires_at) == ("stored", None)
    assert (late.outcome, older.outcome) == ("duplicate", "stale")
    found = await client.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert (found.origin, found.resource and found.resource["gender"]) == ("source", "female")
    held, _now = await client.held("Patient", ["p1"])
    assert [entry.origin for entry in held["p1"]] == ["source"]


async def test_source_entry_is_seen_again_when_the_provisional_one_expires(
    client: RedisClient,
) -> None:
    await client.set_fhir_resource("Patient", "p1", patient("p1"), version=9, ttl_s=0.001)
    await client.set_fhir_resource("Patient", "p1", patient("p1"), version=2, origin="source")
    found = await client.get_fhir_resource("Patient", "p1")
    while found is not None and found.version == 9:
        found = await client.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert (found.origin, found.version) == ("source", 2)


async def test_scan_gives_newest_first_since_and_up_to_the_maximum(client: RedisClient) -> None:
    results = []
    for number in range(5):
        results.append(
            await client.set_fhir_resource("Patient", f"p{number}", patient(f"p{number}"))
        )
        while results[-1].received_at is not None and datetime.now(UTC) < results[
            -1
        ].received_at + timedelta(milliseconds=2):
            pass
    await client.set_fhir_resource("Condition", "c1", {"resourceType": "Condition"})

    async def ids(since: datetime | None = None, max_resources: int = 1000) -> list[str]:
        found = await client.scan_recent_resources("Patient", since, max_resources)
        return [one.resource_id for one in found]

    assert await ids() == ["p4", "p3", "p2", "p1", "p0"]
    assert await ids(since=results[3].received_at) == ["p4", "p3"]
    assert await ids(max_resources=2) == ["p4", "p3"]
    assert await client.count("Patient") == 5


@pytest.mark.parametrize(
    ("since", "max_resources", "code"),
    [
        (datetime(2024, 1, 1), 10, "naive_datetime"),
        (None, 0, "max_resources_invalid"),
        (None, 10_001, "max_resources_invalid"),
    ],
)
async def test_scan_refuses_what_it_cannot_honour(
    client: RedisClient, since: datetime | None, max_resources: int, code: str
) -> None:
    with pytest.raises(QueryError) as refusal:
        await client.scan_recent_resources("Patient", since, max_resources)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("resource_type", "resource_id", "resource", "code"),
    [
        ("Patiant", "p1", {}, "resource_type_unknown"),
        ("Patient", "p_1", {}, "resource_id_invalid"),
        ("Patient", "x" * 65, {}, "resource_id_invalid"),
        ("Patient", "p1", patient("p2"), "resource_mismatch"),
        ("Patient", "p1", {"resourceType": "Condition"}, "resource_mismatch"),
        ("Patient", "p1", "[1]", "resource_invalid"),
        ("Patient", "p1", "{", "resource_invalid"),
        ("Patient", "p1", b"\xff", "resource_invalid"),
        ("Patient", "p1", '{"resourceType":"Patient","x":1e400}', "resource_invalid"),
        ("Patient", "p1", '{"resourceType":"Patient","x":"\\u0000"}', "resource_invalid"),
        ("Patient", "p1", '{"resourceType":"Patient","x":"\\ud800"}', "resource_invalid"),
        ("Patient", "p1", '{"a":' * 10_000 + "1" + "}" * 10_000, "resource_invalid"),
        ("Patient", "p1", '{"a":' * 200 + "1" + "}" * 200, "resource_invalid"),
        ("Patient", "p1", patient("p1", x=float("nan")), "resource_invalid"),
        ("Patient", "p1", patient("p1", meta=[]), "resource_invalid"),
        ("Patient", "p1", patient("p1", meta={"versionId": "1a"}), "version_invalid"),
        ("Patient", "p1", patient("p1", meta={"versionId": "9007199254740992"}), "version_invalid"),
        ("Patient", "p1", patient("p1", x="y" * 1_100_000), "resource_too_large"),
    ],
)
@pytest.mark.failure("body-hostile")
async def test_bad_resource_is_refused_and_nothing_is_kept(
    client: RedisClient, resource_type: str, resource_id: str, resource: object, code: str
) -> None:
    with pytest.raises(SourceDataError) as refusal:
        await client.set_fhir_resource(resource_type, resource_id, resource)  # type: ignore[arg-type]
    assert refusal.value.code == code
    assert await client.count("Patient") == 0


async def test_resource_text_is_kept_as_written(client: RedisClient) -> None:
    text = '{"resourceType":"Observation","valueQuantity":{"value":1.50}}'
    await client.set_fhir_resource("Observation", "o1", text)
    found = await client.get_fhir_resource("Observation", "o1")
    assert found is not None
    assert found.text == text


async def test_ids_that_look_like_bookkeeping_stay_resources(client: RedisClient) -> None:
    for resource_id in ("index", "changes", "state"):
        await client.set_fhir_resource("Patient", resource_id, patient(resource_id))
    assert await client.count("Patient") == 3


def test_depth_is_not_called_bad_json() -> None:
    deep = '{"resourceType":"Patient","id":"a","extension":' + "[" * 10_000 + "]" * 10_000 + "}"
    with pytest.raises(SourceDataError) as refused:
        parse_resource(deep)
    assert refused.value.code == "resource_invalid"
    assert "nested" in refused.value.message


async def test_flush_empties_the_cache_and_leaves_other_keys(
    client: RedisClient, redis_url: str
) -> None:
    await client.set_fhir_resource("Patient", "p1", patient("p1"))
    await client.set_fhir_resource("Condition", "c1", {"resourceType": "Condition"})
    redis = Redis.from_url(redis_url)
    await redis.set("another", "application")
    assert await client.flush_all() == 2
    assert await redis.keys() == [b"another"]
    await redis.aclose()
    assert await client.count("Patient") == 0


@pytest.mark.failure("redis-evicts")
async def test_evicting_redis_is_refused(redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreError) as refusal:
            await RedisClient.connect(redis_url)
        assert refusal.value.code == "redis_eviction_enabled"
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose()


@pytest.mark.failure("redis-full")
async def test_full_memory_is_its_own_error_and_reads_go_on(
    client: RedisClient, redis_url: str
) -> None:
    await client.set_fhir_resource("Patient", "p1", patient("p1"))
    redis = Redis.from_url(redis_url)
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreError) as refusal:
            await client.set_fhir_resource("Patient", "p2", patient("p2"))
        assert refusal.value.code == "redis_out_of_memory"
        assert await client.get_fhir_resource("Patient", "p1") is not None
    finally:
        await redis.config_set("maxmemory", "0")
        await redis.aclose()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere.sock", "nonsense://x"])
async def test_unreachable_redis_is_retryable(url: str) -> None:
    with pytest.raises(StoreError) as refusal:
        await RedisClient.connect(url)
    assert refusal.value.code == "redis_unavailable"
    assert refusal.value.retryable


def _state(entry: Entry | None) -> tuple[object, ...] | None:
    return entry and (entry.version, entry.origin, entry.deleted, entry.text)


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[list[Draft], list[Draft]]:
    """Versions of three resources, and the same in any order with repeats."""
    drafts = []
    for resource_id in ("p1", "p2", "p3"):
        for version in range(1, draw(st.integers(1, 5)) + 1):
            body = patient(resource_id, birthDate=f"{2000 + version}")
            text = None if draw(st.booleans()) else json.dumps(body)
            for origin in draw(
                st.sampled_from([["source"], ["provisional"], ["source", "provisional"]])
            ):
                ttl_s = None if origin == "source" else 600.0
                drafts.append(Draft("Patient", resource_id, version, text, origin, ttl_s=ttl_s))
    repeats = draw(st.lists(st.sampled_from(drafts), max_size=10))
    return drafts, draw(st.permutations(drafts + repeats))


@given(deliveries=_deliveries())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_order_with_repeats_ends_in_one_state(
    client: RedisClient, deliveries: tuple[list[Draft], list[Draft]]
) -> None:
    drafts, shuffled = deliveries
    await client.flush_all()
    for draft in shuffled:
        await client.write([draft])
    for resource_id in ("p1", "p2", "p3"):
        mine = [draft for draft in drafts if draft.resource_id == resource_id]
        wanted = max(mine, key=lambda draft: (draft.version, draft.origin == "source"))
        found = await client.get_fhir_resource("Patient", resource_id)
        assert _state(found) == (wanted.version, wanted.origin, wanted.deleted, wanted.text)
