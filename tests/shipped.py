"""Runs compiled views over resources given as JSON, with nothing between them and PostgreSQL."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from researchflow_runners.compiler import CompiledView
from researchflow_runners.sql import Sql, compose, fixed, param

Json = Mapping[str, Any]
Row = dict[str, Any]

#: Resources as compiled views read them; `doc` serves only queries that are no views.
CREATE_RESOURCES = """
CREATE TEMP TABLE resources (
    res_type text, res_id bigint, id text, text text, meta jsonb, doc jsonb
)
"""
FILL_RESOURCES = """
UPDATE resources
SET res_type = text::jsonb ->> 'resourceType', id = text::jsonb ->> 'id', doc = text::jsonb
"""


def dumps(resource: Json) -> str:
    """JSON text that keeps every decimal as it was written."""
    text = json.dumps(resource, default=lambda decimal: f"\0{decimal}\0")
    return re.sub(r'"\\u0000([^"\\]*)\\u0000"', r"\1", text)


async def store(connection: asyncpg.Connection, texts: Iterable[str]) -> None:
    """Puts the resources into a temporary table, numbered from 1."""
    await connection.execute(CREATE_RESOURCES)
    await connection.copy_records_to_table(
        "resources", columns=["res_id", "text"], records=enumerate(texts, start=1)
    )
    await connection.execute(FILL_RESOURCES)


def stored_rows(view: CompiledView) -> Sql:
    """The view over the stored resources of its type, as a parenthesised query."""
    source = compose(
        "(SELECT res_id, id, text, meta FROM resources WHERE res_type = {})",
        param(view.resource, "text"),
    )
    return compose("({})", view.select(source))


async def view_rows(connection: asyncpg.Connection, view: CompiledView) -> list[Row]:
    """The view's public columns over the stored resources of its type."""
    text, arguments = compose("SELECT * FROM {} AS rows", stored_rows(view)).render()
    names = [column.name for column in view.columns]
    return [{name: row[name] for name in names} for row in await connection.fetch(text, *arguments)]


async def ask(connection: asyncpg.Connection, view: CompiledView, question: str) -> Any:
    """The one value of `SELECT question FROM` the view."""
    statement = compose("SELECT {} FROM {} AS rows", fixed(question), stored_rows(view))
    text, arguments = statement.render()
    return await connection.fetchval(text, *arguments)


def bag(rows: Iterable[Row]) -> Counter[str]:
    """The rows as a multiset, numbers by value."""
    return Counter(json.dumps(row, sort_keys=True, default=by_value) for row in map(exact, rows))


def exact(row: Row) -> Row:
    """Integers and decimals alike, so that 120 and 120.0 are one number."""
    return {name: Decimal(value) if type(value) is int else value for name, value in row.items()}


def by_value(value: Any) -> str:
    return f"number {value.normalize():f}" if isinstance(value, Decimal) else str(value)
