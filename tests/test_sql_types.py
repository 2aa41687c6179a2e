"""The tag `ansi/type` names a column's SQL type; what it cannot mean is refused with its place."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.compiler.column import Column, carried
from researchflow_runners.compiler.sql_types import (
    CARRIED,
    NAMED_TYPES,
    REFUSED_TYPES,
    base_type,
    named_type,
)
from researchflow_runners.errors import FhirPathError, ViewDefinitionError
from researchflow_runners.sql import compose, param
from researchflow_server.tools.result import dumped

TAG_PLACE = "select[0].column[0].tag[0].value"


@pytest.mark.parametrize(
    ("written", "pg_type", "size_max"),
    [
        ("VARCHAR(3)", "varchar(3)", 3),
        (" character   varying ( 3 ) ", "varchar(3)", 3),
        ("Char Varying", "text", None),
        ("CHAR(10485760)", "varchar(10485760)", 10_485_760),
        ("character large object", "text", None),
        ("DECIMAL(10,2)", "numeric(10,2)", None),
        ("numeric ( 10 , 2 )", "numeric(10,2)", None),
        ("Dec(5)", "numeric(5,0)", None),
        ("NUMERIC", "numeric", None),
        ("int", "integer", None),
        ("double precision", "double precision", None),
        ("FLOAT(53)", "double precision", None),
        ("TIME(0)", "time(0)", None),
        ("time without time zone", "time", None),
        ("TIMESTAMP(3) WITH TIME ZONE", "timestamptz(3)", None),
        ("timestamp with time zone", "timestamptz", None),
        ("TIMESTAMP (6) WITHOUT TIME ZONE", "timestamp(6)", None),
        ("BINARY VARYING(16)", "bytea", 16),
        ("Blob", "bytea", None),
    ],
)
def test_names_are_read_in_any_case_and_spacing(
    written: str, pg_type: str, size_max: int | None
) -> None:
    found = named_type(written)
    assert (found.pg_type, found.size_max) == (pg_type, size_max)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "()",
        "VARCHAR()",
        "VARCHAR(0)",
        "VARCHAR(10485761)",
        "VARCHAR(-1)",
        "VARCHAR(3",
        "VARCHAR(3); DROP TABLE x",
        "VARCHAR(99999999999999999999)",
        "DECIMAL(0)",
        "DECIMAL(1001)",
        "DECIMAL(2,3)",
        "DECIMAL(1,2,3)",
        "FLOAT(54)",
        "REAL(3)",
        "TIME(7)",
        "TIMEWITH TIME ZONE",
        "DATE WITH TIME ZONE",
        "INTEGER WITHOUT TIME ZONE",
        "TEXT[]",
        "uuid",
        "D\u0130ATE",
        "X" * 1_000,
        *REFUSED_TYPES,
    ],
)
def test_other_names_are_refused_with_those_that_exist(written: str) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        named_type(written)
    error = caught.value
    assert (error.code, error.allowed) == ("column_type", tuple(NAMED_TYPES))
    assert error.hint.endswith(".")
    assert len(error.message) < 200


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        compile_view(view("status", "INTEGR"))
    assert (caught.value.did_you_mean, caught.value.field) == ("INTEGER", TAG_PLACE)


def view(path: str, tag: str | None, **more: Any) -> dict[str, Any]:
    column = {"name": "x", "path": path, **more}
    if tag is not None:
        column["tag"] = [{"name": "ansi/type", "value": tag}]
    return {"resource": "Observation", "select": [{"column": [column]}]}


@pytest.mark.parametrize(
    ("path", "tag", "more"),
    [
        ("value.ofType(boolean)", "DATE", {}),
        ("value.ofType(boolean)", "INTEGER", {}),
        ("issued", "DATE", {}),
        ("status", "TIMESTAMP", {}),
        ("code", "TEXT", {}),
        ("value.ofType(Quantity).value", "BOOLEAN", {}),
        ("value.ofType(string)", "BLOB", {}),
        ("category.text", "TEXT", {"collection": True}),
    ],
)
def test_a_type_that_cannot_hold_the_values_is_refused_at_its_place(
    path: str, tag: str, more: dict[str, Any]
) -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view(path, tag, **more))
    assert (caught.value.code, caught.value.field) == ("column_type", TAG_PLACE)
    assert "'x'" in caught.value.message


def test_a_declared_type_stays_beside_the_sql_type() -> None:
    (column,) = compile_view(view("effective.ofType(dateTime)", "DATE", type="dateTime")).columns
    assert (column.fhir_type, column.pg_type, column.has_range) == ("dateTime", "date", False)
    (column,) = compile_view(view("effective.ofType(dateTime)", "VARCHAR(10)")).columns
    assert (column.pg_type, column.has_range) == ("varchar(10)", True)


RESOURCE = """{"resources": [{"resourceType": "Observation", "id": "o", "status": "final",
 "effectiveDateTime": "2024-06-01", "issued": "2024-06-01T10:00:00.5+02:00",
 "valueQuantity": {"value": 1.50},
 "component": [{"valueBoolean": true}, {"valueInteger": 7}, {"valueTime": "08:30:00"}],
 "extension": [{"url": "http://example.org/bytes", "valueBase64Binary": "aGVsbG8="}]}]}"""
#: PostgreSQL type → path, tag, the value in Python, and in the tools' JSON.
VALUES: dict[str, tuple[str, str | None, Any, Any]] = {
    "text": ("status", None, "final", "final"),
    "varchar": ("status", "VARCHAR(5)", "final", "final"),
    "boolean": ("component[0].value.ofType(boolean)", None, True, True),
    "smallint": ("component[1].value.ofType(integer)", "SMALLINT", 7, 7),
    "integer": ("component[1].value.ofType(integer)", None, 7, 7),
    "bigint": ("component[1].value.ofType(integer)", "BIGINT", 7, 7),
    "numeric": ("value.ofType(Quantity).value", None, Decimal("1.50"), "1.50"),
    "double precision": ("value.ofType(Quantity).value", "REAL", 1.5, 1.5),
    "date": ("effective.ofType(dateTime)", "DATE", date(2024, 6, 1), "2024-06-01"),
    "time": ("component[2].value.ofType(time)", "TIME", time(8, 30), "08:30:00"),
    "timestamp": (
        "issued",
        "TIMESTAMP",
        datetime(2024, 6, 1, 10, 0, 0, 500_000),
        "2024-06-01T10:00:00.500000",
    ),
    "timestamptz": (
        "issued",
        "TIMESTAMP WITH TIME ZONE",
        datetime(2024, 6, 1, 8, 0, 0, 500_000, tzinfo=UTC),
        "2024-06-01T08:00:00.500000+00:00",
    ),
    "bytea": (
        "extension('http://example.org/bytes').value.ofType(base64Binary)",
        "BLOB",
        b"hello",
        "aGVsbG8=",
    ),
}
JSON_TYPES = {"string": str, "boolean": bool, "integer": int, "number": float}


@pytest.mark.parametrize("stored", VALUES)
async def test_values_are_what_the_table_says(connection: asyncpg.Connection, stored: str) -> None:
    path, tag, expected, shown = VALUES[stored]
    compiled = compile_view(view(path, tag))
    (column,) = compiled.columns
    value = await fetched(connection, compiled)
    (left,) = json.loads(dumped([value]))
    assert (base_type(column.pg_type), type(value).__name__) == (stored, carried(column).python)
    assert (value, str(value), left) == (expected, str(expected), shown)
    assert type(left) is JSON_TYPES[str(carried(column).json_schema["type"])]


async def fetched(
    connection: asyncpg.Connection, compiled: CompiledView, document: str = RESOURCE
) -> Any:
    """The one value, as the driver gives it."""
    await connection.execute("SET TIME ZONE 'UTC'")
    source = compose(
        "(SELECT 1::bigint AS res_id, 'o' AS id, ({} -> 'resources' -> 0)::text AS text,"
        " NULL::jsonb AS meta)",
        param(document, "json"),
    )
    text, values = compiled.select(source).render()
    row = await connection.fetchrow(text, *values)
    return row["x"]


def test_every_stored_type_has_its_values_tested() -> None:
    assert set(VALUES) == CARRIED.keys() - {"jsonb"}


def test_lengths_and_lists_are_told() -> None:
    bounded = Column("c", "string", "varchar(5)", size_max=5)
    assert carried(bounded).json_schema == {"type": "string", "maxLength": 5}
    listed = Column("c", "string", "jsonb", collection=True)
    assert carried(listed).json_schema == {"type": "array"}


DIGITS = [("1.50", "1.50"), ("1e2", "100"), ("1E-7", "0.0000001"), ("-0.10", "-0.10"),
          ("123456789012345678901234567890.5", "123456789012345678901234567890.5")]  # fmt: skip


@pytest.mark.parametrize(("written", "shown"), DIGITS)
async def test_decimals_are_exact_however_they_are_written(
    connection: asyncpg.Connection, written: str, shown: str
) -> None:
    compiled = compile_view(view("value.ofType(Quantity).value", None))
    value = await fetched(connection, compiled, RESOURCE.replace("1.50", written))
    assert json.loads(dumped([value])) == [shown]
