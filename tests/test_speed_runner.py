"""A view over the cached resources alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.errors import QueryError, ViewDefinitionError
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.runner import SpeedLayerRunner
from researchflow_runners.store.database import Database
from speed_stack import definition, patient


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = await RedisClient.connect(redis_url)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def runner(redis: RedisClient, empty_dsn: str) -> AsyncIterator[SpeedLayerRunner]:
    database = await Database.connect(empty_dsn)
    yield SpeedLayerRunner(redis, database)
    await database.close()


def condition(condition_id: str, patient_id: str, code: str, text: str = "") -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": condition_id,
        "subject": {"reference": f"Patient/{patient_id}"},
        "code": {
            "coding": [{"system": "http://snomed.info/sct", "code": code}],
            **({"text": text} if text else {}),
        },
    }


async def cache(redis: RedisClient, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        await redis.set_fhir_resource(body["resourceType"], body["id"], body)


PATIENTS = definition("patient_simple")
CONDITIONS = definition("condition_simple")


async def test_empty_cache_gives_zero_and_says_of_what(runner: SpeedLayerRunner) -> None:
    since = datetime(2024, 1, 1, tzinfo=UTC)
    result = await runner.execute(PATIENTS, since=since)
    assert (result.view_name, result.source) == ("patient_simple", "speed_layer")
    assert (result.total_count, result.patient_ids, result.resources, result.rows) == (
        0,
        (),
        (),
        (),
    )
    assert (result.since, result.truncated) == (since, False)
    assert result.query_timestamp.tzinfo is not None


async def test_three_patients_give_three_ids_resources_and_rows(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    await cache(redis, patient("p1"), patient("p2", "male"), patient("p3"))
    result = await runner.execute(PATIENTS)
    assert result.total_count == 3
    assert sorted(result.patient_ids) == ["p1", "p2", "p3"]
    assert sorted(one["id"] for one in result.resources) == ["p1", "p2", "p3"]
    position = [column.name for column in result.columns].index("gender")
    assert sorted(row[position] for row in result.rows) == ["female", "female", "male"]


async def test_gender_filter_is_exact(redis: RedisClient, runner: SpeedLayerRunner) -> None:
    await cache(redis, patient("p1", "female"), patient("p2", "male"), patient("p3", "female"))
    assert (await runner.execute(PATIENTS, {"gender": "male"})).patient_ids == ("p2",)
    assert (await runner.execute(PATIENTS, {"gender": ["male", "female"]})).total_count == 3
    with pytest.raises(QueryError) as caught:
        await runner.execute(PATIENTS, {"gender": "mal"})
    assert (caught.value.code, caught.value.did_you_mean) == ("value_never_matches", "male")


async def test_three_conditions_of_two_patients_count_two_patients(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    await cache(
        redis, condition("c1", "a", "1"), condition("c2", "a", "2"), condition("c3", "b", "1")
    )
    result = await runner.execute(CONDITIONS)
    assert (result.total_count, len(result.resources)) == (2, 3)
    assert sorted(result.patient_ids) == ["a", "b"]


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({"code": "44054006"}, ["c1"]),
        ({"code": "4405400"}, []),
        ({"code": "http://snomed.info/sct|44054006"}, ["c1"]),
        ({"code": "http://loinc.org|44054006"}, []),
        ({"code": "Hypertension"}, ["c2"]),
        ({"code": "Hyper"}, []),
        ({"code": ["44054006", "Hypertension"]}, ["c1", "c2"]),
        ({"patient": "a"}, ["c1"]),
        ({"patient": "Patient/b", "code": "38341003"}, ["c2"]),
        ({"subject": "b"}, ["c2", "c3"]),
        ({"_id": "c3"}, ["c3"]),
        ({"code_text": "Hypertension", "patient": "b"}, ["c2"]),
        ({"code_text": None}, ["c1", "c3"]),
    ],
)
async def test_filters_are_exact(
    redis: RedisClient, runner: SpeedLayerRunner, params: dict[str, Any], ids: list[str]
) -> None:
    await cache(
        redis,
        condition("c1", "a", "44054006"),
        condition("c2", "b", "38341003", "Hypertension"),
        condition("c3", "b", "1"),
    )
    result = await runner.execute(CONDITIONS, params)
    assert sorted(one["id"] for one in result.resources) == ids


async def test_family_and_given_names_are_found_among_all_names(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    names = [{"family": "Alt"}, {"family": "Neu", "given": ["Eva", "Maria"]}]
    await cache(redis, patient("p1", name=names), patient("p2", name=[{"family": "Neumann"}]))
    assert (await runner.execute(PATIENTS, {"family": "Neu"})).patient_ids == ("p1",)
    assert (await runner.execute(PATIENTS, {"given": "Maria"})).patient_ids == ("p1",)


async def test_view_filter_of_its_own_applies(redis: RedisClient, runner: SpeedLayerRunner) -> None:
    await cache(redis, patient("p1"), patient("p2", active=False))
    result = await runner.execute(definition("patient_demographics"))
    assert [one["id"] for one in result.resources] == ["p1"]


async def test_patient_with_two_names_is_one_resource(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    view = {
        "resourceType": "ViewDefinition",
        "status": "active",
        "name": "names",
        "resource": "Patient",
        "select": [
            {"column": [{"name": "id", "path": "getResourceKey()"}]},
            {"forEach": "name", "column": [{"name": "family", "path": "family"}]},
        ],
    }
    await cache(redis, patient("p1", name=[{"family": "A"}, {"family": "B"}]), patient("p2"))
    result = await runner.execute(view)
    assert result.rows == (("p1", "A"), ("p1", "B"))
    assert (result.total_count, len(result.resources)) == (1, 1)


async def test_since_keeps_what_was_received_at_or_after_it(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    await cache(redis, patient("p1"))
    first = await redis.get_fhir_resource("Patient", "p1")
    assert first is not None
    second = await redis.set_fhir_resource("Patient", "p2", patient("p2"))
    while second.received_at == first.received_at:
        second = await redis.set_fhir_resource("Patient", "p2", patient("p2"))
    assert (await runner.execute(PATIENTS, since=second.received_at)).patient_ids == ("p2",)
    with pytest.raises(QueryError) as refusal:
        await runner.execute(PATIENTS, since=datetime(2024, 1, 1))
    assert refusal.value.code == "naive_datetime"


async def test_max_resources_applies_after_the_filter_and_the_cut_is_told(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    await cache(redis, *(patient(f"m{n}", "male") for n in range(3)), patient("f", "female"))
    result = await runner.execute(PATIENTS, {"gender": "male"}, max_resources=2)
    assert (len(result.resources), result.truncated) == (2, True)
    result = await runner.execute(PATIENTS, {"gender": "male"}, max_resources=3)
    assert (len(result.resources), result.truncated) == (3, False)
    result = await runner.execute(PATIENTS, max_resources=3)
    assert (len(result.resources), result.truncated) == (3, True)
    with pytest.raises(QueryError) as refusal:
        await runner.execute(PATIENTS, max_resources=0)
    assert refusal.value.code == "max_resources_invalid"


async def test_types_are_independent_and_deleted_resources_are_gone(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    await cache(redis, patient("a"), condition("c1", "a", "1"), condition("c2", "b", "1"))
    await redis.delete("Condition", "c2")
    assert (await runner.execute(CONDITIONS)).patient_ids == ("a",)
    assert (await runner.execute(PATIENTS)).patient_ids == ("a",)


async def test_resource_whose_rows_fail_is_named_and_the_rest_is_given(
    redis: RedisClient, runner: SpeedLayerRunner
) -> None:
    two = [{"family": "Alt"}, {"family": "Neu"}]
    await cache(redis, patient("p1"), patient("p2", name=two), patient("p3"))
    families = {
        "resourceType": "ViewDefinition",
        "name": "families",
        "resource": "Patient",
        "select": [{"column": [{"name": "family", "path": "name.family"}]}],
    }
    result = await runner.execute(families)
    assert sorted(one["id"] for one in result.resources) == ["p1", "p3"]
    assert result.failed_ids == ("p2",)


async def test_unknown_parameter_is_refused_with_the_nearest_name(runner: SpeedLayerRunner) -> None:
    with pytest.raises(QueryError) as refusal:
        await runner.execute(PATIENTS, {"gendre": "male"})
    assert refusal.value.code == "unknown_search_parameter"
    assert refusal.value.did_you_mean == "gender"
    with pytest.raises(QueryError) as refusal:
        await runner.execute(PATIENTS, {"code": "x"})
    assert refusal.value.code == "unknown_search_parameter"


@pytest.mark.parametrize(
    "params", [{"active": "yes"}, {"family": 3}, {"family": []}, {"gender": {}}]
)
async def test_value_of_the_wrong_type_is_refused(
    runner: SpeedLayerRunner, params: dict[str, Any]
) -> None:
    with pytest.raises(QueryError) as refusal:
        await runner.execute(PATIENTS, params)
    assert refusal.value.code == "value_type"


async def test_unknown_resource_type_of_a_view_is_refused(runner: SpeedLayerRunner) -> None:
    with pytest.raises(ViewDefinitionError):
        await runner.execute({**PATIENTS, "resource": "Patiant"})
