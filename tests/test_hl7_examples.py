"""Views that read everything of every FHIR type, over HL7's own examples.

Every view of every type compiles; over the examples it gives the oracle's rows, or refuses a
resource for what the oracle refuses it for.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import asyncpg
import pytest

from conftest import SHARED
from oracle_comparison import outcome_of_compiled, outcome_of_oracle
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.fhir import model
from whole_type import views_of

EXAMPLES = SHARED / "data" / "edge" / "hl7-r4-examples.ndjson.gz"
TYPES = model().resource_names()


@cache
def examples() -> dict[str, list[str]]:
    """The examples' texts by resource type."""
    found: dict[str, list[str]] = {}
    with gzip.open(EXAMPLES, "rt", encoding="utf-8") as lines:
        for line in lines:
            found.setdefault(json.loads(line)["resourceType"], []).append(line)
    return found


@cache
def compiled(resource: str) -> tuple[CompiledView, ...]:
    """The views of a type, compiled without a resource at hand."""
    return tuple(compile_view(view) for view in views_of(resource))


@pytest.mark.parametrize("resource", TYPES)
def test_every_view_of_a_type_compiles_without_resources(resource: str) -> None:
    assert all(view.columns for view in compiled(resource))


@pytest.mark.parametrize("resource", TYPES)
async def test_examples_give_the_oracles_rows(
    connection: asyncpg.Connection, shared_dir: Path, resource: str
) -> None:
    texts = examples().get(resource, [])
    for view in compiled(resource):
        found = await outcome_of_compiled(connection, view, texts)
        assert found == outcome_of_oracle(view, texts), json.dumps(view.definition)


def test_examples_are_of_nearly_every_type(shared_dir: Path) -> None:
    assert len(examples()) > 130
