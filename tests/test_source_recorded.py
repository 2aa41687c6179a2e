"""Rows that a real HAPI server wrote give the JSON that it answered with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from conftest import SHARED
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import compile_view
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.store.database import Database
from researchflow_runners.views import shipped_views
from warehouse import open_warehouse

RECORDED = SHARED / "hapi"
BASE_URL = "http://127.0.0.1:18611/fhir"


@pytest.fixture(scope="module")
def recorded() -> Path:
    if not RECORDED.is_dir():
        pytest.skip("needs the recorded server in ../shared/hapi, which is not there")
    return RECORDED


@pytest_asyncio.fixture
async def database(empty_dsn: str, recorded: Path) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(empty_dsn)
    for name in ("schema.sql", "data.sql"):
        lines = (recorded / name).read_text().splitlines()
        # psql's own commands.
        await connection.execute("\n".join(one for one in lines if not one.startswith("\\")))
    await connection.close()
    opened = await Database.connect(empty_dsn)
    yield opened
    await opened.close()


def exactly(text: str) -> Any:
    """The JSON with its decimals as they are written."""
    return json.loads(text, parse_float=Decimal)


async def test_every_recorded_resource_is_what_the_server_answered(
    database: Database, recorded: Path
) -> None:
    expected = {
        (one["resourceType"], one["id"]): one
        for one in map(exactly, (recorded / "expected.ndjson").read_text().splitlines())
    }
    source = HapiSource(database, SourceOptions(base_urls=(BASE_URL,)))
    found = {}
    async with source.snapshot() as snapshot:
        for resource_type, resource_id in expected:
            content = await snapshot.content(resource_type, resource_id)
            assert content is not None, (resource_type, resource_id)
            own = {"id": content.id, "meta": exactly(content.meta)}
            found[resource_type, resource_id] = {**exactly(content.text), **own}
        counted = await snapshot.counts()
    assert found == expected
    assert sum(counted.values()) == len(expected) == 63


async def test_recorded_deletions_are_deleted(database: Database, recorded: Path) -> None:
    async with HapiSource(database).snapshot() as snapshot:
        for line in (recorded / "deleted.txt").read_text().splitlines():
            reference, _word, res_id, _version, number, *_rest = line.split()
            head = await snapshot.head(*reference.split("/"))
            assert head is not None
            assert (head.deleted, head.res_id, head.version) == (True, int(res_id), int(number))
            assert await snapshot.content(*reference.split("/")) is None


async def test_views_over_the_recorded_tables_join_and_lose_nothing(
    database: Database, postgres_dsn: str
) -> None:
    views = [compile_view(one) for one in shipped_views()]
    source = HapiSource(database, SourceOptions.checked(base_urls=[BASE_URL]))
    async with open_warehouse(postgres_dsn) as house:
        result = await Refresher(house.database, source, views).refresh()
        patients = dict(await house.fetch("SELECT id, patient_id FROM sqlonfhir.observation_labs"))
    assert sum(view.dead_letters for view in result.views) == 0
    assert all(count.agrees for count in result.counts)
    assert (patients["t-aref"], patients["t-vref"], patients["t-oref"]) == ("t-pat", "t-pat", None)
