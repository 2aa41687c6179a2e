"""Compiled views and the oracle give the same rows, or both refuse, whatever the view and data.

`--hypothesis-profile=long` runs the many cases; the default is a quick sample. A sample runs on
every PostgreSQL in test_every_postgresql.py.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expression_generators import definitions_with_anything, views_of_anything
from generators import patients, views
from oracle_comparison import (
    REFUSED,
    check_against_oracle,
    outcome_of_compiled,
    outcome_of_oracle,
)
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import FhirPathError, ViewDefinitionError
from walk_generators import responses, walking_views


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(view=views(), resources=st.lists(patients(), min_size=1, max_size=4))
async def test_compiled_rows_are_the_oracles(
    connection: asyncpg.Connection, view: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    await check_against_oracle(connection, view, resources)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(view=walking_views(), resources=st.lists(responses, min_size=1, max_size=3))
async def test_compiled_walks_are_the_oracles(
    connection: asyncpg.Connection, view: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    await check_against_oracle(connection, view, resources)


@settings(
    deadline=None,
    max_examples=settings().max_examples * 3,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(view=views_of_anything())
async def test_any_expression_is_refused_or_runs(
    connection: asyncpg.Connection, view: dict[str, Any]
) -> None:
    """Most are badly typed; what compiles gives rows, or fails for what the data hold."""
    with suppress(FhirPathError):
        await outcome_of_compiled(connection, compile_view(view), RICH)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(view=definitions_with_anything())
def test_any_definition_is_refused_or_compiles(view: dict[str, Any]) -> None:
    with suppress(ViewDefinitionError, FhirPathError):
        compile_view(view)


RICH = [
    json.dumps(one)
    for one in json.loads(Path(__file__).with_name("rich_patients.json").read_text())
]
FAMILY = compile_view(
    {"resource": "Patient", "select": [{"column": [{"name": "c", "path": "name.family"}]}]}
)


def named(*families: str) -> list[str]:
    """One Patient with these family names."""
    names = [{"family": family} for family in families]
    return [json.dumps({"resourceType": "Patient", "id": "p", "name": names})]


async def test_both_refuse_several_values(connection: asyncpg.Connection) -> None:
    assert await outcome_of_compiled(connection, FAMILY, named("A", "B")) == REFUSED
    assert outcome_of_oracle(FAMILY, named("A", "B")) == REFUSED


@pytest.mark.parametrize("family", ["A", "B"])
async def test_the_comparison_sees_a_difference(
    connection: asyncpg.Connection, family: str
) -> None:
    compiled = await outcome_of_compiled(connection, FAMILY, named(family))
    assert compiled == outcome_of_oracle(FAMILY, named(family))
    assert compiled != outcome_of_oracle(FAMILY, named("C"))


async def test_column_that_no_node_decides_may_fail_where_there_is_no_node(
    connection: asyncpg.Connection,
) -> None:
    always_two = {"name": "c", "path": "'A' | 'B'", "type": "string"}
    over_none = {"forEach": "name.period.distinct()", "column": [always_two]}
    view = {"resource": "Patient", "select": [over_none]}
    assert outcome_of_oracle(compile_view(view), named(), eager=True) == REFUSED
    await check_against_oracle(connection, view, [{"resourceType": "Patient"}])
