"""A large answer is cut where a cursor goes on: every row comes once, no result is too large."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

PATIENTS = 900
BYTES_MAX = 24_000


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server of many patients, refreshed."""
    async with (
        module_stores(services, number=6) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(*(patient(f"patient-{n:04}", birthDate="1960") for n in range(PATIENTS)))
        await server.call("refresh_views")
        yield server


async def pages(tools: ToolServer, **asked: Any) -> list[dict[str, Any]]:
    found = [await tools.call("query_view", **asked, detail="full")]
    while found[-1]["next_cursor"]:
        cursor = found[-1]["next_cursor"]
        found.append(await tools.call("query_view", **asked, cursor=cursor, detail="full"))
    return found


@pytest.mark.parametrize("freshness", ["live", "anchored"])
@pytest.mark.parametrize("order_by", [[], [{"column": "birth_date"}, {"column": "gender"}]])
async def test_cut_answers_together_hold_every_row_once(
    tools: ToolServer, freshness: str, order_by: list[dict[str, Any]]
) -> None:
    found = await pages(
        tools, view="patient_simple", limit=10_000, freshness=freshness, order_by=order_by
    )
    assert len(found) > 1
    ids = [row[0] for page in found for row in page["rows"]]
    assert ids == [f"patient-{n:04}" for n in range(PATIENTS)]
    for page in found:
        assert len(json.dumps(page, separators=(",", ":")).encode()) <= BYTES_MAX
        assert page["truncated"] is (page["next_cursor"] is not None)
        assert page["row_count"] == len(page["rows"])
    assert "next_cursor" in found[0]["warnings"][0]
    assert found[-1]["warnings"] == []


async def test_an_answer_that_fits_is_not_cut(tools: ToolServer) -> None:
    (page,) = await pages(tools, view="patient_simple", columns=["id"], limit=1_000)
    assert (page["row_count"], page["truncated"]) == (PATIENTS, False)


async def test_limit_and_cut_are_told_apart(tools: ToolServer) -> None:
    page = await tools.call("query_view", view="patient_simple", limit=10, detail="full")
    assert (page["row_count"], page["truncated"], page["warnings"]) == (10, True, [])


async def test_a_row_larger_than_a_result_is_refused(tools: ToolServer) -> None:
    huge = {**patient("huge"), "name": [{"family": "y" * 30_000}]}
    await tools.call("cache_resources", resources=[huge])
    error = await tools.error(
        "query_view",
        view="patient_demographics",
        where={"column": "id", "op": "eq", "value": "huge"},
    )
    assert (error["code"], error["field"]) == ("row_too_large", "columns")
