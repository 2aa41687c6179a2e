"""A query's statement gives the right rows on a real PostgreSQL; wrong ones are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import AnswerColumn
from researchflow_runners.query.model import FILTER_DEPTH_MAX, Query
from researchflow_runners.query.period import parse_period
from researchflow_runners.query.sql import build_count, build_statement
from researchflow_runners.query.statement import Page, Statement
from researchflow_runners.query.walk import FILTER_NODES_MAX, views_of
from researchflow_runners.sql import EMPTY, Sql, fixed
from researchflow_runners.store.database import Database
from researchflow_server.embedded import Services

ON = date(2024, 6, 15)

PATIENT = (
    Column("id", "id", "text"),
    Column("active", "boolean", "boolean"),
    Column("birth_date", "date", "text"),
    Column("gender", "code", "text", description="Sex", system="http://hl7.org/fhir/gender"),
    Column("weight", "decimal", "numeric"),
    Column("visits", "integer", "integer"),
    Column("note", "string", "text"),
    Column("tags", "string", "jsonb", collection=True),
    Column("woken", "time", "text"),
)
CONDITION = (
    Column("id", "id", "text"),
    Column("patient_id", "string", "text"),
    Column("code", "code", "text"),
    Column("onset", "dateTime", "text"),
    Column("rank", "integer", "integer"),
)
CATALOGUE = {"patients": PATIENT, "conditions": CONDITION}

PATIENTS: list[tuple[Any, ...]] = [
    (
        "a",
        True,
        "1960-05-01",
        "female",
        Decimal("70.50"),
        3,
        "50% better",
        '["x", 1.10]',
        "07:30:00",
    ),
    ("b", False, "1990", "male", Decimal("82"), 1, "under_scored", "[]", "08:00:00"),
    ("c", None, "2006-06", "female", None, None, None, None, None),
    ("d", True, "2006-06-15", "male", Decimal("82.0"), 7, "Étude \\ slash", None, "22:15:00"),
    ("e", True, None, None, Decimal("1e-7"), 3, "plain", None, None),
]
CONDITIONS: list[tuple[Any, ...]] = [
    ("1", "a", "diabetes", "2020-01-01", 1),
    ("2", "a", "diabetes", "2021-01-01T10:00:00Z", 2),
    ("3", "b", "asthma", "2019", 1),
    ("4", None, "diabetes", None, None),
    ("5", "d", "asthma", "2024-06", 1),
]


def relations(view: str, columns: Collection[str]) -> Sql:
    """Only what the statement said it reads, so that it cannot read more."""
    kept = [column for column in CATALOGUE[view] if column.name in columns]
    names = ["_id", "_ord", "_layer", *(name for column in kept for name, _ in column.physical)]
    return fixed(f"(SELECT {', '.join(names)} FROM q.{view})")


async def _fill(session: Any, view: str, rows: list[tuple[Any, ...]]) -> None:
    columns = CATALOGUE[view]
    stored = [part for column in columns for part in column.physical]
    declared = ", ".join(f'"{name}" {pg_type}' for name, pg_type in stored)
    await session.execute(
        f"CREATE TABLE q.{view} (_res_id bigint, _id text, _ord integer, {declared}, _layer text)"
    )
    slots = ", ".join(f"${n}" for n in range(1, len(stored) + 5))
    for number, row in enumerate(rows):
        values: list[Any] = [number, row[0], 1]
        for column, value in zip(columns, row, strict=True):
            values.append(value)
            if column.has_range:
                period = parse_period(value) if value else None
                values += [period.low, period.high] if period else [None, None]
        values.append("speed" if row[0] in ("b", "5") else "batch")
        await session.execute(f"INSERT INTO q.{view} VALUES ({slots})", *values)


@pytest_asyncio.fixture(scope="module")
async def database(services: Services) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute("CREATE DATABASE query_sql")
    await connection.close()
    opened = await Database.connect(services.postgres.dsn_of("query_sql"))
    async with opened.transaction() as session:
        await session.execute("CREATE SCHEMA q")
        await _fill(session, "patients", PATIENTS)
        await _fill(session, "conditions", CONDITIONS)
    yield opened
    await opened.close()


async def ask(
    database: Database, asked: dict[str, Any], *, after: tuple[Any, ...] | None = None
) -> Page:
    query = Query.model_validate({"view": "patients", **asked})
    statement = build_statement(query, CATALOGUE, relations, on=ON, after=after)
    async with database.snapshot() as session:
        records = await session.fetch(statement.sql)
    return statement.page([tuple(record.values()) for record in records])


async def ids(database: Database, where: dict[str, Any], **asked: Any) -> str:
    """The ids that satisfy the filter, joined."""
    page = await ask(database, {"columns": ["id"], "where": where, **asked})
    return "".join(row[0] for row in page.rows)


def refusal(asked: dict[str, Any]) -> QueryError:
    query = Query.model_validate({"view": "patients", **asked})
    with pytest.raises(QueryError) as caught:
        build_statement(query, CATALOGUE, relations, on=ON)
    return caught.value


def compared(column: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"column": column, "op": op, "value": value}


COMPARISONS = [
    ("gender", "eq", "male", "bd"),
    ("gender", "ne", "male", "ac"),
    ("gender", "in", ["male", "other"], "bd"),
    ("gender", "not_in", ["male", "other"], "ac"),
    ("gender", "is_null", None, "e"),
    ("gender", "not_null", None, "abcd"),
    ("gender", "starts_with", "MA", "bd"),
    ("gender", "contains", "male", "abcd"),
    ("note", "contains", "%", "a"),
    ("note", "contains", "_", "b"),
    ("note", "contains", "\\", "d"),
    ("note", "starts_with", "50%", "a"),
    ("note", "starts_with", "0%", ""),
    ("active", "eq", True, "ade"),
    ("active", "ne", True, "b"),
    ("visits", "eq", 3, "ae"),
    ("visits", "in", [1, 7], "bd"),
    ("visits", "gt", 3, "d"),
    ("visits", "le", 3.0, "abe"),
    ("weight", "eq", 82, "bd"),
    ("weight", "eq", "82.000", "bd"),
    ("weight", "eq", "0.0000001", "e"),
    ("weight", "lt", 70.5, "e"),
    ("weight", "le", 70.5, "ae"),
    ("weight", "not_in", [82, "70.50"], "e"),
    ("woken", "ge", "08:00:00", "bd"),
    ("tags", "is_null", None, "cde"),
    ("tags", "not_null", None, "ab"),
]


@pytest.mark.parametrize(("column", "op", "value", "expected"), COMPARISONS)
async def test_comparison_keeps_exactly_the_rows_for_which_it_is_true(
    database: Database, column: str, op: str, value: Any, expected: str
) -> None:
    assert await ids(database, compared(column, op, value)) == expected


@pytest.mark.parametrize(("column", "op", "value", "expected"), COMPARISONS)
async def test_not_keeps_the_rows_for_which_the_comparison_is_false(
    database: Database, column: str, op: str, value: Any, expected: str
) -> None:
    known = set("abcde")
    if op not in ("is_null", "not_null"):
        known = set(await ids(database, compared(column, "not_null")))
    kept = await ids(database, {"not": compared(column, op, value)})
    assert set(kept) == known - set(expected)


#: birth dates: a 1960-05-01, b 1990, c 2006-06, d 2006-06-15, e missing
PERIODS = [
    # op, constant, true, false; the others are unknown
    ("eq", "2006-06", "cd", "ab"),
    ("eq", "2006-06-15", "d", "ab"),
    ("eq", "1990-03", "", "acd"),
    ("ne", "2006-06-15", "ab", "d"),
    ("lt", "2006-06-15", "ab", "d"),
    ("lt", "1990", "a", "bcd"),
    ("le", "1990", "ab", "cd"),
    ("le", "1990-12-31", "ab", "cd"),
    ("gt", "1990", "cd", "ab"),
    ("ge", "1990", "bcd", "a"),
    ("ge", "2006-06-02", "d", "ab"),
    ("gt", "1960-05-01T00:00:00Z", "bcd", ""),
    ("in", ["1990", "2006-06-15"], "bd", "a"),
    ("not_in", ["1990", "2006-06-15"], "a", "bd"),
]


@pytest.mark.parametrize(("op", "value", "true", "false"), PERIODS)
async def test_dates_compare_as_periods_and_undecided_ones_never_match(
    database: Database, op: str, value: Any, true: str, false: str
) -> None:
    assert await ids(database, compared("birth_date", op, value)) == true
    assert await ids(database, {"not": compared("birth_date", op, value)}) == false
    assert await ids(database, {"not": {"not": compared("birth_date", op, value)}}) == true


async def test_offset_of_a_constant_is_honoured(database: Database) -> None:
    asked = {"view": "conditions", "columns": ["id"]}
    for text, expected in (("2021-01-01T12:00:00+02:00", "2"), ("2021-01-01T10:00:00+02:00", "")):
        page = await ask(database, {**asked, "where": compared("onset", "eq", text)})
        assert "".join(row[0] for row in page.rows) == expected


async def test_trees_combine_three_valued(database: Database) -> None:
    female = compared("gender", "eq", "female")
    heavy = compared("weight", "gt", 75)
    assert await ids(database, {"all_of": [female, heavy]}) == ""
    assert await ids(database, {"any_of": [female, heavy]}) == "abcd"
    # c: female, weight unknown, so `all_of` is unknown; e: gender unknown but not heavy.
    assert await ids(database, {"not": {"all_of": [female, heavy]}}) == "abde"
    assert await ids(database, {"not": {"any_of": [female, heavy]}}) == ""
    assert await ids(database, {"all_of": [{"not": heavy}, compared("id", "ne", "a")]}) == "e"


def in_query(op: str = "in", column: str = "id", **query: Any) -> dict[str, Any]:
    return {"column": column, "op": op, "query": {"view": "conditions", **query}}


async def test_semi_join_keeps_rows_whose_value_occurs_in_the_other_view(
    database: Database,
) -> None:
    diabetes = compared("code", "eq", "diabetes")
    assert await ids(database, in_query()) == "abd"
    assert await ids(database, in_query(where=diabetes)) == "a"
    assert await ids(database, in_query(where=diabetes, min_rows=2)) == "a"
    assert await ids(database, in_query(where=diabetes, min_rows=3)) == ""
    assert await ids(database, in_query(min_rows=2)) == "a"


async def test_semi_join_exclusion_ignores_missing_values_of_the_other_view(
    database: Database,
) -> None:
    diabetes = compared("code", "eq", "diabetes")
    assert await ids(database, in_query("not_in", where=diabetes)) == "bcde"
    assert await ids(database, in_query("not_in", where=diabetes, min_rows=2)) == "bcde"
    assert await ids(database, {"not": in_query(where=diabetes)}) == "bcde"
    assert await ids(database, {"not": in_query("not_in", where=diabetes)}) == "a"
    # A row whose own value is missing is neither in nor out.
    page = await ask(
        database,
        {
            "view": "conditions",
            "columns": ["id"],
            "where": {
                "column": "patient_id",
                "op": "not_in",
                "query": {"view": "patients", "column": "id", "where": compared("id", "eq", "a")},
            },
        },
    )
    assert [row[0] for row in page.rows] == ["3", "5"]


async def test_semi_joins_nest_and_combine(database: Database) -> None:
    asthma = in_query(where=compared("code", "eq", "asthma"))
    inner = {
        "column": "patient_id",
        "query": {"view": "patients", "column": "id", "where": compared("gender", "eq", "male")},
    }
    assert await ids(database, {"all_of": [asthma, compared("active", "eq", True)]}) == "d"
    assert await ids(database, in_query(where=inner)) == "bd"
    asked = Query.model_validate({"view": "patients", "where": in_query(where=inner)})
    assert views_of(asked, CATALOGUE) == ("patients", "conditions")


async def test_rows_come_as_chosen_with_exact_values(database: Database) -> None:
    asked = {"columns": ["weight", "tags", "id", "birth_date"], "limit": 2}
    page = await ask(database, asked)
    assert page.rows == (
        (Decimal("70.50"), ["x", Decimal("1.10")], "a", "1960-05-01"),
        (Decimal("82"), [], "b", "1990"),
    )
    assert str(page.rows[0][0]) == "70.50"
    assert page.truncated
    assert page.from_speed == 1


def test_a_list_of_decimals_holds_decimals_alone() -> None:
    columns = tuple(AnswerColumn("l", kind, is_list=True) for kind in ("decimal", "integer"))
    statement = Statement(EMPTY, columns, (0, 1), (), limit=1, grouped=False)
    (row,) = statement.page([("[74, 0.10, null]", "[74]", 0, None, None, None)]).rows
    assert row == ([Decimal("74"), Decimal("0.10"), None], [74])
    assert [type(value) for value in (row[0][0], row[1][0])] == [Decimal, int]


async def test_limit_that_fits_exactly_is_not_truncated(database: Database) -> None:
    page = await ask(database, {"columns": ["id"], "limit": 5})
    assert len(page.rows) == 5
    assert not page.truncated


ORDERS = [
    ([("gender", False)], "acbde"),
    ([("gender", True)], "bdace"),
    ([("birth_date", False)], "abcde"),
    ([("birth_date", True)], "dcbae"),
    ([("weight", True)], "bdaec"),
    ([("visits", False), ("weight", False)], "beadc"),
    ([("active", False), ("id", True)], "bedac"),
]


@pytest.mark.parametrize(("order", "expected"), ORDERS)
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_follow_the_total_order_without_gap_or_repeat(
    database: Database, order: list[tuple[str, bool]], expected: str, limit: int
) -> None:
    asked = {
        "columns": ["id", "gender", "birth_date", "weight", "visits", "active"],
        "order_by": [{"column": name, "descending": down} for name, down in order],
        "limit": limit,
    }
    seen, after = "", None
    for _page in range(5):
        page = await ask(database, asked, after=after)
        assert len(page.rows) <= limit
        seen += "".join(row[0] for row in page.rows)
        if not page.truncated:
            break
        after = page.keys[-1]
    assert seen == expected


async def test_groups_are_counted_and_ordered(database: Database) -> None:
    page = await ask(
        database,
        {
            "group_by": ["gender"],
            "aggregates": [
                {"fn": "count"},
                {"fn": "count", "column": "weight"},
                {"fn": "count_distinct", "column": "visits"},
                {"fn": "sum", "column": "weight", "name": "kilos"},
                {"fn": "avg", "column": "visits"},
                {"fn": "min", "column": "birth_date"},
                {"fn": "max", "column": "birth_date"},
                {"fn": "max", "column": "woken"},
            ],
        },
    )
    assert page.rows == (
        ("female", 2, 1, 1, Decimal("70.50"), Decimal(3), "1960-05-01", "2006-06", "07:30:00"),
        ("male", 2, 2, 2, Decimal("164.0"), Decimal(4), "1990", "2006-06-15", "22:15:00"),
        (None, 1, 1, 1, Decimal("1e-7"), Decimal(3), None, None, None),
    )
    assert page.from_speed == 1


async def test_groups_page_by_any_output(database: Database) -> None:
    asked = {
        "group_by": ["gender"],
        "aggregates": [{"fn": "count", "name": "n"}, {"fn": "max", "column": "birth_date"}],
        "limit": 1,
    }
    for column, expected in (("n", "None male female"), ("max_birth_date", "male female None")):
        order = [
            {"column": column, "descending": column != "n"},
            {"column": "gender", "descending": True},
        ]
        seen, after = [], None
        for _page in range(3):
            page = await ask(database, {**asked, "order_by": order}, after=after)
            seen.append(str(page.rows[0][0]))
            assert page.from_speed == 1
            after = page.keys[-1]
        assert " ".join(seen) == expected
        assert not page.truncated


async def test_aggregates_alone_give_one_row_even_of_nothing(database: Database) -> None:
    asked = {"aggregates": [{"fn": "count"}, {"fn": "sum", "column": "weight"}]}
    assert (await ask(database, asked)).rows == ((5, Decimal("234.5000001")),)
    nobody = {**asked, "where": compared("id", "eq", "nobody")}
    assert (await ask(database, nobody)).rows == ((0, None),)


async def test_group_by_alone_counts(database: Database) -> None:
    page = await ask(database, {"group_by": ["active"]})
    assert page.rows == ((False, 1), (True, 3), (None, 1))


async def test_age_brackets_are_whole_years_and_undecided_ages_stand_apart(
    database: Database,
) -> None:
    asked = {"group_by": [{"column": "birth_date", "age_brackets": [18, 40, 65]}]}
    # On 2024-06-15: a is 64; b 33 or 34; d turns 18 that day; c was born some day of that June.
    page = await ask(database, asked)
    assert page.rows == (("18-39", 2), ("40-64", 1), (None, 2))
    younger = {**asked, "group_by": [{"column": "birth_date", "age_brackets": [19, 34, 64]}]}
    page = await ask(database, younger)
    assert page.rows == (("under 19", 2), ("64+", 1), (None, 2))


async def test_groups_by_date_and_age_keep_periods_apart(database: Database) -> None:
    page = await ask(
        database,
        {
            "group_by": ["birth_date", {"column": "birth_date", "age_brackets": [0, 18]}],
            "order_by": [{"column": "birth_date_age", "descending": True}],
        },
    )
    assert page.rows == (
        ("1960-05-01", "18+", 1),
        ("1990", "18+", 1),
        ("2006-06-15", "18+", 1),
        ("2006-06", None, 1),
        (None, None, 1),
    )


async def test_count_of_a_relation_uses_the_same_filter(database: Database) -> None:
    query = Query.model_validate({"view": "patients", "where": compared("gender", "eq", "male")})
    counted = build_count(query, CATALOGUE, fixed("q.patients"), relations)
    async with database.snapshot() as session:
        assert await session.fetchval(counted) == 2


REFUSALS = [
    ({"view": "patient"}, "unknown_view", "view", "patients"),
    ({"columns": ["id", "gendr"]}, "unknown_column", "columns[1]", "gender"),
    ({"columns": []}, "column_missing", "columns", None),
    ({"columns": ["id", "id"]}, "duplicate_column", "columns", None),
    ({"columns": ["id"], "group_by": ["gender"]}, "columns_with_groups", "columns", None),
    (
        {"where": {"all_of": [compared("id", "eq", "a"), compared("sex", "eq", "male")]}},
        "unknown_column",
        "where.all_of[1].column",
        None,
    ),
    (
        {"where": {"not": {"any_of": [compared("visits", "eq", "many")]}}},
        "value_type",
        "where.not.any_of[0].value",
        None,
    ),
    ({"where": compared("gender", "lt", "m")}, "operator_not_allowed", "where.op", None),
    ({"where": compared("active", "in", [True])}, "operator_not_allowed", "where.op", None),
    ({"where": compared("tags", "contains", "x")}, "operator_not_allowed", "where.op", None),
    ({"where": compared("birth_date", "contains", "20")}, "operator_not_allowed", "where.op", None),
    ({"where": compared("active", "eq", "true")}, "value_type", "where.value", None),
    ({"where": compared("visits", "eq", 2.5)}, "value_type", "where.value", None),
    ({"where": compared("visits", "eq", True)}, "value_type", "where.value", None),
    ({"where": compared("visits", "eq", 2**63)}, "value_type", "where.value", None),
    ({"where": compared("weight", "eq", float("nan"))}, "value_type", "where.value", None),
    ({"where": compared("weight", "eq", float("inf"))}, "value_type", "where.value", None),
    ({"where": compared("weight", "eq", "1e9999")}, "value_type", "where.value", None),
    ({"where": compared("weight", "eq", " 1_0")}, "value_type", "where.value", None),
    ({"where": compared("birth_date", "eq", "last year")}, "value_type", "where.value", None),
    ({"where": compared("birth_date", "eq", "2023-02-29")}, "value_type", "where.value", None),
    ({"where": compared("birth_date", "eq", 2024)}, "value_type", "where.value", None),
    ({"where": compared("gender", "eq", "a\x00b")}, "value_type", "where.value", None),
    ({"where": compared("gender", "eq", "\ud800")}, "value_type", "where.value", None),
    ({"where": compared("gender", "eq", None)}, "value_type", "where.value", None),
    ({"where": compared("gender", "eq", ["male"])}, "value_type", "where.value", None),
    ({"where": compared("gender", "in", "male")}, "value_type", "where.value", None),
    ({"where": compared("gender", "in", [])}, "value_type", "where.value", None),
    ({"where": compared("gender", "in", ["a", 1])}, "value_type", "where.value[1]", None),
    ({"where": compared("gender", "is_null", True)}, "value_type", "where.value", None),
    (
        {"where": {"column": "id", "query": {"view": "condition"}}},
        "unknown_view",
        "where.query.view",
        "conditions",
    ),
    ({"where": in_query(column="visits")}, "column_mismatch", "where.query.column", None),
    (
        {"where": in_query(where=compared("severity", "eq", "x"))},
        "unknown_column",
        "where.query.where.column",
        None,
    ),
    ({"order_by": [{"column": "age"}]}, "unknown_column", "order_by[0].column", None),
    (
        {"columns": ["id"], "order_by": [{"column": "gender"}]},
        "unknown_column",
        "order_by[0].column",
        None,
    ),
    ({"order_by": [{"column": "tags"}]}, "operator_not_allowed", "order_by[0].column", None),
    ({"group_by": ["tags"]}, "operator_not_allowed", "group_by[0]", None),
    ({"aggregates": [{"fn": "sum"}]}, "column_missing", "aggregates[0].column", None),
    (
        {"aggregates": [{"fn": "count"}, {"fn": "avg", "column": "birth_date"}]},
        "aggregate_type",
        "aggregates[1].fn",
        None,
    ),
    ({"aggregates": [{"fn": "avg", "column": "note"}]}, "aggregate_type", "aggregates[0].fn", None),
    ({"aggregates": [{"fn": "count"}, {"fn": "count"}]}, "duplicate_column", "aggregates", None),
    (
        {"group_by": [{"column": "gender", "age_brackets": [1]}]},
        "aggregate_type",
        "group_by[0].column",
        None,
    ),
    (
        {"group_by": [{"column": "birth_date", "age_brackets": [40, 18]}]},
        "value_type",
        "group_by[0].age_brackets",
        None,
    ),
]


@pytest.mark.parametrize(("asked", "code", "field", "meant"), REFUSALS)
def test_what_cannot_be_honoured_is_refused_with_its_place(
    asked: dict[str, Any], code: str, field: str, meant: str | None
) -> None:
    error = refusal(asked)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    if meant is not None:
        assert error.did_you_mean == meant
        assert meant in error.allowed


def test_filters_are_bounded_in_depth_and_number() -> None:
    deep: dict[str, Any] = compared("id", "eq", "a")
    for _level in range(FILTER_DEPTH_MAX):
        deep = {"not": deep}
    assert refusal({"where": deep}).code == "filter_too_large"
    for _level in range(80):
        deep = {"not": deep}
    with pytest.raises(QueryError, match="too large"):
        views_of(Query.model_validate({"view": "patients", "where": deep}), CATALOGUE)
    wide = {"any_of": [compared("id", "eq", "a")] * FILTER_NODES_MAX}
    assert refusal({"where": wide}).code == "filter_too_large"


def test_constants_never_become_text_of_the_statement() -> None:
    planted = "x'); DROP TABLE q.patients; --"
    query = Query.model_validate(
        {"view": "patients", "where": compared("note", "contains", planted)}
    )
    text, values = build_statement(query, CATALOGUE, relations, on=ON).sql.render()
    assert planted not in text
    assert f"%{planted.replace('_', chr(92) + '_')}%" in values
