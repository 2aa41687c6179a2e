"""A replica as source: its answers are as old as what it has replayed, and say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from clinic import compiled
from replica import Pair, replicated
from researchflow_runners.batch.pending import check_source
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.errors import FreshnessError
from researchflow_runners.hybrid.postgres import PostgresRunner
from researchflow_runners.query.model import Query
from researchflow_runners.source import HapiSource
from researchflow_runners.source.findings import look_at_source
from researchflow_runners.source.load import put_resource
from researchflow_runners.source.tables import HAPI_DDL
from researchflow_runners.store.database import Database
from warehouse import PEOPLE, Warehouse, patient
from warehouse import compiled as views_of

QUERY = Query(view="patient_simple", columns=("id",))


@pytest_asyncio.fixture(scope="module")
async def pair(services_directory: Path) -> AsyncIterator[Pair]:
    async with replicated(services_directory / "pair", HAPI_DDL) as opened:
        yield opened


@pytest_asyncio.fixture
async def warehouse(empty_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(empty_dsn)
    await opened.install_schema()
    yield opened
    await opened.close()


async def put(pair: Pair, *ids: str) -> None:
    for one in ids:
        await put_resource(pair.primary, patient(one))
    await pair.caught_up()


async def test_replica_is_read_like_a_primary(pair: Pair, warehouse: Database) -> None:
    await put(pair, "a", "b")
    source = HapiSource(pair.replica)
    assert (await look_at_source(source)).is_replica
    house = Warehouse(warehouse, source)
    refreshed = await Refresher(warehouse, source, views_of(PEOPLE)).refresh()
    assert {row[0] for row in await house.rows()} >= {"a", "b"}
    assert refreshed.counts[0].agrees


@pytest.mark.failure("replica-behind")
async def test_what_a_paused_replica_lacks_is_no_newer_than_its_last_replay(
    pair: Pair, warehouse: Database
) -> None:
    await put(pair, "seen")
    source = HapiSource(pair.replica)
    await pair.pause()
    try:
        await put_resource(pair.primary, patient("unseen"))
        async with pair.primary.session() as session:
            committed_at = await session.fetchval("SELECT now()")
        direct = await PostgresRunner(source, cursor_key=b"k" * 32).query(
            QUERY, {"patient_simple": compiled("patient_simple")[0]}
        )
        refreshed = await Refresher(warehouse, source, views_of(PEOPLE)).refresh()
        (patients,) = await check_source(warehouse, source, ["Patient"])
    finally:
        await pair.resume()
    assert ["unseen"] not in [list(row) for row in direct.rows]
    assert direct.data_as_of < committed_at
    assert direct.computed_at >= committed_at
    assert direct.age_s == direct.staleness_s
    assert direct.age_s == (direct.computed_at - direct.data_as_of).total_seconds()
    assert refreshed.data_as_of < committed_at
    assert patients.checked_at < committed_at


@pytest.mark.failure("replica-behind")
async def test_direct_answer_older_than_it_may_be_is_refused(pair: Pair) -> None:
    await put(pair, "old")
    runner = PostgresRunner(HapiSource(pair.replica), cursor_key=b"k" * 32)
    views = {"patient_simple": compiled("patient_simple")[0]}
    await pair.pause()
    try:
        answer = await runner.query(QUERY, views)
        assert answer.staleness_s is not None
        strict = QUERY.model_copy(update={"max_staleness_s": answer.staleness_s})
        with pytest.raises(FreshnessError) as caught:
            await runner.query(strict, views)
    finally:
        await pair.resume()
    assert caught.value.code == "staleness_exceeded"
    assert "replica" in caught.value.hint


async def test_replica_that_replayed_no_commit_yet_claims_no_freshness(
    own_directory: Path,
) -> None:
    async with replicated(own_directory, HAPI_DDL) as pair:
        async with pair.replica.session() as session:
            assert await session.fetchval("SELECT pg_last_xact_replay_timestamp()") is None
        async with HapiSource(pair.replica).snapshot() as snapshot:
            complete_at, now = await snapshot.complete_at(), await snapshot.now()
        async with pair.primary.session() as session:
            checkpoint_at = await session.fetchval(
                "SELECT checkpoint_time FROM pg_control_checkpoint()"
            )
    assert complete_at <= now
    assert complete_at == checkpoint_at
    assert now - complete_at < timedelta(minutes=5)
