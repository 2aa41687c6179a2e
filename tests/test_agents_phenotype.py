"""Cohorts of the synthetic hospital, against SQL over the raw JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents_ward import examples, has_condition, raw_count
from researchflow_agents.client import ToolClient
from researchflow_agents.phenotype import Phenotype, parse_phenotype, run_phenotype
from researchflow_agents.phenotype.reading import read_json
from researchflow_runners.source.synthetic import hospital
from researchflow_server.contract import Query
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

ON = "2026-03-01"
FIRST = "(rpad(j ->> 'birthDate', 10, '-01-01'))::date"
LAST = (
    "CASE length(j ->> 'birthDate') WHEN 10 THEN (j ->> 'birthDate')::date"
    f" WHEN 7 THEN ({FIRST} + interval '1 month - 1 day')::date"
    f" ELSE ({FIRST} + interval '1 year - 1 day')::date END"
)


def aged(low: int, high: int) -> str:
    """SQL: of that age whichever day of a half-known birth date is the real one."""
    ages = (f"extract(year FROM age(DATE '{ON}', {birth}))" for birth in (FIRST, LAST))
    return " AND ".join(f"{age} BETWEEN {low} AND {high}" for age in ages)


DIABETES = has_condition("E11%", "44054006")
ANY_DIABETES = has_condition("E10%", "E11%", "E13%", "44054006")
HYPERTENSION = has_condition("I10%", "59621000", "38341003")
LABS = """FROM r WHERE r.type = 'Observation'
    AND r.j -> 'subject' ->> 'reference' = 'Patient/' || p.id
    AND r.j -> 'code' -> 'coding' @> '[{"code": "4548-4"}]'
    AND r.j -> 'category' @> '[{"coding": [{"code": "laboratory"}]}]'
    AND r.j ->> 'status' IN ('final', 'amended', 'corrected')"""
ORDERED = """EXISTS (SELECT 1 FROM r WHERE r.type = 'MedicationRequest'
    AND r.j -> 'subject' ->> 'reference' = 'Patient/' || p.id
    AND r.j ->> 'status' IN ('active', 'completed', 'on-hold', 'stopped')"""
METFORMIN = ORDERED + " AND r.j -> 'medicationCodeableConcept' ->> 'text' ILIKE '%metformin%')"

EXPECTED = {
    "diabetes_and_hypertension": (DIABETES, HYPERTENSION),
    "diabetes_hba1c_above_8": (
        DIABETES,
        f"EXISTS (SELECT 1 {LABS} AND (r.j -> 'valueQuantity' ->> 'value')::numeric > 8)",
    ),
    "hypertension_40_to_60_without_diabetes": (
        aged(40, 60),
        HYPERTENSION,
        f"NOT {ANY_DIABETES}",
    ),
    "hypertension_women_under_65": (
        "j ->> 'gender' = 'female'",
        aged(18, 64),
        HYPERTENSION,
    ),
    "no_prescription": (f"NOT {ORDERED})",),
    "three_hba1c_in_two_years": (
        METFORMIN,
        f"""(SELECT count(*) {LABS}
            AND left(coalesce(r.j ->> 'effectiveDateTime', r.j -> 'effectivePeriod' ->> 'start'),
                10) BETWEEN '2024-03-01' AND '{ON}') >= 3""",
    ),
}


@pytest_asyncio.fixture(scope="module")
async def stage(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[ToolServer, str]]:
    """The hospital, refreshed, and the DSN of its source; these tests only read."""
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(*hospital())
        await server.call("refresh_views")
        yield server, dsn


@pytest_asyncio.fixture(scope="module")
async def client(stage: tuple[ToolServer, str]) -> AsyncIterator[ToolClient]:
    async with ToolClient.connect(stage[0].server) as connected:
        yield connected


def example(name: str) -> Phenotype:
    """A shipped example on a fixed day."""
    (path,) = [path for path in examples("phenotype") if path.stem == name]
    return parse_phenotype({**read_json(path), "on": ON})


def test_every_example_is_checked() -> None:
    assert {path.stem for path in examples("phenotype")} == set(EXPECTED)


@pytest.mark.parametrize("freshness", ["anchored", "live"])
@pytest.mark.parametrize("name", EXPECTED)
async def test_attrition_counts_what_the_raw_records_say(
    stage: tuple[ToolServer, str], client: ToolClient, name: str, freshness: str
) -> None:
    result = await run_phenotype(client, example(name), freshness=freshness)  # type: ignore[arg-type]
    conditions = EXPECTED[name]
    raw = [
        await raw_count(stage[1], " AND ".join(f"({each})" for each in conditions[: number + 1]))
        for number in range(len(conditions))
    ]
    assert [step.count for step in result.attrition] == raw
    assert result.count == raw[-1] > 0
    assert result.patients == await raw_count(stage[1], "true")


@pytest.mark.parametrize("name", EXPECTED)
async def test_attrition_falls_and_each_step_is_the_cohort_of_its_prefix(
    client: ToolClient, name: str
) -> None:
    asked = example(name)
    steps = (await run_phenotype(client, asked)).attrition
    before = None
    for number, step in enumerate(steps, start=1):
        prefix = asked.model_copy(update={"all_of": asked.all_of[:number]})
        alone = await run_phenotype(client, prefix)
        assert alone.count == step.count
        assert before is None or step.count == before - step.removed <= before
        before = step.count


async def test_result_is_dated_and_its_call_repeats_the_count(client: ToolClient) -> None:
    result = await run_phenotype(client, example("diabetes_and_hypertension"))
    assert (result.anchor, result.freshness) == (1, "anchored")
    assert result.data_as_of is not None
    assert result.call.tool == "query_view"
    again = await client.query_view(Query.model_validate(result.call.arguments))
    assert again.rows == [[result.count]]
    assert again.anchor == result.anchor


async def test_code_that_never_occurs_is_named(client: ToolClient) -> None:
    result = await run_phenotype(
        client,
        parse_phenotype(
            {
                "title": "typo",
                "all_of": [
                    {"label": "dm", "kind": "condition", "system": "icd10", "codes": ["E12.9"]}
                ],
            }
        ),
    )
    assert result.count == 0
    assert '"dm": no record has the code "E12.9"' in result.warnings
