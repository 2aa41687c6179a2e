"""Prompts, completions and anchors as a client of either era gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
)

from researchflow_runners.batch.anchors import pin_anchor
from researchflow_runners.source.synthetic import hospital
from researchflow_server.contract import TOOL_NAMES
from researchflow_server.embedded import Services
from researchflow_server.mcp.completions import VALUES_MAX
from researchflow_server.mcp.prompts import JOBS
from tool_server import Era, ToolServer, in_own_task, module_stores, tool_server

VIEWS = ResourceTemplateReference(uri="researchflow://views/{name}")
ANCHORS = ResourceTemplateReference(uri="researchflow://anchors/{anchor}")
#: Arguments with which each prompt is told.
WELL = {
    "count_cohort": {"who": "women over 50 with type 2 diabetes", "code": "44054006"},
    "profile_view": {"view": "observation_labs", "column": "value_quantity"},
    "explain_changes": {"since": "first", "view": "patient_simple"},
    "draw_distribution": {"view": "patient_demographics", "column": "gender", "by": "state"},
}


@pytest_asyncio.fixture(scope="module")
async def served(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    home: Path = tmp_path_factory.mktemp("prompts")
    async with (
        module_stores(services, number=4) as (dsn, redis_url),
        tool_server(dsn, redis_url, home) as opened,
    ):
        await opened.put(*hospital(5, 20))
        await opened.call("refresh_views")
        await opened.put({"resourceType": "Patient", "id": "late"})
        await opened.call("refresh_views")
        await pin_anchor(opened.runtime.stores.warehouse, "first", 1)
        yield opened


@pytest_asyncio.fixture(params=["auto", "legacy"])
async def client(served: ToolServer, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    era: Era = request.param
    async with in_own_task(Client(served.server, mode=era)) as opened:
        yield opened


async def completed(client: Client, ref: Any, name: str, typed: str, **given: str) -> list[str]:
    result = await client.complete(
        ref, {"name": name, "value": typed}, context_arguments=given or None
    )
    return result.completion.values


async def test_every_prompt_tells_a_job_with_tools_that_exist(client: Client) -> None:
    listed = (await client.list_prompts()).prompts
    assert [one.name for one in listed] == list(JOBS) == list(WELL)
    for one in listed:
        told = await client.get_prompt(one.name, WELL[one.name])
        (message,) = told.messages
        assert isinstance(message.content, TextContent)
        text = message.content.text
        assert all(value in text for value in WELL[one.name].values())
        assert "None" not in text
        assert any(tool in text for tool in TOOL_NAMES)
        called = set(re.findall(r"\b[a-z]+_[a-z]+\b", text)) & {"query_view", "describe_view"}
        assert called <= set(TOOL_NAMES)
        required = {argument.name for argument in one.arguments or [] if argument.required}
        assert required <= WELL[one.name].keys()


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("profile_views", {}, 'did you mean "profile_view"'),
        ("profile_view", {}, 'needs the argument "view"'),
        ("profile_view", {"view": " "}, 'needs the argument "view"'),
        ("profile_view", {"view": "patient_simpel"}, 'did you mean "patient_simple"'),
        ("profile_view", {"view": "patient_simple", "column": "gendr"}, 'did you mean "gender"'),
        ("count_cohort", {"who": "all", "whom": "x"}, 'did you mean "who"'),
        ("count_cohort", {"who": "x" * 3_000}, "longer than 2000 characters"),
    ],
)
async def test_wrong_prompt_says_what_is_wrong(
    client: Client, name: str, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.error.code == INVALID_PARAMS
    assert words in caught.value.error.message


async def test_view_and_column_complete_from_what_there_is(client: Client) -> None:
    assert await completed(client, VIEWS, "name", "patient_") == [
        "patient_simple", "patient_demographics", "patient_events",
    ]  # fmt: skip
    profile = PromptReference(name="profile_view")
    assert "observation_labs" in await completed(client, profile, "view", "LABS")
    assert await completed(client, profile, "column", "gen", view="patient_simple") == ["gender"]
    everywhere = await completed(client, profile, "column", "value_q")
    assert everywhere == ["value_quantity"]


async def test_code_completes_from_the_data_by_digits_and_by_words(client: Client) -> None:
    cohort = PromptReference(name="count_cohort")
    assert "44054006" in await completed(client, cohort, "code", "4405")
    assert "44054006" in await completed(client, cohort, "code", "type 2 diab")
    assert await completed(client, cohort, "code", "no such words at all") == []
    assert await completed(client, cohort, "who", "women") == []


async def test_anchor_completes_from_pins_and_numbers(client: Client) -> None:
    assert await completed(client, ANCHORS, "anchor", "") == ["first", "2", "1"]
    changes = PromptReference(name="explain_changes")
    assert await completed(client, changes, "since", "fi") == ["first"]


async def test_more_values_than_a_client_takes_are_cut_and_told(client: Client) -> None:
    result = await client.complete(
        PromptReference(name="profile_view"), {"name": "column", "value": ""}
    )
    assert len(result.completion.values) == VALUES_MAX
    assert result.completion.has_more is True
    assert (result.completion.total or 0) > VALUES_MAX


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (PromptReference(name="nothing"), "view"),
        (PromptReference(name="profile_view"), "code"),
        (ResourceTemplateReference(uri="researchflow://nothing/{name}"), "name"),
        (VIEWS, "anchor"),
    ],
)
async def test_completion_of_what_nothing_has_is_an_error(
    client: Client, ref: Any, name: str
) -> None:
    with pytest.raises(MCPError) as caught:
        await client.complete(ref, {"name": name, "value": ""})
    assert caught.value.error.code == INVALID_PARAMS


async def test_newest_and_pinned_anchors_are_resources_beside_the_views(client: Client) -> None:
    listed = {str(one.uri): one for one in (await client.list_resources()).resources}
    anchors = [uri for uri in listed if uri.startswith("researchflow://anchors")]
    assert anchors == [f"researchflow://anchors{end}" for end in ("", "/2", "/1")]
    assert "pinned as first" in (listed["researchflow://anchors/1"].description or "")
    assert "researchflow://views/care_plans" in listed


async def test_server_says_that_it_completes(client: Client) -> None:
    capabilities = client.server_capabilities
    assert capabilities is not None
    assert capabilities.completions is not None
    assert capabilities.prompts is not None
