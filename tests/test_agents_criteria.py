"""Criteria on the edges: ages, half-known dates, thresholds, units, negation, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents_ward import cohort, phenotype, stored, ward
from clinic import lab, patient
from researchflow_agents.client import ToolClient
from researchflow_agents.errors import AgentError
from researchflow_agents.moment import open_moment
from researchflow_agents.phenotype import cohort_filter
from researchflow_agents.phenotype.agent import PATIENTS
from researchflow_server.contract import CacheResourcesInput
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

HBA1C = {"label": "hba1c", "kind": "lab", "codes": ["4548-4"]}
ABOVE_8 = {**HBA1C, "value": [{"op": "gt", "value": "8"}], "unit": "%"}
DIABETES = {"kind": "condition", "system": "icd10", "codes": ["E11.9"]}


@pytest_asyncio.fixture(scope="module")
async def client(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolClient]:
    """The ward, refreshed; these tests only read."""
    async with (
        module_stores(services, number=10) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(*stored(ward()))
        await server.call("refresh_views")
        async with ToolClient.connect(server.server) as connected:
            yield connected


@pytest_asyncio.fixture
async def own(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """The ward for this test alone."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as server:
        await server.put(*stored(ward()))
        await server.call("refresh_views")
        yield server


async def members(
    client: ToolClient, *criteria: dict[str, Any], on: str = "2025-06-15"
) -> set[str]:
    """The ids of the cohort."""
    asked = phenotype(*criteria, on=on)
    opening = await open_moment(client, freshness="anchored", on=asked.on)
    where = cohort_filter(asked, opening.moment)
    page = await client.query_view(opening.moment.query(PATIENTS, where, columns=["id"]))
    return {row[0] for row in page.rows}


@pytest.mark.parametrize(
    ("criterion", "on", "expected"),
    [
        ({"age_min": 65}, "2025-02-28", set()),
        ({"age_min": 65}, "2025-03-01", {"leap", "day"}),
        ({"age_max": 64}, "2025-02-28", {"leap", "day"}),
        ({"age_max": 64}, "2025-03-01", set()),
        ({"age_min": 64}, "2024-02-28", set()),
        ({"age_min": 64}, "2024-02-29", {"leap"}),
        ({"age_min": 64}, "2025-12-31", {"leap", "day", "year"}),
        ({"age_min": 64, "age_max": 64}, "2024-12-31", {"leap", "day", "year"}),
        ({"age_min": 40, "age_on": "2000-03-01"}, "2025-06-15", {"leap", "day"}),
        ({"birth_date": {"from": "1960", "until": "1960"}}, "2025-01-01", {"leap", "day", "year"}),
        ({"birth_date": {"until": "1960-02"}}, "2025-01-01", {"leap"}),
        ({"gender": ["male", "other"]}, "2025-01-01", {"day"}),
        ({"deceased": False}, "2025-01-01", {"leap", "day", "year", "unborn"}),
    ],
)
async def test_demographics_keep_exactly_who_is_known_to_fit(
    client: ToolClient, criterion: dict[str, Any], on: str, expected: set[str]
) -> None:
    assert await members(client, {"kind": "demographics", **criterion}, on=on) == expected


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (DIABETES, {"leap", "year"}),
        ({**DIABETES, "codes": ["E11"]}, set()),
        ({**DIABETES, "codes": ["E11"], "prefix": True}, {"leap", "year", "unborn"}),
        ({**DIABETES, "codes": ["E11.9"], "prefix": True}, {"leap", "year"}),
        ({"kind": "condition", "system": "snomed", "codes": ["E11.9"]}, AgentError),
        ({**DIABETES, "onset": {"from": "2020-06-01"}}, {"leap"}),
        ({**DIABETES, "onset": {"from": "2020", "until": "2020"}}, {"leap", "year"}),
        ({**DIABETES, "clinical_status": "active"}, {"leap", "year"}),
        ({**DIABETES, "clinical_status": ["resolved"]}, set()),
        (ABOVE_8, {"leap", "day"}),
        ({**ABOVE_8, "value": [{"op": "ge", "value": 8}]}, {"leap", "day"}),
        ({**ABOVE_8, "value": [{"op": "ge", "value": 8}], "min_count": 2}, {"leap"}),
        ({**ABOVE_8, "value": [{"op": "gt", "value": "8.01"}]}, {"leap"}),
        (
            {**ABOVE_8, "value": [{"op": "ge", "value": 5}, {"op": "lt", "value": 8}]},
            {"day"},
        ),
        ({**HBA1C, "window": {"from": "2023-05-01", "until": "2023-05-01"}}, {"day"}),
        ({**HBA1C, "window": {"last": {"years": 2}}}, {"leap", "year"}),
        ({**ABOVE_8, "window": {"until": "2020"}}, {"day"}),
    ],
)
async def test_records_count_only_when_they_provably_fit(
    client: ToolClient, criterion: dict[str, Any], expected: Any
) -> None:
    if expected is AgentError:
        with pytest.raises(AgentError):
            phenotype(criterion)
        return
    assert await members(client, criterion) == expected


@pytest.mark.parametrize(
    ("criterion", "expected", "undecided"),
    [
        (DIABETES, {"day", "unborn"}, 0),
        ({**DIABETES, "onset": {"from": "2020-06-01"}}, {"day", "unborn"}, 1),
        (ABOVE_8, {"unborn"}, 1),
        ({**ABOVE_8, "min_count": 2}, {"leap", "day", "year", "unborn"}, 0),
        ({**HBA1C, "window": {"until": "2023-04-30"}}, {"leap", "year", "unborn"}, 0),
        ({**HBA1C, "window": {"from": "2023-06-01"}}, {"day", "unborn"}, 0),
        ({"kind": "demographics", "age_min": 65, "age_on": "2025-03-01"}, set(), 2),
        ({"kind": "medication", "any": True}, {"leap", "day", "year", "unborn"}, 0),
        ({"not": DIABETES}, {"leap", "year"}, 0),
    ],
)
async def test_negation_keeps_only_who_provably_does_not_fit(
    client: ToolClient, criterion: dict[str, Any], expected: set[str], undecided: int
) -> None:
    assert await members(client, {"not": criterion}) == expected
    (step,) = (await cohort(client, {"not": criterion})).attrition
    assert (step.count, step.undecided) == (len(expected), undecided)


async def test_groups_combine_and_keep_what_is_undecided(client: ToolClient) -> None:
    women = {"kind": "demographics", "gender": "female"}
    late = {**DIABETES, "onset": {"from": "2020-06-01"}}
    assert await members(client, {"any_of": [late, ABOVE_8]}) == {"leap", "day"}
    assert await members(client, {"all_of": [late, ABOVE_8]}) == {"leap"}
    assert await members(client, {"not": {"any_of": [late, ABOVE_8]}}) == {"unborn"}
    assert await members(client, {"not": {"all_of": [late, ABOVE_8]}}) == {"day", "unborn"}
    assert await members(client, women, {"not": {"all_of": [late, ABOVE_8]}}) == {"unborn"}


async def test_threshold_over_mixed_units_is_refused_by_its_label(own: ToolServer) -> None:
    other = lab("mmol", "unborn", 64, valueQuantity={"value": 64, "unit": "mmol/mol"})
    await own.put(other)
    await own.call("refresh_views")
    async with ToolClient.connect(own.server) as client:
        with pytest.raises(AgentError) as caught:
            await cohort(client, ABOVE_8)
        assert (caught.value.code, caught.value.info.field) == ("unsupported", "hba1c.unit")
        assert '"mmol/mol" (1)' in caught.value.message
        kept = {**ABOVE_8, "other_units": "undecided"}
        assert await members(client, kept) == {"leap", "day"}
        assert await members(client, {"not": kept}) == set()
        both = {**ABOVE_8, "same_unit": ["mmol/mol"]}
        assert await members(client, both) == {"leap", "day", "unborn"}


async def test_steps_stay_at_the_first_answers_anchor(own: ToolServer) -> None:
    women = {"kind": "demographics", "gender": "female"}
    new = patient("new", birthDate="2000-01-01")
    async with ToolClient.connect(own.server) as client:
        assert (await cohort(client, women)).count == 3
        await client.cache_resources(CacheResourcesInput(resources=[new]))
        assert (await cohort(client, women)).count == 3
        live = await cohort(client, women, freshness="live")
        assert (live.count, live.freshness, live.attrition[0].undecided) == (4, "live", None)
        await own.put(new)
        await client.refresh_views()
        now, then = await cohort(client, women), await cohort(client, women, as_of=1)
        assert ((now.count, now.anchor), (then.count, then.anchor)) == ((4, 2), (3, 1))


async def test_unknown_anchor_is_the_tools_own_error(client: ToolClient) -> None:
    with pytest.raises(AgentError) as caught:
        await cohort(client, DIABETES, as_of=99)
    assert caught.value.hint
    assert caught.value.code != "protocol_error"


async def test_question_too_deep_is_refused_by_its_label(client: ToolClient) -> None:
    deep: dict[str, Any] = {**ABOVE_8, "window": {"from": "2020"}}
    for _ in range(4):
        deep = {"any_of": [{"all_of": [deep, DIABETES]}, DIABETES]}
    with pytest.raises(AgentError) as caught:
        await cohort(client, {**deep, "label": "deep"})
    assert (caught.value.code, caught.value.info.field) == ("unsupported", "deep")
