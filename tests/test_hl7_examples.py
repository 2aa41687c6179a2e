"""Views that read everything of every FHIR type, over HL7's own examples.

Every view of every type compiles; over the examples it gives the oracle's rows, or refuses a
resource for what the oracle refuses it for. Damaged examples give rows or are refused.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from conftest import SHARED
from oracle_comparison import outcome_of_compiled, outcome_of_oracle
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.fhir import model
from whole_type import views_of

EXAMPLES = SHARED / "data" / "edge" / "hl7-r4-examples.ndjson.gz"
JUNK = [
    None,
    True,
    -1.5,
    "",
    "x",
    "2020-13-45",
    [],
    {},
    [None],
    [1, "a"],
    {"a": 1},
    10**30,
    "9" * 400,
]
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


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object or list with every key in it."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from places(value[key])


def damaged(text: str, chance: Random) -> str:
    """The resource with one value of another shape."""
    resource = json.loads(text)
    found = [(holder, key) for holder, key in places(resource) if key != "resourceType"]
    holder, key = chance.choice(found)
    holder[key] = chance.choice(JUNK)
    return json.dumps(resource)


@pytest.mark.parametrize("resource", TYPES)
async def test_damaged_examples_give_rows_or_are_refused(
    connection: asyncpg.Connection, shared_dir: Path, resource: str
) -> None:
    chance = Random(resource)
    for text in examples().get(resource, [])[:3]:
        for view in compiled(resource)[:3]:
            await outcome_of_compiled(connection, view, [damaged(text, chance)])


def test_examples_are_of_nearly_every_type(shared_dir: Path) -> None:
    assert len(examples()) > 130
