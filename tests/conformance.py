"""Runs one case of the official test format against the compiler, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.sql import Sql, compose, param

Json = Mapping[str, Any]

INPUT = """
(SELECT row_number() OVER () AS res_id, r.v ->> 'id' AS id, r.v::text AS text,
        NULL::jsonb AS meta
 FROM jsonb_array_elements({resources}) AS r(v) WHERE r.v ->> 'resourceType' = {type})
"""


async def rows_of(
    connection: asyncpg.Connection, view: CompiledView, resources: Iterable[Json]
) -> list[dict[str, Any]]:
    """The view's public columns over the resources, JSON values as Python has them."""
    source = compose(
        INPUT,
        resources=param(json.dumps(list(resources)), "jsonb"),
        type=param(view.resource, "text"),
    )
    return await run(connection, view, view.select(source))


async def run(
    connection: asyncpg.Connection, view: CompiledView, select: Sql
) -> list[dict[str, Any]]:
    """The public columns of a compiled SELECT."""
    await connection.execute("SET TIME ZONE 'UTC'")
    sql, arguments = select.render()
    records = await connection.fetch(sql, *arguments)
    return [
        {column.name: _python(record[column.name], column.pg_type) for column in view.columns}
        for record in records
    ]


def _python(value: Any, pg_type: str) -> Any:
    if pg_type == "jsonb" and value is not None:
        return json.loads(value, parse_float=Decimal)
    return value


def frozen(value: Any) -> Any:
    """A hashable form in which true is not 1 and 1.50 is 1.5."""
    if isinstance(value, Mapping):
        return ("object", frozenset((key, frozen(one)) for key, one in value.items()))
    if isinstance(value, list):
        return ("array", tuple(frozen(one) for one in value))
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float | Decimal):
        return ("number", Decimal(str(value)))
    return value


def multiset(rows: Iterable[Json], columns: Iterable[str]) -> Counter[Any]:
    """Rows as a multiset; a column that a row leaves out is null."""
    names = list(columns)
    return Counter(tuple(frozen(row.get(name)) for name in names) for row in rows)


async def check_case(connection: asyncpg.Connection, resources: Iterable[Json], case: Json) -> None:
    """Fails unless the case's view gives what it expects."""
    if case.get("expectError"):
        await _check_error(connection, resources, case)
        return
    view = compile_view(case["view"])
    rows = await rows_of(connection, view, resources)
    names = [column.name for column in view.columns]
    if "expectColumns" in case:
        assert names == case["expectColumns"]
    if "expectCount" in case:
        assert len(rows) == case["expectCount"]
    if "expect" in case:
        unexpected = {key for row in case["expect"] for key in row} - set(names)
        assert not unexpected
        assert multiset(rows, names) == multiset(case["expect"], names)


async def _check_error(
    connection: asyncpg.Connection, resources: Iterable[Json], case: Json
) -> None:
    try:
        rows = await rows_of(connection, compile_view(case["view"]), resources)
    except (ResearchFlowError, asyncpg.PostgresError):
        return
    raise AssertionError(f"expected an error, got {len(rows)} rows")
