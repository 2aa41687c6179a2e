"""SQL as models write it for other databases, and casts that a row does not fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, lab, patient
from composed import sql_view
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

P = "FROM patient_simple"
MISTAKES = [
    (f"SELECT DATEDIFF(day, birth_date, birth_date) AS d {P}", "sql_function", "a::date - b::date"),
    (f"SELECT TIMESTAMPDIFF(DAY, birth_date, id) AS d {P}", "sql_function", "a::date - b::date"),
    (f"SELECT YEAR(birth_date) AS y {P}", "sql_function", "extract(year FROM d::date)"),
    (f"SELECT MONTH(birth_date) AS m {P}", "sql_function", "extract(month FROM d::date)"),
    (f"SELECT DATEPART(year, birth_date) AS y {P}", "sql_function", "extract(year"),
    (f"SELECT IFNULL(gender, 'x') AS g {P}", "sql_function", "coalesce(a, b)"),
    (f"SELECT NVL(gender, 'x') AS g {P}", "sql_function", "coalesce(a, b)"),
    (f"SELECT ISNULL(gender, 'x') AS g {P}", "sql_function", "coalesce(a, b)"),
    (f"SELECT CONVERT(int, gender) AS g {P}", "sql_function", "CAST(x AS type)"),
    (f"SELECT CHARINDEX('a', gender) AS n {P}", "sql_function", "strpos(text, part)"),
    (f"SELECT LEN(gender) AS n {P}", "sql_function", "length(x)"),
    (f"SELECT DATEADD(day, 1, birth_date) AS d {P}", "sql_function", "d::date + 30"),
    (f"SELECT STRFTIME('%Y', birth_date) AS y {P}", "sql_function", "to_char(d::date"),
    (f"SELECT median(id) AS m {P}", "sql_function", "percentile_cont(0.5)"),
    (f"SELECT GROUP_CONCAT(id) AS i {P}", "sql_function", "string_agg"),
    (f"SELECT IF(gender = 'male', 1, 0) AS i {P}", "sql_function", "CASE WHEN"),
    (f"SELECT id {P} WHERE birth_date::date < CURRENT_DATE", "sql_function", "today-2y"),
    (f"SELECT id {P} WHERE birth_date::date < now()", "sql_function", "today-2y"),
    (f"SELECT GETDATE() AS d {P}", "sql_function", "today-2y"),
    (f"SELECT CURRENT_USER AS u {P}", "sql_function", "no part of an answer"),
    (f"SELECT TOP 10 id {P}", "sql_syntax", "ORDER BY … LIMIT"),
    (f"SELECT `id` {P}", "sql_syntax", "double quotes"),
    (f"SELECT [id] {P}", "sql_syntax", "double quotes"),
    (f"SELECT id {P} QUALIFY row_number() OVER () = 1", "sql_syntax", "row_number() OVER"),
    (f"SELECT DATE_SUB(birth_date, INTERVAL 1 YEAR) AS d {P}", "sql_syntax", "interval '1 year'"),
    (f"SELECT id {P} WHERE birth_date REGEXP 'x'", "sql_syntax", "~ 'pattern'"),
    (f"SELECT id {P} ORDER BY id LIMIT 5, 10", "sql_syntax", "OFFSET"),
    (f"SELECT id {P} WHERE id = ?", "sql_syntax", ":name"),
    (f"SELECT id {P} WHERE id = $1", "unknown_parameter", '"parameters"'),
    (f"SELECT id {P} WHERE id = :who", "unknown_parameter", '"parameters"'),
    (f"SELECT id {P} WHERE id == 'a'", "sql_operator", "Write =."),
    (f"SELECT CAST(id AS STRING) AS s {P}", "sql_type", "x::text"),
    (f"SELECT birth_date::datetime AS s {P}", "sql_type", "x::timestamptz"),
    (f'SELECT id {P} WHERE gender = "male"', "unknown_column", "'male'"),
    ("SELECT id FROM sqlonfhir.patient_simple", "sql_construct", "view's name alone"),
    ("DELETE FROM patient_simple", "sql_construct", "cache_resources"),
    (f"SELECT birth_date - interval '2 years' AS d {P}", "sql_rejected", "d::timestamp - interval"),
    (f"SELECT birth_date + 5 AS d {P}", "sql_rejected", "d::date - 30"),
    (f"SELECT birth_date - birth_date AS d {P}", "sql_rejected", "a::date - b::date"),
    (
        f"SELECT extract(year FROM birth_date) AS d {P}",
        "sql_rejected",
        "extract(year FROM d::date)",
    ),
    (f"SELECT date_trunc('year', birth_date) AS d {P}", "sql_rejected", "cast them"),
    (f"SELECT avg(gender) AS d {P}", "sql_rejected", "avg(x::numeric)"),
    (f"SELECT birth_date > 1950 AS d {P}", "sql_rejected", "d::date > '2020-01-01'"),
    (f"SELECT 1 / 0 AS d {P}", "sql_rejected", "nullif(b, 0)"),
    (f"SELECT id {P} LIMIT 5", "sql_unordered", "ORDER BY … LIMIT"),
    ("SELECT 1 AS one", "sql_reads_no_view", "list_views"),
]
#: Two rows have a gender, one of them a birth date of a year alone.
CASTS = [
    (f"SELECT gender::integer AS n {P}", "gender::integer in 2 rows", r"gender ~ '^-?\d+"),
    (f"SELECT CAST(p.gender AS numeric) AS n {P} AS p", "gender::numeric in 2 rows", "CASE WHEN"),
    (f"SELECT birth_date::date AS d {P}", "birth_date::date in 1 rows", r"birth_date ~ '^\d{4}-"),
    (f"SELECT birth_date::text::timestamptz AS d {P}", "birth_date::timestamptz in 1 rows", "CASE"),
    (
        "WITH old AS (SELECT p.birth_date::date AS born FROM patient_simple AS p "
        "JOIN condition_simple AS c ON c.patient_id = p.id OR true) SELECT max(born) AS b FROM old",
        "birth_date::date in 1 rows",
        "CASE WHEN",
    ),
]


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """Two patients, one of them with a partial date; its tests leave it as it is."""
    async with (
        module_stores(services, number=14) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        partial = patient("bea", birthDate="1990")
        await server.put(patient("ada", birthDate="1960-05-01"), partial)
        await server.put(condition("c1", "ada"), lab("l1", "ada", 8.1))
        await server.call("refresh_views")
        yield server


@pytest.mark.parametrize(("sql", "code", "hint"), MISTAKES)
async def test_sql_of_another_dialect_is_answered_with_postgresqls(
    tools: ToolServer, sql: str, code: str, hint: str
) -> None:
    error = await tools.error("query_sql", sql=sql)
    assert error["code"] == code
    assert hint in error["hint"]
    assert len(error.get("allowed", [])) <= 20


async def test_an_unknown_function_has_the_nearest_three_and_no_guessed_aggregate(
    tools: ToolServer,
) -> None:
    error = await tools.error("query_sql", sql=f"SELECT medain(id) AS m {P}")
    assert (len(error["allowed"]), error.get("did_you_mean")) == (3, None)
    assert "others" in error["hint"]


@pytest.mark.parametrize(("sql", "told", "guard"), CASTS)
async def test_a_cast_that_rows_do_not_fit_is_named_with_their_number(
    tools: ToolServer, sql: str, told: str, guard: str
) -> None:
    for freshness in ("live", "anchored"):
        error = await tools.error("query_sql", sql=sql, freshness=freshness)
        assert error["code"] == "composed_view_fails"
        assert f'{told} of view "patient_simple"' in error["message"]
        assert guard in error["hint"]
        assert "1990" not in str(error)


async def test_the_guard_that_is_told_makes_the_cast(tools: ToolServer) -> None:
    error = await tools.error("query_sql", sql=f"SELECT birth_date::date AS d {P}")
    guard = error["hint"].partition(": ")[2]
    answer = await tools.call("query_sql", sql=f"SELECT {guard} AS d {P} ORDER BY 1")
    assert answer["rows"] == [["1960-05-01"], [None]]


async def test_a_composed_view_that_a_row_does_not_fit_says_which_cast(tools: ToolServer) -> None:
    born: Any = sql_view("born", f"SELECT p.birth_date::date AS d {P} AS p", p="patient_simple")
    born["relatedArtifact"][0]["label"] = "patient_simple"
    await tools.call("register_view", definition=born)
    error = await tools.error("query_view", view="born")
    assert (error["code"], error["field"]) == ("composed_view_fails", "view")
    assert 'birth_date::date in 1 rows of view "patient_simple"' in error["message"]
    above = await tools.error("query_sql", sql="SELECT max(d) AS d FROM born")
    assert "birth_date::date in 1 rows" in above["message"]
    await tools.call("drop_view", view="born")
