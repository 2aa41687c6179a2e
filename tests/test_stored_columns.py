"""A column that repeats the resource's id is stored once and found by its index."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from researchflow_runners.sql import compose
from researchflow_runners.store.published import PublishedView, published_view
from researchflow_runners.store.relations import (
    anchored_relation,
    historical_relation,
    live_relation,
)
from warehouse import Warehouse, open_warehouse, patient

KEYED = {
    "name": "keyed",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "gender", "path": "gender"},
                {"name": "again", "path": "id"},
            ]
        }
    ],
}

#: Columns of the id's type that are another value, or none, in some rows.
OTHERWISE = {
    "name": "otherwise",
    "resource": "Patient",
    "select": [
        {
            "forEachOrNull": "contact",
            "column": [{"name": "on_null_row", "path": "%resource.id"}],
            "select": [{"forEachOrNull": "telecom", "column": [{"name": "v", "path": "value"}]}],
        },
        {"forEachOrNull": "photo", "column": [{"name": "also", "path": "%resource.id"}]},
        {
            "unionAll": [
                {"column": [{"name": "key", "path": "id", "type": "id"}]},
                {
                    "forEach": "link.other",
                    "column": [{"name": "key", "path": "getReferenceKey(Patient)", "type": "id"}],
                },
            ]
        },
    ],
}


@pytest_asyncio.fixture
async def together(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Source and warehouse in one database."""
    async with open_warehouse(postgres_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def published(together: Warehouse) -> PublishedView:
    await together.put(patient("a"))
    await together.put(patient("b"))
    await together.refresh([KEYED])
    async with together.database.session() as session:
        return await published_view(session, "keyed")


async def test_key_columns_are_not_stored(published: PublishedView) -> None:
    assert [name for name, _type in published.stored_columns] == [
        "_res_id",
        "_id",
        "_ord",
        "gender",
    ]


async def test_every_relation_gives_the_key_columns(
    together: Warehouse, published: PublishedView
) -> None:
    relations = (
        anchored_relation(published),
        historical_relation(published, 1),
        live_relation(published),
    )
    async with together.database.session() as session:
        for relation in relations:
            asked = compose("SELECT id, again, gender FROM {} AS r ORDER BY 1", relation)
            rows = [tuple(row) for row in await session.fetch(asked)]
            assert rows == [("a", "a", "female"), ("b", "b", "female")]


async def test_id_is_looked_up_by_index(together: Warehouse, published: PublishedView) -> None:
    asked = compose("EXPLAIN SELECT id FROM {} AS r WHERE id = 'a'", anchored_relation(published))
    async with together.database.transaction() as session:
        await session.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in await session.fetch(asked))
    assert "_id_idx" in plan


async def test_a_column_that_is_not_the_key_in_every_row_is_stored(together: Warehouse) -> None:
    await together.put(patient("a", link=[{"other": {"reference": "Patient/b"}}]))
    await together.refresh([OTHERWISE])
    assert await together.rows("otherwise") == [(None, None, None, "a"), (None, None, None, "b")]
