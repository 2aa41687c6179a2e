"""SQL over views in one call: right rows in the order asked, dated, paged, and nothing kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from clinic import Clinic, condition, lab, open_clinic, patient
from composed import WOMEN_LABS, keep, sql_view
from researchflow_runners.errors import FreshnessError, QueryError, ViewDefinitionError
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import SqlQuery
from researchflow_server.embedded import Services

TEMPLATE = "sql_tool_template"
COPY = "sql_tool_copy"
LATEST = """
SELECT DISTINCT ON (patient_id) patient_id, value_quantity
FROM observation_labs ORDER BY patient_id, effective_datetime::date DESC, id
"""


@pytest_asyncio.fixture(scope="module")
async def template(services: Services) -> str:
    """Three patients with labs over the years, refreshed; a database to copy."""
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE hapi_template")
    async with open_clinic(services.postgres.dsn_of(TEMPLATE), services.redis_url) as clinic:
        await clinic.put(patient("a"), patient("b", gender="male"), patient("c"))
        await clinic.put(condition("1", "a"), condition("2", "b"))
        await clinic.put(
            lab("p", "a", 6, effectiveDateTime="2021-01-10"),
            lab("q", "a", 8, effectiveDateTime="2022-01-10"),
            lab("r", "b", 7, effectiveDateTime="2022-01-10"),
            lab("s", "c", 9, effectiveDateTime="2020-01-10"),
            lab("t", "c", 9, effectiveDateTime="2020-02-10"),
        )
        await clinic.refresh()
        await keep(clinic.database, sql_view("women_labs", WOMEN_LABS))
    await connection.close()
    return TEMPLATE


@pytest_asyncio.fixture
async def clinic(services: Services, template: str, redis_url: str) -> AsyncIterator[Clinic]:
    """A clinic of its own with the patients of `template`."""
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute(f"CREATE DATABASE {COPY} TEMPLATE {template} STRATEGY file_copy")
    async with open_clinic(services.postgres.dsn_of(COPY), redis_url) as opened:
        yield opened
    await connection.execute(f"DROP DATABASE {COPY} WITH (FORCE)")
    await connection.close()


async def ask(clinic: Clinic, sql: str, **asked: Any) -> Answer:
    return await clinic.runner.query_sql(SqlQuery.model_validate({"sql": sql, **asked}))


async def rows(clinic: Clinic, sql: str, **asked: Any) -> list[tuple[Any, ...]]:
    return [
        tuple(str(value) if value is not None else None for value in row)
        for row in (await ask(clinic, sql, **asked)).rows
    ]


# Rows


async def test_the_latest_value_of_each_patient_is_one_call(clinic: Clinic) -> None:
    assert await rows(clinic, LATEST) == [("a", "8"), ("b", "7"), ("c", "9")]


async def test_rows_come_in_the_order_asked(clinic: Clinic) -> None:
    text = "SELECT id FROM observation_labs ORDER BY value_quantity DESC, id DESC"
    assert [row[0] for row in await rows(clinic, text)] == ["t", "s", "q", "r", "p"]


async def test_what_an_order_leaves_open_is_settled_by_the_columns(clinic: Clinic) -> None:
    tied = "SELECT value_quantity, id FROM observation_labs ORDER BY value_quantity DESC LIMIT 1;"
    for _time in range(3):
        assert await rows(clinic, tied) == [("9", "s")]
    union = (
        "SELECT id FROM patient_simple UNION ALL SELECT id FROM condition_simple ORDER BY 1 DESC"
    )
    assert [row[0] for row in await rows(clinic, union)] == ["c", "b", "a", "2", "1"]


async def test_rows_that_tie_with_the_last_are_kept_where_asked(clinic: Clinic) -> None:
    text = (
        "SELECT id FROM observation_labs ORDER BY value_quantity DESC FETCH FIRST 1 ROW WITH TIES"
    )
    assert sorted(row[0] for row in await rows(clinic, text)) == ["s", "t"]


async def test_rows_without_an_order_come_in_that_of_their_columns(clinic: Clinic) -> None:
    text = "SELECT value_quantity AS v, patient_id FROM observation_labs -- all of them"
    found = await rows(clinic, text)
    assert found == [("6", "a"), ("7", "b"), ("8", "a"), ("9", "c"), ("9", "c")]


@pytest.mark.parametrize("order", ["", " ORDER BY value_quantity DESC", " ORDER BY 1 LIMIT 4"])
async def test_pages_give_every_row_once_in_order(clinic: Clinic, order: str) -> None:
    text = f"SELECT value_quantity, id FROM observation_labs{order}"
    for freshness in ("live", "anchored"):
        whole = await rows(clinic, text, freshness=freshness)
        paged: list[tuple[Any, ...]] = []
        cursor = None
        while True:
            answer = await ask(clinic, text, limit=2, cursor=cursor, freshness=freshness)
            paged += [tuple(map(str, row)) for row in answer.rows]
            cursor = answer.next_cursor
            if cursor is None:
                break
        assert paged == whole


async def test_a_cursor_belongs_to_its_text_and_parameters(clinic: Clinic) -> None:
    text = "SELECT id FROM observation_labs WHERE value_quantity > :low"
    answer = await ask(clinic, text, limit=1, parameters={"low": 6.5})
    for other in ({"sql": text + " "}, {"parameters": {"low": 6}}):
        asked = {"sql": text, "parameters": {"low": 6.5}, "cursor": answer.next_cursor, **other}
        with pytest.raises(QueryError, match="does not belong"):
            await clinic.runner.query_sql(SqlQuery.model_validate(asked))


async def test_parameters_are_bound_by_name(clinic: Clinic) -> None:
    text = "SELECT id FROM observation_labs WHERE patient_id = ANY(:who) AND value_quantity > :low"
    found = await rows(clinic, text, parameters={"who": ["a", "c' OR true --"], "low": 6.5})
    assert found == [("q",)]
    both = "SELECT count(*) FROM patient_simple WHERE (gender = :sex) = :yes AND :n = 1"
    assert await rows(clinic, both, parameters={"sex": "male", "yes": False, "n": 1}) == [("2",)]


@pytest.mark.parametrize(
    ("value", "code"),
    [([], "parameter_type"), (["a", 1], "parameter_type"), (2**63, "parameter_type")],
)
async def test_a_value_that_cannot_be_bound_is_named(clinic: Clinic, value: Any, code: str) -> None:
    query = SqlQuery.model_construct(
        sql="SELECT id FROM patient_simple WHERE id = :v", parameters={"v": value}
    )
    with pytest.raises(QueryError) as caught:
        await clinic.runner.query_sql(query)
    assert (caught.value.code, caught.value.field) == (code, "parameters.v")


async def test_composed_views_are_read_too(clinic: Clinic) -> None:
    text = (
        "SELECT count(*) AS n, max(labs) AS most FROM Women_Labs AS w"
        " JOIN patient_simple AS p ON p.id = w.patient_id"
    )
    assert await rows(clinic, text) == [("2", "2")]


async def test_columns_keep_what_the_views_say_of_them(clinic: Clinic) -> None:
    answer = await ask(
        clinic, "SELECT gender, birth_date, count(*) AS n FROM patient_simple GROUP BY 1, 2"
    )
    assert [column.type for column in answer.columns] == ["code", "date", "integer64"]
    assert answer.columns[0].system == "http://hl7.org/fhir/administrative-gender"


# Dated


async def test_an_answer_is_dated_like_a_views(clinic: Clinic) -> None:
    answer = await ask(clinic, LATEST)
    plain: Answer = await clinic.ask("observation_labs")
    assert (answer.view, answer.route, answer.freshness) == ("sql", "materialized", "live")
    assert (answer.anchor, answer.data_as_of) == (plain.anchor, plain.data_as_of)
    assert (answer.pending, answer.missing_resources) == (0, 0)


async def test_changes_show_live_and_not_at_the_anchor(clinic: Clinic) -> None:
    await clinic.put(lab("u", "a", 12, effectiveDateTime="2024-01-01"))
    await clinic.cache(lab("u", "a", 12, effectiveDateTime="2024-01-01"), "Observation/s")
    live = await ask(clinic, LATEST)
    assert [str(row[1]) for row in live.rows] == ["12", "7", "9"]
    assert (live.speed.entries, live.speed.rows_added) == (2, None)
    assert [row[1] for row in await rows(clinic, LATEST, freshness="anchored")] == ["8", "7", "9"]


async def test_an_earlier_anchor_gives_its_rows(clinic: Clinic) -> None:
    await clinic.put(lab("u", "a", 12, effectiveDateTime="2024-01-01"))
    await clinic.refresh()
    assert [row[1] for row in await rows(clinic, LATEST)] == ["12", "7", "9"]
    assert [row[1] for row in await rows(clinic, LATEST, as_of=1)] == ["8", "7", "9"]
    with pytest.raises(FreshnessError):
        await ask(clinic, LATEST, as_of=datetime(2001, 1, 1, tzinfo=UTC))


async def test_a_promise_of_freshness_is_kept_or_refused(clinic: Clinic) -> None:
    with pytest.raises(FreshnessError, match="cannot be promised"):
        await ask(clinic, LATEST, max_staleness_s=0.000001)
    assert (await ask(clinic, LATEST, max_staleness_s=600)).row_count == 3


async def test_nothing_of_the_text_is_kept(clinic: Clinic) -> None:
    async with clinic.database.session() as session:
        count = "SELECT count(*) FROM pg_catalog.pg_class"
        before = await session.fetchval(count)
        await ask(clinic, LATEST)
        assert await session.fetchval(count) == before


async def test_a_view_defined_anew_is_checked_anew(clinic: Clinic) -> None:
    text = "SELECT shouted FROM women_labs"
    assert (await ask(clinic, text)).row_count == 2
    await keep(
        clinic.database, sql_view("women_labs", "SELECT id AS lab_id FROM p", p="patient_simple")
    )
    with pytest.raises(ViewDefinitionError) as caught:
        await ask(clinic, text)
    assert (caught.value.code, caught.value.field) == ("unknown_column", "sql")


# Said


async def test_rows_that_an_order_does_not_tell_apart_are_warned_of(clinic: Clinic) -> None:
    open_ties = LATEST.replace(", id\n", "\n")
    (warning,) = (await ask(clinic, open_ties)).warnings
    assert warning.startswith("DISTINCT ON may keep some of several rows")
    assert (await ask(clinic, LATEST)).warnings == ()
    top = "SELECT code, count(*) AS n FROM observation_labs GROUP BY code ORDER BY n DESC LIMIT 5"
    assert (await ask(clinic, top)).warnings == ()


async def test_pages_of_a_live_answer_are_warned_of(clinic: Clinic) -> None:
    text = "SELECT id FROM observation_labs"
    (warning,) = (await ask(clinic, text, limit=1)).warnings
    assert "freshness anchored" in warning
    assert (await ask(clinic, text, limit=1, freshness="anchored")).warnings == ()


REFUSED = [
    ("SELECT 1", "sql_reads_no_view", None),
    ("WITH w AS (SELECT 1 AS n) SELECT n FROM w", "sql_reads_no_view", None),
    ("SELECT * FROM patients", "unknown_relation", "patient_simple"),
    ("SELECT * FROM pg_catalog.pg_class", "unknown_relation", None),
    ("SELECT ids FROM patient_simple", "unknown_column", "id"),
    ("DELETE FROM patient_simple", "sql_construct", None),
    ("SELECT id FROM patient_simple; SELECT id FROM patient_simple", "sql_statement", None),
    ("SELECT pg_sleep(1) FROM patient_simple", "sql_function", None),
    ("SELECT id FROM patient_simple WHERE id = :gone", "unknown_parameter", None),
    ("SELECT id FROM patient_simple WHERE", "sql_syntax", None),
    ("SELECT id, id FROM patient_simple", "duplicate_column", None),
]


@pytest.mark.parametrize(("text", "code", "nearest"), REFUSED, ids=[one[0] for one in REFUSED])
async def test_a_text_that_is_no_question_over_views_is_refused(
    clinic: Clinic, text: str, code: str, nearest: str | None
) -> None:
    with pytest.raises((QueryError, ViewDefinitionError)) as caught:
        await ask(clinic, text)
    assert (caught.value.code, caught.value.field) == (code, "sql")
    if nearest is not None:
        assert caught.value.did_you_mean == nearest


async def test_a_row_that_the_sql_cannot_compute_is_told(clinic: Clinic) -> None:
    with pytest.raises(QueryError) as caught:
        await ask(clinic, "SELECT id::integer AS n FROM patient_simple")
    assert (caught.value.code, caught.value.field) == ("composed_view_fails", "sql")


async def test_without_any_view_a_refresh_is_named(source_dsn: str, redis_url: str) -> None:
    async with open_clinic(source_dsn, redis_url) as empty:
        with pytest.raises(ViewDefinitionError) as caught:
            await ask(empty, "SELECT id FROM patient_simple")
    assert caught.value.code == "unknown_relation"
