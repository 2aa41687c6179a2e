"""Reports where the source is a replica: it may be behind, and says up to where it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from replica import Pair, replicated
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.source.load import delete_resource, put_resource
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.source.tables import HAPI_DDL
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.database import Database
from speed_stack import SpeedStack, compiled, patient


@pytest_asyncio.fixture(scope="module")
async def pair(services_directory: Path) -> AsyncIterator[Pair]:
    async with replicated(services_directory / "reports", HAPI_DDL) as opened:
        yield opened


@pytest_asyncio.fixture
async def stack(pair: Pair, postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    """A warehouse of its own that reads the replica; patient ada is materialised."""
    async with pair.primary.session() as session:
        await session.execute("TRUNCATE hfj_resource, hfj_res_ver CASCADE")
    await put_resource(pair.primary, patient("ada"))
    await pair.caught_up()
    database = await Database.connect(postgres_dsn)
    await database.install_schema()
    redis = await RedisClient.connect(redis_url)
    views = [compiled("patient_simple")]
    source = HapiSource(pair.replica)
    projector = Projector(database, redis, views)
    writer = ChangeWriter(database=database, redis=redis, projector=projector, source=source)
    refresher = Refresher(database, source, views)
    await refresher.refresh()
    yield SpeedStack(database, redis, views, projector, writer, refresher)
    await redis.close()
    await database.close()


async def genders(stack: SpeedStack) -> dict[str, str]:
    return dict(await stack.live("patient_simple", "id, gender"))


async def origins(stack: SpeedStack) -> list[str]:
    rows = "SELECT array_agg(id || ' ' || origin ORDER BY id, version) FROM"
    found: list[str] | None = await stack.value(f"{rows} researchflow.overlay_entry")
    return found or []


async def test_what_the_replica_lacks_is_believed_until_it_must_have_it(
    pair: Pair, stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.pause()
    await put_resource(pair.primary, patient("ada", "male"))
    real = Change.put(patient("ada", "male", meta={"versionId": "2"}))
    ghost = Change.put(patient("ghost", meta={"versionId": "1"}))
    outcomes = await stack.writer.hear([real, ghost], provenance="subscription")
    assert [one.origin for one in outcomes] == ["reported", "reported"]
    await stack.writer.settle()
    await stack.refresher.refresh()
    assert await genders(stack) == {"ada": "male", "ghost": "female"}
    await pair.resume()
    await pair.caught_up()
    await stack.writer.settle()
    assert await origins(stack) == ["ada source", "ghost reported"]
    monkeypatch.setattr(
        "researchflow_runners.source.replay.CLOCKS_APART_MAX", timedelta(seconds=-60)
    )
    await stack.writer.settle()
    assert await genders(stack) == {"ada": "male"}


async def test_refresh_over_a_replica_keeps_what_it_may_not_know(
    pair: Pair, stack: SpeedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.pause()
    await delete_resource(pair.primary, "Patient", "ada")
    await stack.writer.hear([Change.delete("Patient", "ada")], provenance="subscription")
    assert await genders(stack) == {}
    await stack.refresher.refresh()
    assert await genders(stack) == {}
    await pair.resume()
    await pair.caught_up()
    monkeypatch.setattr(
        "researchflow_runners.source.replay.CLOCKS_APART_MAX", timedelta(seconds=-60)
    )
    await stack.refresher.refresh()
    assert (await genders(stack), await origins(stack)) == ({}, [])


async def test_report_that_the_replica_bears_out_is_its_own(pair: Pair, stack: SpeedStack) -> None:
    await put_resource(pair.primary, patient("ada", "male"))
    await pair.caught_up()
    late = Change.put(patient("ada", "other", meta={"versionId": "1"}))
    (outcome,) = await stack.writer.hear([late], provenance="subscription")
    assert (outcome.origin, outcome.version) == ("source", 2)
    assert await genders(stack) == {"ada": "male"}
