"""PostgreSQL or Redis goes away under a server: one clear error, no loss, no restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from prometheus_server import until
from researchflow_runners.errors import StoreError
from researchflow_server.embedded import Services, running, services_in
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import Settings, read_settings
from tool_server import ToolServer, tool_server

RECOVERY_S = 20

#: Nothing is refreshed by itself: the tests do it.
UNHURRIED: dict[str, Any] = {"snapshot_s": 0.2, "refresh_objective_s": 0}


@pytest_asyncio.fixture
async def tools(own_services: Services, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """A server over services of its own, one patient materialised and one inserted."""
    stores = (own_services.postgres_dsn, own_services.redis_url)
    async with tool_server(*stores, tmp_path, background=True, **UNHURRIED) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        await server.call("cache_resources", resources=[patient("bea")])
        yield server


@pytest.mark.failure("redis-down")
async def test_redis_gone_answers_go_on_marked_and_changes_are_refused(
    tools: ToolServer, own_services: Services
) -> None:
    await own_services.redis.kill()
    answer = await tools.call("query_view", view="patient_simple")
    assert answer["row_count"] == 2
    assert [one["code"] for one in answer["degradations"]] == ["redis_unavailable"]
    error = await tools.error("cache_resources", resources=[patient("carl")])
    assert (error["code"], error["retryable"]) == ("redis_unavailable", True)

    await own_services.redis.start()

    async def undegraded() -> bool:
        again = await tools.call("query_view", view="patient_simple")
        return "degradations" not in again

    assert await until(undegraded, timeout_s=RECOVERY_S)
    await tools.call("cache_resources", resources=[patient("carl")])
    after = await tools.call("query_view", view="patient_simple", columns=["id"])
    assert [row[0] for row in after["rows"]] == ["ada", "bea", "carl"]


@pytest.mark.failure("postgres-down")
async def test_postgres_gone_is_retryable_and_recovers_without_restart(
    tools: ToolServer, own_services: Services
) -> None:
    await own_services.postgres.kill()
    for tool, arguments in (
        ("list_views", {}),
        ("describe_view", {"view": "patient_simple"}),
        ("query_view", {"view": "patient_simple"}),
        ("cache_resources", {"resources": [patient("carl")]}),
        ("refresh_views", {}),
    ):
        error = await tools.error(tool, **arguments)
        assert (error["code"], error["retryable"]) == ("postgres_unavailable", True)
    assert (await tools.call("get_statistics"))["warehouse_up"] is False

    await own_services.postgres.start()

    async def answers() -> bool:
        result = await tools.result("query_view", view="patient_simple")
        return not result.is_error

    assert await until(answers, timeout_s=RECOVERY_S)
    answer = await tools.call("query_view", view="patient_simple", columns=["id"])
    assert [row[0] for row in answer["rows"]] == ["ada", "bea"]


@pytest.fixture
def settings(own_services: Services, tmp_path: Path) -> Settings:
    return read_settings(
        {},
        home=tmp_path,
        database_url=own_services.postgres_dsn,
        redis_url=own_services.redis_url,
    )


@pytest.mark.failure("redis-absent-at-start")
async def test_a_server_starts_without_redis_and_takes_changes_when_it_comes(
    own_services: Services, tmp_path: Path
) -> None:
    await own_services.redis.stop()
    stores = (own_services.postgres_dsn, own_services.redis_url)
    async with tool_server(*stores, tmp_path, background=True, **UNHURRIED) as server:
        await server.put(patient("ada"))
        await server.call("refresh_views")
        degraded = await server.call("query_view", view="patient_simple")
        assert [one["code"] for one in degraded["degradations"]] == ["redis_unavailable"]
        await own_services.redis.start()

        async def takes() -> bool:
            result = await server.result("cache_resources", resources=[patient("bea")])
            return not result.is_error

        assert await until(takes, timeout_s=RECOVERY_S)


@pytest.mark.failure("postgres-absent-at-start")
async def test_a_server_without_postgres_does_not_start_and_says_why(
    own_services: Services, settings: Settings
) -> None:
    await own_services.postgres.stop()
    with pytest.raises(StoreError) as refused:
        async with open_runtime(settings, background=False):
            pass
    assert refused.value.code == "postgres_unavailable"


@pytest.mark.failure("embedded-killed")
async def test_embedded_services_that_were_killed_are_started_again(own_directory: Path) -> None:
    settings = read_settings({}, home=own_directory, **UNHURRIED)
    embedded = services_in(settings.embedded_path)
    async with open_runtime(settings, background=True) as runtime:
        await embedded.postgres.kill()
        await embedded.redis.kill()

        async def both_answer() -> bool:
            snapshot = await runtime.fresh_snapshot()
            return snapshot.warehouse_up and snapshot.redis_up

        assert await until(both_answer, timeout_s=RECOVERY_S)
    assert not running(settings.embedded_path)
