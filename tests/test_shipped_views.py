"""The shipped views give the rows that their descriptions promise."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from oracle import rows
from researchflow_runners.compiler import compile_view
from researchflow_runners.fhir import model
from researchflow_runners.views import SYSTEM_TAG, VIEW_NAMES, shipped_views
from researchflow_server.embedded import Services
from shipped import ask, bag, dumps, store, view_rows
from shipped_cases import EXPECTED, RESOURCES

SHIPPED = {view["name"]: view for view in shipped_views()}
COLUMNS = json.loads((Path(__file__).parent / "shipped_columns.json").read_text("utf-8"))
SAMPLE_PER_TYPE = 400
FANNING_OUT = {"procedure_history", "condition_codes", "observation_components"}
#: View, question about its rows, and the same question of the raw JSON, written by hand.
QUESTIONS = [
    (
        "patient_simple",
        "count(*) FILTER (WHERE gender = 'female')",
        "SELECT count(*) FROM resources WHERE res_type = 'Patient' AND doc ->> 'gender' = 'female'",
    ),
    (
        "patient_demographics",
        "count(*) FILTER (WHERE deceased)",
        "SELECT count(*) FROM resources WHERE res_type = 'Patient' AND doc ? 'deceasedDateTime'",
    ),
    (
        "patient_demographics",
        "count(DISTINCT full_name)",
        """SELECT count(DISTINCT (doc #>> '{name,0,given,0}') || ' ' || (doc #>> '{name,0,family}'))
           FROM resources WHERE res_type = 'Patient'""",
    ),
    (
        "condition_simple",
        "count(DISTINCT patient_id) FILTER (WHERE snomed_code = '10509002')",
        """SELECT count(DISTINCT doc #>> '{subject,reference}') FROM resources
           WHERE res_type = 'Condition'
             AND doc @> '{"code": {"coding": [{"code": "10509002"}]}}'""",
    ),
    (
        "condition_diagnoses",
        "count(*) FILTER (WHERE clinical_status = 'resolved')",
        """SELECT count(*) FROM resources WHERE res_type = 'Condition'
           AND doc @> '{"clinicalStatus": {"coding": [{"code": "resolved"}]}}'""",
    ),
    (
        "condition_codes",
        "count(*)",
        """SELECT sum(jsonb_array_length(doc #> '{code,coding}')) FROM resources
           WHERE res_type = 'Condition'""",
    ),
    (
        "medication_requests",
        "sum(dosage_timing_frequency)",
        """SELECT sum((doc #>> '{dosageInstruction,0,timing,repeat,frequency}')::int)
           FROM resources WHERE res_type = 'MedicationRequest'""",
    ),
    (
        "observation_labs",
        "sum(value_quantity)",
        """SELECT sum((doc #>> '{valueQuantity,value}')::numeric) FROM resources
           WHERE res_type = 'Observation'
             AND doc @> '{"category": [{"coding": [{"code": "laboratory"}]}]}'""",
    ),
    (
        "observation_labs",
        "count(*) FILTER (WHERE code = '4548-4' AND value_quantity > 6)",
        """SELECT count(*) FROM resources WHERE res_type = 'Observation'
             AND doc @> '{"category": [{"coding": [{"code": "laboratory"}]}],
                          "code": {"coding": [{"code": "4548-4"}]}}'
             AND (doc #>> '{valueQuantity,value}')::numeric > 6""",
    ),
    (
        "vital_signs",
        "count(systolic)",
        """SELECT count(*) FROM resources WHERE res_type = 'Observation'
             AND doc @> '{"category": [{"coding": [{"code": "vital-signs"}]}],
                          "component": [{"code": {"coding": [{"code": "8480-6"}]}}]}'""",
    ),
    (
        "observation_components",
        "count(*)",
        """SELECT sum(jsonb_array_length(doc -> 'component')) FROM resources
           WHERE res_type = 'Observation'""",
    ),
    (
        "procedure_history",
        "count(DISTINCT procedure_id)",
        "SELECT count(*) FROM resources WHERE res_type = 'Procedure'",
    ),
    (
        "encounters",
        "count(*) FILTER (WHERE class_code = 'EMER')",
        """SELECT count(*) FROM resources
           WHERE res_type = 'Encounter' AND doc #>> '{class,code}' = 'EMER'""",
    ),
    (
        "immunizations",
        "count(DISTINCT vaccine_code)",
        """SELECT count(DISTINCT doc #>> '{vaccineCode,coding,0,code}') FROM resources
           WHERE res_type = 'Immunization'""",
    ),
    (
        "allergies",
        "count(*) FILTER (WHERE category = 'food')",
        """SELECT count(*) FROM resources
           WHERE res_type = 'AllergyIntolerance' AND doc #>> '{category,0}' = 'food'""",
    ),
    (
        "diagnostic_reports",
        "count(*) FILTER (WHERE category = 'LAB')",
        "SELECT count(*) FROM resources WHERE res_type = 'DiagnosticReport'",
    ),
    (
        "care_plans",
        "count(DISTINCT patient_id) FILTER (WHERE category_code = '698360004')",
        """SELECT count(DISTINCT doc #>> '{subject,reference}') FROM resources
           WHERE res_type = 'CarePlan'
             AND doc @> '{"category": [{"coding": [{"code": "698360004"}]}]}'""",
    ),
    (
        "care_plans",
        "sum(addresses_count)",
        """SELECT sum(jsonb_array_length(doc -> 'addresses')) FROM resources
           WHERE res_type = 'CarePlan'""",
    ),
]
SYNTHEA_ROWS = {
    "patient_simple": 347,
    "patient_demographics": 347,
    "condition_simple": 2494,
    "condition_diagnoses": 2494,
    "medication_requests": 2582,
    "procedure_history": 7750,
    "encounters": 10238,
    "immunizations": 4294,
    "allergies": 224,
    "diagnostic_reports": 3389,
    "care_plans": 1006,
}


@pytest_asyncio.fixture
async def connection(services: Services) -> AsyncIterator[asyncpg.Connection]:
    """A connection of this test's own; its temporary tables go with it."""
    opened = await asyncpg.connect(services.postgres_dsn)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module")
async def synthea(services: Services, shared_dir: Path) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees every Synthea resource of the views' types."""
    opened = await asyncpg.connect(services.postgres_dsn)
    types = sorted({view["resource"] for view in SHIPPED.values()})
    await store(opened, (line for name in types for line in synthea_lines(shared_dir, name)))
    yield opened
    await opened.close()


def synthea_lines(shared_dir: Path, resource_type: str) -> list[str]:
    path = shared_dir / "data" / "synthea" / f"{resource_type}.ndjson.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return list(lines)


def all_columns(select: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(select.get("column", ()))
    for nested in (*select.get("select", ()), *select.get("unionAll", ())):
        found += all_columns(nested)
    return found


def test_views_come_in_a_fixed_order_and_as_fresh_copies() -> None:
    assert [view["name"] for view in shipped_views()] == list(VIEW_NAMES)
    shipped_views()[0]["select"].clear()
    assert shipped_views()[0]["select"]


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_view_has_exactly_the_columns_it_is_known_by(name: str) -> None:
    assert [column["name"] for column in all_columns(SHIPPED[name])] == COLUMNS[name]
    assert [column.name for column in compile_view(SHIPPED[name]).columns] == COLUMNS[name]


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_every_column_is_typed_described_and_codes_name_their_system(name: str) -> None:
    view = SHIPPED[name]
    assert view["resourceType"] == "ViewDefinition"
    assert (view["status"], view["fhirVersion"]) == ("active", ["4.0.1"])
    assert view["description"]
    described = {column["name"] for column in all_columns(view)}
    for column in all_columns(view):
        assert model().is_primitive(column["type"])
        assert column["description"].endswith(".")
        in_a_column = {"system", "code_system"} & described and column["name"] == "code"
        if column["type"] == "code" and not in_a_column:
            assert [tag["name"] for tag in column["tag"]] == [SYSTEM_TAG]


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_compiled_columns_keep_type_description_and_system(name: str) -> None:
    columns = {column.name: column for column in compile_view(SHIPPED[name]).columns}
    for written in all_columns(SHIPPED[name]):
        column = columns[written["name"]]
        tags = {tag["name"]: tag["value"] for tag in written.get("tag", ())}
        assert column.fhir_type == written["type"]
        assert column.description == written["description"]
        assert column.system == tags.get(SYSTEM_TAG)
        assert not column.collection


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_only_the_views_that_say_so_fan_out(name: str) -> None:
    assert compile_view(SHIPPED[name]).fans_out is (name in FANNING_OUT)


@pytest.mark.parametrize("name", VIEW_NAMES)
async def test_view_gives_the_rows_written_by_hand(
    connection: asyncpg.Connection, name: str
) -> None:
    await store(connection, map(dumps, RESOURCES))
    found = await view_rows(connection, compile_view(SHIPPED[name]))
    wanted = [{column: row.get(column) for column in COLUMNS[name]} for row in EXPECTED[name]]
    assert all(set(row) <= set(COLUMNS[name]) for row in EXPECTED[name])
    assert bag(found) == bag(wanted)
    several = len(found) - len({row["id"] for row in found})
    assert bool(several) is (name in FANNING_OUT)


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_oracle_gives_the_rows_written_by_hand(name: str) -> None:
    wanted = [{column: row.get(column) for column in COLUMNS[name]} for row in EXPECTED[name]]
    assert bag(rows(SHIPPED[name], RESOURCES)) == bag(wanted)


async def test_decimal_keeps_the_digits_it_was_written_with(
    connection: asyncpg.Connection,
) -> None:
    await store(connection, map(dumps, RESOURCES))
    found = await view_rows(connection, compile_view(SHIPPED["observation_labs"]))
    assert next(str(row["value_quantity"]) for row in found if row["id"] == "glucose") == "125.10"


@pytest.mark.parametrize("name", VIEW_NAMES)
async def test_view_agrees_with_the_oracle_on_synthea(
    connection: asyncpg.Connection, shared_dir: Path, name: str
) -> None:
    lines = synthea_lines(shared_dir, SHIPPED[name]["resource"])
    sample = lines[:: max(1, len(lines) // SAMPLE_PER_TYPE)]
    await store(connection, sample)
    found = await view_rows(connection, compile_view(SHIPPED[name]))
    wanted = rows(SHIPPED[name], [json.loads(line, parse_float=Decimal) for line in sample])
    assert found
    assert bag(found) == bag(wanted)


@pytest.mark.parametrize("name", VIEW_NAMES)
async def test_view_agrees_with_the_oracle_on_the_official_examples(
    connection: asyncpg.Connection, shared_dir: Path, name: str
) -> None:
    with gzip.open(shared_dir / "data" / "edge" / "hl7-r4-examples.ndjson.gz", "rt") as lines:
        resource = f'"{SHIPPED[name]["resource"]}"'
        texts = [line for line in lines if resource in line]
    await store(connection, texts)
    found = await view_rows(connection, compile_view(SHIPPED[name]))
    wanted = rows(SHIPPED[name], [json.loads(text, parse_float=Decimal) for text in texts])
    assert found
    assert bag(found) == bag(wanted)


@pytest.mark.parametrize(("name", "wanted"), SYNTHEA_ROWS.items())
async def test_view_has_the_known_number_of_synthea_rows(
    synthea: asyncpg.Connection, name: str, wanted: int
) -> None:
    assert await ask(synthea, compile_view(SHIPPED[name]), "count(*)") == wanted


@pytest.mark.parametrize(("name", "question", "raw"), QUESTIONS)
async def test_view_answers_as_hand_written_sql_over_the_raw_json(
    synthea: asyncpg.Connection, name: str, question: str, raw: str
) -> None:
    answer = await ask(synthea, compile_view(SHIPPED[name]), question)
    assert answer == await synthea.fetchval(raw)
    assert answer > 0
