"""The clock and the session stay out of composed views, however a text becomes a date."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from composed import keep, sql_view
from researchflow_runners.errors import QueryError, ViewDefinitionError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from researchflow_server.embedded import Services
from tool_server import module_stores
from warehouse import PEOPLE, Warehouse, open_warehouse, patient


@pytest_asyncio.fixture(scope="module")
async def warehouse(services: Services) -> AsyncIterator[Warehouse]:
    """One patient, born on 1974-12-25."""
    async with module_stores(services, number=9) as (dsn, _redis), open_warehouse(dsn) as opened:
        await opened.put(patient("a", gender="other", birthDate="1974-12-25"))
        await opened.refresh([PEOPLE])
        yield opened


async def value(warehouse: Warehouse, expression: str) -> object:
    """The value of an expression over the one patient, as a composed view gives it."""
    sql = f"SELECT {expression} AS a FROM p"
    await keep(warehouse.database, sql_view("v", sql, p="people"))
    runner = HybridRunner(warehouse.database, None, cursor_key=b"key")
    (row,) = (await runner.query(Query(view="v"))).as_dicts()
    return row["a"]


WORDS = ["now", "today", "tomorrow", "yesterday", "NOW", "today 10:00", "epoch", "allballs"]
#: Texts that become the word only when they are computed.
COMPUTED = [
    "('{0}' || '{1}')",
    "concat('{0}', '{1}')",
    "(SELECT '{0}' || lower('{1}'))",
    "CASE WHEN gender = 'other' THEN concat('{0}', '{1}') END",
    "coalesce(nullif(id, id), '{0}' || '{1}')",
    "replace('{0}_{1}', '_', '')",
    "((string_to_array('x,{0}', ','))[2] || '{1}')",
    "('{{\"a\": \"{0}\"}}'::jsonb ->> 'a' || '{1}')",
    "string_agg('{0}' || '{1}', '' ORDER BY id)",
    "((('{0}') || '{1}'))::varchar",
    "CAST('{0}' || '{1}' AS text)",
    "(SELECT max(t.w || '{1}') FROM (VALUES ('{0}')) AS t (w))",
]
TYPES = ["date", "time", "timestamp", "timestamptz", "timestamp(0)", "time without time zone"]


@pytest.mark.parametrize("text", COMPUTED)
@pytest.mark.parametrize("written", ["{}::{}", "CAST({} AS {})", "cast ( {} as {} )"])
async def test_a_word_that_is_computed_is_no_date(
    warehouse: Warehouse, text: str, written: str
) -> None:
    for number, word in enumerate(WORDS[:: 2 if written == "{}::{}" else 3]):
        cast = written.format(text.format(word[:2], word[2:]), TYPES[number % len(TYPES)])
        with pytest.raises(QueryError) as caught:
            await value(warehouse, cast)
        assert caught.value.code == "composed_view_fails", cast
        assert "ISO 8601" in caught.value.hint


#: Constants that nothing in the text says are dates.
READ_AS_DATES = [
    ("birth_date::date < '{}'", "today Europe/Berlin"),
    ("birth_date::date = ANY ('{}')", '{{today,"2020-01-01 BC"}}'),
    ("birth_date::date BETWEEN '1900-01-01' AND '{}'", "tomorrow PST"),
    ("coalesce(nullif(birth_date::date, birth_date::date), '{}')", "yesterday 00:00 EST"),
    ("CASE WHEN gender = 'x' THEN birth_date::timestamp ELSE E'{}' END", "\\x6eow Asia/Tokyo"),
    ("birth_date::timestamptz IN ('2020-01-01', '{}')", "now Japan"),
    ("birth_date::date < U&'{}'", "\\0074oday Zulu"),
    ("greatest(birth_date::date, '{}')", "%today"),
    ("ARRAY['1999-01-01', '{}']::date[]", "today January"),
]


@pytest.mark.parametrize(("expression", "constant"), READ_AS_DATES)
async def test_a_constant_is_no_clock_wherever_it_is_read_as_a_date(
    warehouse: Warehouse, expression: str, constant: str
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        await value(
            warehouse, expression.replace("{}", constant.replace("{{", "{").replace("}}", "}"))
        )
    assert caught.value.code == "sql_clock"
    assert caught.value.span is not None


@pytest.mark.parametrize(
    "expression",
    [
        "('10:00'::time AT TIME ZONE 'Europe/Berlin')::text",
        "timezone('Europe/Berlin', make_time(10, 0, 0))::time",
        "birth_date::timestamp::time AT TIME ZONE INTERVAL '1 hour' < '10:00Z'",
    ],
)
async def test_a_time_takes_no_zone_of_today(warehouse: Warehouse, expression: str) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        await value(warehouse, expression)
    assert caught.value.code == "sql_clock"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("birth_date::date", "1974-12-25"),
        ("CAST(birth_date AS date) + 7", "1975-01-01"),
        ("CAST(birth_date || 'T10:00' AS timestamp)::date", "1974-12-25"),
        ("(birth_date::date + interval '18 years')::date", "1992-12-25"),
        ("date_trunc('month', birth_date::date)::date::text", "1974-12-01"),
        ("extract(year FROM (birth_date || 'T10:00:00.5Z')::timestamptz)::integer", 1974),
        ("(birth_date || ' 10:00+02:00')::timestamptz::text", "1974-12-25 08:00:00+00"),
        ("(interval '5 hours' * 6)::time::text", "06:00:00"),
        ("(max(birth_date)::timestamp - interval '1 hour')::time::text", "23:00:00"),
        ("coalesce(NULL::date, birth_date::date)::text", "1974-12-25"),
        ("nullif(gender, 'other')::date::text", None),
        ("CASE WHEN gender IN ('seen today', 'now or never') THEN 1 ELSE 2 END", 2),
        ("(birth_date::timestamp AT TIME ZONE 'Europe/Berlin')::text", "1974-12-24 23:00:00+00"),
    ],
)
async def test_dates_that_are_written_are_read_as_ever(
    warehouse: Warehouse, expression: str, expected: object
) -> None:
    given = await value(warehouse, expression)
    assert (given.isoformat() if hasattr(given, "isoformat") else given) == expected


async def test_a_guarded_cast_keeps_the_name_of_its_column(warehouse: Warehouse) -> None:
    sql = "SELECT birth_date::date, gender || birth_date FROM p WHERE false"
    with pytest.raises(ViewDefinitionError) as caught:
        await keep(warehouse.database, sql_view("v", sql, p="people"))
    assert "?column?" in caught.value.message
    sql = "SELECT CAST(p.birth_date AS date), (id || '')::text FROM p"
    kept = await keep(warehouse.database, sql_view("v", sql, p="people"))
    assert [column.name for column in kept.columns] == ["birth_date", "text"]
