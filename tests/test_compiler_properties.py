"""Compiled views and the oracle give the same rows, or both refuse, whatever the view and data.

`--hypothesis-profile=long` runs the many cases; the default is a quick sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance import multiset, rows_of
from generators import patients, views
from oracle import OracleError, rows
from researchflow_runners.compiler import compile_view
from researchflow_runners.conformance.run import DATA_ERROR_CLASSES
from researchflow_runners.errors import StatementError


async def outcome_of_compiled(
    connection: asyncpg.Connection, view: Mapping[str, Any], resources: list[Any]
) -> Any:
    compiled = compile_view(view)
    names = [column.name for column in compiled.columns]
    try:
        return multiset(await rows_of(connection, compiled, resources), names)
    except StatementError as error:
        # Several items where one may be; a value that its type does not allow.
        if not error.sqlstate.startswith(DATA_ERROR_CLASSES):
            raise
        return "refused"


def outcome_of_oracle(view: Mapping[str, Any], resources: list[Any]) -> Any:
    try:
        found = rows(view, resources)
    except OracleError:
        return "refused"
    names = [column.name for column in compile_view(view).columns]
    return multiset(found, names)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(view=views(), resources=st.lists(patients(), min_size=1, max_size=4))
async def test_compiled_rows_are_the_oracles(
    connection: asyncpg.Connection, view: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    for number, resource in enumerate(resources):
        resource["id"] = f"p{number}"
    compiled = await outcome_of_compiled(connection, view, resources)
    assert compiled == outcome_of_oracle(view, resources), json.dumps(view)


async def test_both_refuse_several_values(connection: asyncpg.Connection) -> None:
    view = {"resource": "Patient", "select": [{"column": [{"name": "c", "path": "name.family"}]}]}
    one = [{"resourceType": "Patient", "id": "p", "name": [{"family": "A"}, {"family": "B"}]}]
    assert await outcome_of_compiled(connection, view, one) == "refused"
    assert outcome_of_oracle(view, one) == "refused"


@pytest.mark.parametrize("family", ["A", "B"])
async def test_the_comparison_sees_a_difference(
    connection: asyncpg.Connection, family: str
) -> None:
    view = {"resource": "Patient", "select": [{"column": [{"name": "c", "path": "name.family"}]}]}
    one = [{"resourceType": "Patient", "id": "p", "name": [{"family": family}]}]
    other = [{"resourceType": "Patient", "id": "p", "name": [{"family": "C"}]}]
    compiled = await outcome_of_compiled(connection, view, one)
    assert compiled == outcome_of_oracle(view, one)
    assert compiled != outcome_of_oracle(view, other)
