"""Columns with a SQL type of their own in every layer: tables, overlay, queries, answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, open_clinic
from researchflow_agents.extraction.csv_file import record
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_server.console import cell
from researchflow_server.tools.query_view import answer_payload
from researchflow_server.tools.result import dumped

QUANTITY = "value.ofType(Quantity).value"
BYTES = "extension('http://example.org/bytes').value.ofType(base64Binary)"
COLUMNS = (
    ("status", "status", "VARCHAR(9)"),
    ("day", "effective.ofType(dateTime)", "DATE"),
    ("at", "issued", "TIMESTAMP(3) WITH TIME ZONE"),
    ("clock", "issued", "TIMESTAMP"),
    ("hour", "component.first().value.ofType(time)", "TIME"),
    ("amount", QUANTITY, "DECIMAL(10,2)"),
    ("ratio", QUANTITY, "DOUBLE PRECISION"),
    ("rank", "component.first().value.ofType(integer)", "SMALLINT"),
    ("bytes", BYTES, "VARBINARY(8)"),
    ("name", "code.text", "TEXT"),
)
TYPED = {
    "name": "typed",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                *(
                    {"name": name, "path": path, "tag": [{"name": "ansi/type", "value": sql_type}]}
                    for name, path, sql_type in COLUMNS
                ),
            ]
        }
    ],
}


def observation(
    resource_id: str,
    *,
    day: str | None = None,
    at: str | None = None,
    value: str | None = None,
    content: str | None = None,
    status: str = "final",
    name: str = "lab",
    **component: Any,
) -> bytes:
    """An Observation whose number stands as it is written in `value`."""
    parts: dict[str, Any] = {
        "resourceType": "Observation",
        "id": resource_id,
        "status": status,
        "code": {"text": name},
    }
    if day:
        parts["effectiveDateTime"] = day
    if at:
        parts["issued"] = at
    if component:
        parts["component"] = [{"code": {"text": "part"}, **component}]
    if content:
        parts["extension"] = [
            {"url": "http://example.org/bytes", "valueBase64Binary": content},
        ]
    text = json.dumps(parts)
    if value:
        text = f'{text[:-1]}, "valueQuantity": {{"value": {value}}}}}'
    return text.encode()


ROWS = (
    observation(
        "a",
        day="2024-06-01",
        at="2024-06-01T10:00:00.120+02:00",
        value="1.50",
        content="aGVs bG8=",
        valueTime="08:30:00",
    ),
    observation("b", day="2024-06-30", at="2024-06-01T10:00:00+01:00", value="1e2", valueInteger=7),
    observation("c", day="2023-12-31", at="2024-06-01T09:30:00+01:00", value="-0.10", name="x"),
    observation("d", status="amended", value="1.5", valueTime="08:30:00.25"),
    observation("e", day="9999-12-31", at="9999-12-31T23:59:59.999Z", valueInteger=-3),
)


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """The rows in the source, published."""
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(TYPED)]) as opened:
        await opened.put(*ROWS)
        await opened.refresh()
        yield opened


async def found(clinic: Clinic, column: str, op: str, value: Any = None) -> str:
    """The ids that one comparison gives."""
    where = {"column": column, "op": op, "value": value}
    return "".join(sorted(await clinic.ids("typed", where=where)))


async def test_tables_and_sql_views_have_the_types(clinic: Clinic) -> None:
    async with clinic.database.session() as session:
        rows = await session.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'sqlonfhir_live.typed'::regclass AND attnum > 0"
        )
    assert dict(tuple(row) for row in rows) == {
        "id": "text",
        "status": "character varying(9)",
        "day": "date",
        "at": "timestamp(3) with time zone",
        "clock": "timestamp without time zone",
        "hour": "time without time zone",
        "amount": "numeric(10,2)",
        "ratio": "double precision",
        "rank": "smallint",
        "bytes": "bytea",
        "name": "text",
    }


async def test_values_come_in_their_python_types(clinic: Clinic) -> None:
    where = {"column": "id", "op": "in", "value": ["a", "b"]}
    answer: Answer = await clinic.ask("typed", where=where)
    first, second = answer.as_dicts()
    assert first == {
        "id": "a",
        "status": "final",
        "day": date(2024, 6, 1),
        "at": datetime(2024, 6, 1, 8, 0, 0, 120_000, tzinfo=UTC),
        "clock": datetime(2024, 6, 1, 10, 0, 0, 120_000),
        "hour": time(8, 30),
        "amount": Decimal("1.50"),
        "ratio": 1.5,
        "rank": None,
        "bytes": b"hello",
        "name": "lab",
    }
    assert (second["amount"].as_tuple().exponent, second["rank"], second["hour"]) == (-2, 7, None)


async def test_values_leave_as_the_json_of_the_document(clinic: Clinic) -> None:
    where = {"column": "id", "op": "eq", "value": "a"}
    payload = json.loads(dumped(answer_payload(await clinic.ask("typed", where=where))))
    (row,) = payload["rows"]
    at = "2024-06-01T08:00:00.120000+00:00"
    clock = "2024-06-01T10:00:00.120000"
    expected = ["a", "final", "2024-06-01", at, clock, "08:30:00", "1.50", 1.5, None, "aGVsbG8="]
    assert row == [*expected, "lab"]
    assert record(row) == f"a,final,2024-06-01,{at},{clock},08:30:00,1.50,1.5,,aGVsbG8=,lab\r\n"


async def test_values_are_shown_to_people_as_in_json(clinic: Clinic) -> None:
    answer = await clinic.ask("typed", where={"column": "id", "op": "eq", "value": "a"})
    shown = [cell(answer.column_values(name)[0]) for name in ("day", "at", "hour", "bytes")]
    assert shown == ["2024-06-01", "2024-06-01T08:00:00.120000+00:00", "08:30:00", "aGVsbG8="]


MISFITS = [
    ("status", observation("z", status="entered-in-error"), "22011"),
    ("day", observation("z", day="2024-06"), "22011"),
    ("day", observation("z", day="2024-06-01T10:00:00Z"), "22011"),
    ("day", observation("z", day="2024-02-30"), "22008"),
    ("at", observation("z", at="2024-06-01T10:00:00.1234Z"), "22011"),
    ("hour", observation("z", valueTime="08:30"), "22011"),
    ("amount", observation("z", value="1.505"), "22003"),
    ("amount", observation("z", value="123456789"), "22003"),
    ("rank", observation("z", valueInteger=40_000), "22003"),
    ("bytes", observation("z", content="aGVsbG8gd29ybGQ="), "22011"),
]
REASONS = {
    "22003": "a number that the column cannot hold",
    "22008": "a date or time that does not exist",
    "22011": "a value that the column's SQL type cannot hold as it is written",
}


@pytest.mark.parametrize(("column", "resource", "sqlstate"), MISFITS)
async def test_what_does_not_fit_is_a_dead_letter_that_names_the_column(
    clinic: Clinic, column: str, resource: bytes, sqlstate: str
) -> None:
    await clinic.put(resource)
    await clinic.refresh()
    async with clinic.database.session() as session:
        rows = await session.fetch("SELECT id, column_name, reason FROM researchflow.dead_letter")
    assert [tuple(row) for row in rows] == [("z", column, REASONS[sqlstate])]
    answer = await clinic.ask("typed", columns=["id"])
    assert ([row[0] for row in answer.rows], answer.missing_resources) == (list("abcde"), 1)


COMPARISONS = [
    ("status", "eq", "final", "abce"),
    ("status", "starts_with", "AM", "d"),
    ("status", "in", ["amended", "final"], "abcde"),
    ("day", "eq", "2024-06", "ab"),
    ("day", "eq", "2024-06-01", "a"),
    ("day", "ne", "2024-06-01", "bce"),
    ("day", "lt", "2024", "c"),
    ("day", "gt", "2024", "e"),
    ("day", "ge", "2024-06-30", "be"),
    ("day", "in", ["2023", "9999-12-31"], "ce"),
    ("day", "is_null", None, "d"),
    ("at", "eq", "2024-06-01T08:00:00.12Z", "a"),
    ("at", "lt", "2024-06-01T10:00:00+01:00", "ac"),
    ("at", "gt", "2024-06-01T11:00:00+02:00", "e"),
    ("at", "eq", "2024", "abc"),
    ("clock", "ge", "2024-06-01T10:00", "abe"),
    ("clock", "eq", "2024-06-01T09:30:00", "c"),
    ("hour", "eq", "08:30", "a"),
    ("hour", "gt", "08:30:00.2", "d"),
    ("hour", "in", ["08:30:00.250"], "d"),
    ("amount", "eq", 1.5, "ad"),
    ("amount", "eq", "1.500", "ad"),
    ("amount", "lt", 0, "c"),
    ("ratio", "eq", "-0.1", "c"),
    ("ratio", "eq", "1.50000000000000000001", ""),
    ("ratio", "lt", "1e999", "abcd"),
    ("ratio", "in", [100, 1.5], "abd"),
    ("rank", "gt", -3, "b"),
    ("rank", "eq", 100_000, ""),
    ("rank", "in", [-3, 7], "be"),
    ("bytes", "not_null", None, "a"),
]


@pytest.mark.parametrize("materialised", [True, False])
async def test_filters_compare_by_type(clinic: Clinic, materialised: bool) -> None:
    if not materialised:
        await clinic.refresh([compile_view({**TYPED, "name": "another"})])
    answer = await clinic.ask("typed", columns=["id"])
    assert answer.route == ("materialized" if materialised else "direct")
    for column, op, value, expected in COMPARISONS:
        assert await found(clinic, column, op, value) == expected, (column, op, value)


REFUSALS = [
    ("day", "eq", "soon", "value_type"),
    ("day", "contains", "2024", "operator_not_allowed"),
    ("clock", "eq", "2024-06-01T10:00:00Z", "value_type"),
    ("clock", "in", ["2024-06-01T10:00:00+02:00"], "value_type"),
    ("hour", "eq", "25:00", "value_type"),
    ("hour", "in", ["noon"], "value_type"),
    ("rank", "eq", 1.5, "value_type"),
    ("ratio", "eq", "much", "value_type"),
    ("bytes", "eq", "aGVsbG8=", "operator_not_allowed"),
]


async def test_values_of_another_type_are_refused(clinic: Clinic) -> None:
    for column, op, value, code in REFUSALS:
        with pytest.raises(QueryError) as caught:
            await found(clinic, column, op, value)
        assert (caught.value.code, caught.value.hint != "") == (code, True), (column, op, value)


ORDERS = {
    "status": "dabce",
    "day": "cabed",
    "at": "acbed",
    "clock": "cbaed",
    "hour": "adbce",
    "amount": "cadbe",
    "ratio": "cadbe",
    "rank": "ebacd",
}


async def pages(clinic: Clinic, **asked: Any) -> list[tuple[Any, ...]]:
    """All rows, one a page."""
    rows: list[tuple[Any, ...]] = []
    cursor = None
    for _page in range(len(ROWS) + 2):
        answer = await clinic.ask("typed", limit=1, cursor=cursor, **asked)
        rows += answer.rows
        cursor = answer.next_cursor
        if cursor is None:
            return rows
    raise AssertionError(f"the pages never end: {rows}")


async def test_pages_sorted_by_any_type_give_each_row_once(clinic: Clinic) -> None:
    for column, ascending in ORDERS.items():
        asked = {"columns": ["id", column]}
        rows = await pages(clinic, **asked, order_by=[{"column": column}])
        assert "".join(row[0] for row in rows) == ascending
        rows = await pages(clinic, **asked, order_by=[{"column": column, "descending": True}])
        values = [row[1] for row in rows if row[1] is not None]
        assert values == sorted(values, reverse=True)
        assert len({row[0] for row in rows}) == len(rows) == len(ROWS)


async def test_groups_of_any_type_page_and_count(clinic: Clinic) -> None:
    for column in ORDERS:
        values = (await clinic.ask("typed", columns=[column])).column_values(column)
        rows = await pages(clinic, group_by=[column])
        assert {row[0]: row[1] for row in rows} == {one: values.count(one) for one in values}
        assert len(rows) == len(set(values))


async def test_bytes_have_no_order(clinic: Clinic) -> None:
    with pytest.raises(QueryError) as caught:
        await clinic.ask("typed", columns=["bytes"], order_by=[{"column": "bytes"}])
    assert caught.value.code == "operator_not_allowed"


async def test_aggregates_give_values_of_the_type(clinic: Clinic) -> None:
    asked = [
        ("min", "day"),
        ("max", "day"),
        ("max", "at"),
        ("min", "clock"),
        ("max", "hour"),
        ("sum", "amount"),
        ("max", "ratio"),
        ("sum", "ratio"),
        ("avg", "rank"),
        ("max", "rank"),
        ("count_distinct", "amount"),
        ("count_distinct", "bytes"),
    ]
    answer = await clinic.ask("typed", aggregates=[{"fn": fn, "column": c} for fn, c in asked])
    assert answer.rows == (
        (
            date(2023, 12, 31),
            date(9999, 12, 31),
            datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            datetime(2024, 6, 1, 9, 30),
            time(8, 30, 0, 250_000),
            Decimal("102.90"),
            100.0,
            Decimal("102.9"),
            Decimal(2),
            7,
            3,
            1,
        ),
    )
    assert type(answer.rows[0][6]) is float


async def test_groups_page_by_an_aggregate_of_any_type(clinic: Clinic) -> None:
    for column in ("day", "at", "clock", "hour", "ratio", "rank"):
        name = f"max_{column}"
        rows = await pages(
            clinic,
            group_by=["id"],
            aggregates=[{"fn": "max", "column": column}],
            order_by=[{"column": name, "descending": True}],
        )
        values = [row[1] for row in rows if row[1] is not None]
        assert len(rows) == len(ROWS)
        assert values == sorted(values, reverse=True)


async def test_ages_are_told_of_a_date(clinic: Clinic) -> None:
    answer = await clinic.ask(
        "typed",
        group_by=[{"column": "day", "age_brackets": [0, 100]}],
        where={"column": "day", "op": "lt", "value": "2025"},
    )
    assert answer.rows == (("0-99", 3),)


DAYS = {"view": "typed", "column": "day"}


async def test_joins_match_columns_of_the_same_kind(clinic: Clinic) -> None:
    for column, expected in (("status", "abcde"), ("amount", "abcd"), ("rank", "be")):
        where = {"column": column, "query": {"view": "typed", "column": column}}
        assert "".join(await clinic.ids("typed", where=where)) == expected
    with pytest.raises(QueryError) as caught:
        await clinic.ids("typed", where={"column": "day", "query": DAYS})
    assert caught.value.code == "column_mismatch"


async def test_waiting_changes_merge_and_earlier_anchors_stay(clinic: Clinic) -> None:
    newer = observation("a", day="2025-01-01", value="2.5", content="AA==")
    (outcome,) = await clinic.cache(newer)
    assert outcome.outcome == "stored"
    assert await found(clinic, "day", "eq", "2025") == "a"
    await clinic.put(newer)
    await clinic.refresh()
    assert await found(clinic, "amount", "eq", 2.5) == "a"
    where = {"column": "id", "op": "eq", "value": "a"}
    earlier = await clinic.ask("typed", columns=["day", "bytes"], where=where, as_of=1)
    assert earlier.rows == ((date(2024, 6, 1), b"hello"),)


async def test_a_waiting_change_that_does_not_fit_hides_the_older_rows(clinic: Clinic) -> None:
    await clinic.cache(observation("a", day="2025"))
    answer = await clinic.ask("typed", columns=["id"])
    assert ([row[0] for row in answer.rows], answer.missing_resources) == (list("bcde"), 1)
