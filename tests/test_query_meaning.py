"""Numbers keep their unit, codes their group, the dead their age, in answers with groups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import date
from decimal import Decimal
from statistics import stdev
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError, ViewDefinitionError
from researchflow_runners.query.model import Query
from researchflow_runners.query.period import parse_period
from researchflow_runners.query.sql import build_statement
from researchflow_runners.query.statement import Page, Statement
from researchflow_runners.sql import Sql, fixed
from researchflow_runners.store.database import Database
from researchflow_runners.views import shipped_views
from researchflow_server.embedded import Services

ON = date(2024, 6, 15)

PEOPLE = (
    Column("id", "id", "text"),
    Column("birth_date", "date", "text", died_at="deceased_date", died="deceased"),
    Column("deceased", "boolean", "boolean"),
    Column("deceased_date", "dateTime", "text"),
)
LABS = (
    Column("id", "id", "text"),
    Column("code", "code", "text"),
    Column("code_display", "string", "text", display_of="code"),
    Column("value", "decimal", "numeric", unit="value_unit"),
    Column("value_unit", "string", "text"),
    Column("count", "integer", "integer"),
)
CATALOGUE = {"people": PEOPLE, "labs": LABS}

#: Born; dead; when. The comment is the age to tell on 2024-06-15, or at death.
PERSONS: list[tuple[Any, ...]] = [
    ("a", "1950-06-16", False, None),  # 73, lives
    ("b", "1950-06-15", None, None),  # 74, nothing said
    ("c", "1950-01-01", True, "1999-12-31T23:30:00-05:00"),  # 50: it was 2000 in UTC
    ("d", "1950-01-01", True, "1999"),  # 49
    ("e", "1950-06-01", True, "2000"),  # 49 or 50
    ("f", "1950", True, "2000-07-01"),  # 49 or 50
    ("g", "1950-01-01", True, None),  # dead, nobody knows when
    ("h", "1950-01-01", True, "2030-01-01"),  # a death to come: 74
    ("i", None, True, "2000-01-01"),  # no birth date
]
RESULTS: list[tuple[Any, ...]] = [
    ("1", "glucose", "Glucose", Decimal("100"), "mg/dL", 1),
    ("2", "glucose", "Glucose​", Decimal("6"), "mmol/L", 2),
    ("3", "glucose", "Glucose", None, "mmol/L", 3),
    ("4", "sodium", "Sodium", Decimal("140"), "mmol/L", 4),
    ("5", "sodium", "Sodium level", Decimal("142"), "mmol/L", 5),
    ("6", "sodium", "Sodium", None, None, 6),
    ("7", "score", "Score", Decimal("1"), None, 7),
    ("8", "score", None, Decimal("2"), None, 8),
    ("9", "weight", "Weight", Decimal("70"), "kg", 9),
    ("10", "weight", "Weight", Decimal("71"), None, 10),
    ("11", None, "Told in words", Decimal("1"), "x", 11),
    ("12", None, "Told otherwise", Decimal("1"), "x", 12),
]
ROWS = {"people": PERSONS, "labs": RESULTS}


def relations(view: str, columns: Collection[str]) -> Sql:
    """Only what the statement said it reads, so that it cannot read more."""
    kept = [column for column in CATALOGUE[view] if column.name in columns]
    names = [f'"{name}"' for column in kept for name, _type in column.physical]
    return fixed(f"(SELECT {', '.join(['_id', '_ord', '_layer', *names])} FROM m.{view})")


async def _fill(session: Any, view: str) -> None:
    stored = [part for column in CATALOGUE[view] for part in column.physical]
    declared = ", ".join(f'"{name}" {pg_type}' for name, pg_type in stored)
    await session.execute(
        f"CREATE TABLE m.{view} (_id text, _ord integer, {declared}, _layer text)"
    )
    slots = ", ".join(f"${number}" for number in range(1, len(stored) + 4))
    for row in ROWS[view]:
        values: list[Any] = [row[0], 1]
        for column, value in zip(CATALOGUE[view], row, strict=True):
            values.append(value)
            if column.has_range:
                period = parse_period(value) if value else None
                values += [period.low, period.high] if period else [None, None]
        await session.execute(f"INSERT INTO m.{view} VALUES ({slots})", *values, "batch")


@pytest_asyncio.fixture(scope="module")
async def database(services: Services) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute("CREATE DATABASE query_meaning")
    await connection.close()
    opened = await Database.connect(services.postgres.dsn_of("query_meaning"))
    async with opened.transaction() as session:
        await session.execute("CREATE SCHEMA m")
        for view in CATALOGUE:
            await _fill(session, view)
    yield opened
    await opened.close()


async def ask(database: Database, asked: dict[str, Any], *, after: Any = None) -> Page:
    query = Query.model_validate(asked)
    statement = build_statement(query, CATALOGUE, relations, on=ON, after=after)
    async with database.snapshot() as session:
        records = await session.fetch(statement.sql)
    return statement.page([tuple(record.values()) for record in records])


async def test_the_dead_are_as_old_as_they_became(database: Database) -> None:
    brackets = {"column": "birth_date", "age_brackets": [0, 50, 51, 74]}
    page = await ask(database, {"view": "people", "group_by": [brackets, "id"]})
    found: dict[str | None, str] = {}
    for bracket, person, _count in page.rows:
        found[bracket] = found.get(bracket, "") + person
    assert found == {"0-49": "d", "50": "c", "51-73": "a", "74+": "bh", None: "efgi"}


def test_ages_of_a_view_that_tells_no_death_are_warned_of() -> None:
    views = {view["name"]: compile_view(view).columns for view in shipped_views()}
    warned = {}
    for view in ("patient_simple", "patient_demographics"):
        group = {"column": "birth_date", "age_brackets": [65]}
        query = Query.model_validate({"view": view, "group_by": [group]})
        statement = build_statement(query, views, lambda name, _columns: fixed(name), on=ON)
        warned[view] = statement.warnings
    assert warned["patient_demographics"] == ()
    (warning,) = warned["patient_simple"]
    assert "tells no death" in warning


@pytest.mark.parametrize("fn", ["avg", "sum", "min", "max", "median", "stddev", "any_value"])
@pytest.mark.parametrize("code", ["glucose", "weight"])
async def test_numbers_of_several_units_make_no_number(
    database: Database, fn: str, code: str
) -> None:
    asked = {
        "view": "labs",
        "where": {"column": "code", "op": "in", "value": ["sodium", code]},
        "group_by": ["code"],
        "aggregates": [{"fn": "count"}, {"fn": fn, "column": "value"}],
        "limit": 1,
    }
    with pytest.raises(QueryError) as caught:
        await ask(database, {**asked, "order_by": [{"column": "code", "descending": True}]})
    error = caught.value
    assert (error.code, error.field, error.allowed) == (
        "units_mixed",
        "aggregates[1]",
        ("value_unit",),
    )
    page = await ask(database, {**asked, "group_by": ["code", "value_unit"], "limit": 10})
    assert {row[:2] for row in page.rows} >= {("sodium", "mmol/L"), ("sodium", None)}


async def test_numbers_of_one_unit_or_of_none_are_computed(database: Database) -> None:
    asked = {
        "view": "labs",
        "where": {"column": "code", "op": "in", "value": ["sodium", "score"]},
        "group_by": ["code"],
        "aggregates": [{"fn": "avg", "column": "value", "name": "mean"}],
    }
    page = await ask(database, asked)
    assert [(row[0], float(row[1])) for row in page.rows] == [("score", 1.5), ("sodium", 141.0)]


async def test_counts_and_numbers_without_a_unit_are_not_held_to_one(database: Database) -> None:
    aggregates = [
        {"fn": "count", "column": "value"},
        {"fn": "count_distinct", "column": "value"},
        {"fn": "max", "column": "count"},
    ]
    page = await ask(database, {"view": "labs", "aggregates": aggregates})
    assert page.rows == ((10, 8, 12),)


async def test_a_code_with_several_displays_is_one_group(database: Database) -> None:
    asked = {"view": "labs", "group_by": ["code_display", "code"], "limit": 100}
    page = await ask(database, asked)
    expected = {
        ("Glucose", "glucose", 3),
        ("Sodium", "sodium", 3),
        ("Score", "score", 2),
        ("Weight", "weight", 2),
        ("Told in words", None, 1),
        ("Told otherwise", None, 1),
    }
    assert set(page.rows) == expected
    assert len(page.rows) == len(expected)


async def test_groups_of_codes_page_without_gap_or_repeat(database: Database) -> None:
    for order in ("count", "code_display", "code"):
        asked = {
            "view": "labs",
            "group_by": ["code", "code_display"],
            "order_by": [{"column": order, "descending": True}],
        }
        whole = (await ask(database, asked)).rows
        paged: tuple[Any, ...] = ()
        after = None
        while len(paged) < len(whole):
            page = await ask(database, {**asked, "limit": 1}, after=after)
            paged, after = paged + page.rows, page.keys[-1]
        assert paged == whole
        assert not page.truncated


async def test_a_display_alone_groups_by_its_text(database: Database) -> None:
    page = await ask(database, {"view": "labs", "group_by": ["code_display"], "limit": 100})
    counted = dict(page.rows)
    assert (counted["Sodium"], counted["Sodium level"], counted["Glucose​"]) == (2, 1, 1)


def test_a_tag_that_names_no_column_is_refused() -> None:
    column = {"name": "id", "path": "id", "tag": [{"name": "researchflow/unit", "value": "ids"}]}
    definition = {"resource": "Patient", "status": "draft", "select": [{"column": [column]}]}
    with pytest.raises(ViewDefinitionError, match="names no column") as caught:
        compile_view(definition)
    assert (caught.value.code, caught.value.did_you_mean) == ("unknown_column", "id")


def _semi_join(column: str, view: str, theirs: str) -> dict[str, Any]:
    return {"column": column, "op": "in", "query": {"view": view, "column": theirs}}


@pytest.mark.parametrize(
    ("view", "column", "other", "theirs", "fitting"),
    [
        ("observation_labs", "id", "condition_diagnoses", "patient_id", ()),
        ("patient_demographics", "id", "observation_labs", "id", ("patient_id",)),
        ("observation_labs", "encounter_id", "observation_labs", "patient_id", ("encounter_id",)),
    ],
)
def test_keys_of_two_types_of_resources_are_never_matched(
    view: str, column: str, other: str, theirs: str, fitting: tuple[str, ...]
) -> None:
    views = {one["name"]: compile_view(one).columns for one in shipped_views()}
    query = Query.model_validate({"view": view, "where": _semi_join(column, other, theirs)})
    with pytest.raises(QueryError, match="they never match") as caught:
        build_statement(query, views, lambda name, _columns: fixed(name), on=ON)
    error = caught.value
    assert (error.code, error.field, error.allowed) == (
        "column_mismatch",
        "where.query.column",
        fitting,
    )


def test_keys_of_one_type_and_of_any_are_matched() -> None:
    views = {one["name"]: compile_view(one).columns for one in shipped_views()}
    for view, column, other, theirs in (
        ("patient_demographics", "id", "observation_labs", "patient_id"),
        ("observation_labs", "performer_id", "patient_simple", "id"),
        ("patient_simple", "gender", "patient_demographics", "gender"),
    ):
        query = Query.model_validate({"view": view, "where": _semi_join(column, other, theirs)})
        build_statement(query, views, lambda name, _columns: fixed(name), on=ON)


async def test_places_among_numbers_are_exact(database: Database) -> None:
    aggregates = [
        {"fn": "median", "column": "count"},
        {"fn": "percentile", "p": 0.25, "column": "count"},
        {"fn": "percentile", "p": 0.1, "column": "count"},
        {"fn": "stddev", "column": "count"},
        {"fn": "min", "column": "code"},
        {"fn": "max", "column": "code_display"},
        {"fn": "any_value", "column": "value_unit"},
    ]
    counts = range(1, 13)
    statement, (row,) = await answered(database, {"view": "labs", "aggregates": aggregates})
    assert row[:3] == (Decimal("6.5"), Decimal("3.75"), Decimal("2.1"))
    assert float(row[3]) == pytest.approx(stdev(counts))
    assert row[4:] == ("glucose", "Weight", "kg")
    assert [column.name for column in statement.columns[:3]] == [
        "median_count",
        "p25_count",
        "p10_count",
    ]


async def test_a_median_of_dates_is_one_of_them(database: Database) -> None:
    aggregates = [{"fn": "median", "column": "birth_date"}]
    _statement, rows = await answered(database, {"view": "people", "aggregates": aggregates})
    assert rows == (("1950-01-01",),)


async def answered(
    database: Database, asked: dict[str, Any]
) -> tuple[Statement, tuple[tuple[Any, ...], ...]]:
    statement = build_statement(Query.model_validate(asked), CATALOGUE, relations, on=ON)
    async with database.snapshot() as session:
        records = await session.fetch(statement.sql)
    return statement, statement.page([tuple(record.values()) for record in records]).rows


@pytest.mark.parametrize(
    ("aggregate", "code", "field"),
    [
        ({"fn": "percentile", "column": "count"}, "value_type", "aggregates[0].p"),
        ({"fn": "percentile", "column": "count", "p": 25}, "value_type", "aggregates[0].p"),
        ({"fn": "median", "column": "count", "p": 0.5}, "invalid_argument", "aggregates[0].p"),
        ({"fn": "median", "column": "code"}, "aggregate_type", "aggregates[0].fn"),
        ({"fn": "stddev"}, "column_missing", "aggregates[0].column"),
    ],
)
def test_an_aggregate_that_cannot_be_computed_is_refused(
    aggregate: dict[str, Any], code: str, field: str
) -> None:
    query = Query.model_validate({"view": "labs", "aggregates": [aggregate]})
    with pytest.raises(QueryError) as caught:
        build_statement(query, CATALOGUE, relations, on=ON)
    assert (caught.value.code, caught.value.field) == (code, field)
