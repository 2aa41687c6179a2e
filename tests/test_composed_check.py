"""What SQL a composed view may be made of, and what is refused, with the place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.vocabulary import EQUIVALENTS, FUNCTION_HINTS
from researchflow_runners.composed.vocabulary import FUNCTIONS as VOCABULARY
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.store.database import Database
from researchflow_server.embedded import Services

PEOPLE = (
    Column("id", "string", "text", description="Key", is_key=True),
    Column("gender", "code", "text", system="http://example.org/gender"),
    Column("birth_date", "date", "text"),
)
RESULTS = (
    Column("id", "string", "text"),
    Column("patient_id", "string", "text"),
    Column("value", "decimal", "numeric"),
    Column("given", "string", "jsonb", collection=True),
)
OVER = {"p": PEOPLE, "r": RESULTS}
NAMES = {label: [column.name for column in columns] for label, columns in OVER.items()}


def check(sql: str, **parameters: str) -> CheckedSql:
    return check_sql(sql, relations=NAMES, parameters=parameters)


def refused(sql: str) -> ViewDefinitionError:
    with pytest.raises(ViewDefinitionError) as caught:
        check(sql)
    assert caught.value.hint
    assert caught.value.field == "sql"
    return caught.value


def at(error: ViewDefinitionError, sql: str) -> str | None:
    """The text at the place of the error."""
    assert error.span is None or 0 <= error.span.start < error.span.end <= len(sql)
    return sql[error.span.start : error.span.end] if error.span else None


# What analysts write

ALLOWED = [
    "SELECT id FROM p",
    "SELECT * FROM p;",
    "TABLE p",
    "SELECT p.*, r.value FROM p LEFT JOIN r ON r.patient_id = p.id",
    "SELECT id FROM p UNION ALL SELECT id FROM r EXCEPT (SELECT patient_id FROM r)",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT p.id, v.name FROM p JOIN (VALUES ('female', 'F')) AS v (code, name) ON code = gender",
    "WITH w AS (SELECT id AS k FROM p), x AS MATERIALIZED (SELECT k FROM w) SELECT k FROM x",
    "SELECT gender, count(*) FILTER (WHERE birth_date < '1990') AS n FROM p"
    " GROUP BY ROLLUP (gender) HAVING count(*) > 1",
    "SELECT patient_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median FROM r"
    " GROUP BY patient_id",
    "SELECT id, lag(value) OVER w AS before FROM r WINDOW w AS (PARTITION BY patient_id"
    " ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
    "SELECT id, row_number() OVER v AS n, array_agg(id) OVER (v ROWS 1 PRECEDING) AS l,"
    " sum(value) OVER w AS s,"
    " (SELECT count(*) OVER w FROM p WINDOW w AS () ORDER BY 1 LIMIT 1) AS c,"
    " lag(id) OVER v AS b FROM r WINDOW w AS (PARTITION BY patient_id), v AS (w ORDER BY id)",
    "SELECT ARRAY(SELECT id FROM p ORDER BY id) AS l",
    "SELECT lpad(id, 12, '0') AS l, rpad(id, 3) AS r, format('%1$-20s|%%|%s', id) AS f FROM p",
    "SELECT id FROM p WHERE gender IN ('seen today', 'now or never')",
    "SELECT p.id, l.value FROM p, LATERAL (SELECT value FROM r WHERE patient_id = p.id"
    " ORDER BY value, r.id LIMIT 1) AS l",
    "SELECT DISTINCT ON (patient_id) patient_id, value FROM r ORDER BY patient_id, value, id",
    "SELECT id, CASE WHEN value >= 6.5 THEN 'high' ELSE 'low' END AS level FROM r",
    "SELECT extract(year FROM birth_date::date) AS y, date_trunc('month', birth_date::date) AS m,"
    " age(date '2024-01-01', birth_date::date)::text AS a FROM p",
    "SELECT coalesce(gender, '?') AS g, nullif(id, '') AS n, greatest(1, 2) AS b FROM p",
    "SELECT trim(both ' ' from id) AS t, substring(id from 1 for 2) AS s, position('a' in id) AS q,"
    " overlay(id placing 'x' from 1) AS o, left(id, 1) AS l, format('%s', id) AS f FROM p",
    "SELECT id FROM p WHERE gender LIKE 'f!%' ESCAPE '!' OR gender SIMILAR TO 'm%' OR id ~* '^a'",
    "SELECT id FROM p WHERE id = ANY (ARRAY['a', 'b']) AND (id, gender) IN (SELECT id, 'x' FROM r)",
    "SELECT r.id, g.value AS name, g.ordinality FROM r,"
    " jsonb_array_elements_text(r.given) WITH ORDINALITY AS g",
    "SELECT key, value::text AS v FROM p, jsonb_each(to_jsonb(p))",
    "SELECT jsonb_each.key, e.v, unnest.unnest AS u, s.s, l.a, z.x FROM p, jsonb_each(to_jsonb(p)),"
    " jsonb_each_text(to_jsonb(p)) AS e (k, v), unnest(ARRAY[1]), string_to_table(id, '-') AS s,"
    " lower(id) AS l (a), ROWS FROM (lower(id), upper(id)) AS z (x, y)",
    "SELECT string_agg(id, ',' ORDER BY id) AS ids, array_agg(DISTINCT id ORDER BY id) AS l FROM p",
    "SELECT (string_to_array(id, '-'))[1] AS head, (ARRAY[1, 2, 3])[2:3] AS part FROM p",
    "SELECT p.id FROM p JOIN r USING (id) WHERE EXISTS (SELECT FROM r WHERE r.patient_id = p.id)",
    "SELECT id /* :not_one */ -- nor :this\n FROM p WHERE gender <> ':this' AND $$:x$$ <> id",
    "SELECT make_interval(days => 3) < interval '1 week' AS soon FROM p",
    'SELECT "p"."id" AS "Key" FROM "p"',
    "SELECT id COLLATE \"C\" AS id FROM p WHERE gender IS DISTINCT FROM 'male' AND NOT id IS NULL",
]


@pytest_asyncio.fixture(scope="module")
async def database(services: Services) -> AsyncIterator[Database]:
    """A database that these tests write nothing to but the bookkeeping schema."""
    opened = await Database.connect(services.postgres_dsn)
    await opened.install_schema()
    yield opened
    await opened.close()


async def described(database: Database, sql: str, **values: Any) -> tuple[Column, ...]:
    types = dict.fromkeys(values, "text")
    checked = check(sql, **types)
    async with database.transaction(readonly=True) as session:
        return await describe(session, checked, OVER, field="sql", values=values)


@pytest.mark.parametrize("sql", ALLOWED)
async def test_analysis_passes_the_check_and_postgresql(sql: str, database: Database) -> None:
    assert await described(database, sql)


# What must not pass: the SQL, the code, the place, and what the message names

FUNCTIONS = [
    "pg_sleep(10)",
    "pg_read_file('/etc/passwd')",
    "set_config('role', 'postgres', false)",
    "dblink('host=elsewhere', 'SELECT 1')",
    "lo_import('/etc/passwd')",
    "nextval('s')",
    "query_to_xml('SELECT 1', true, true, '')",
    "current_setting('data_directory')",
    "pg_advisory_lock(1)",
    "pg_terminate_backend(1)",
    "pg_notify('a', 'b')",
    "txid_current()",
    "has_table_privilege('pg_authid', 'select')",
    "version()",
    "random()",
    "now()",
    "clock_timestamp()",
    "age(birth_date::date)",
    "generate_series(1, 1000000000)",
    "repeat('x', 1000000000)",
    "pg_catalog.pg_ls_dir('.')",
    "public.upper('x')",
    '"pg_sleep"(1)',
    "PG_SLEEP(1)",
    'U&"pg\\005fsleep"(1)',
]


@pytest.mark.parametrize("call", FUNCTIONS)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT {} AS x FROM p",
        "SELECT id FROM p WHERE ({}) IS NULL",
        "SELECT p.id FROM p, {} AS x",
        "WITH w AS (SELECT {} AS x) SELECT id FROM p",
        "SELECT id FROM p ORDER BY {}",
        "SELECT count(*) FILTER (WHERE {} IS NULL) AS n FROM p GROUP BY {}",
        "SELECT (ARRAY[1])[length({}::text)] AS x FROM p",
    ],
)
def test_a_function_that_is_not_listed_is_named_wherever_it_stands(call: str, sql: str) -> None:
    text = sql.replace("{}", call)
    error = refused(text)
    name = call.partition("(")[0]
    assert (error.code, at(error, text)) == ("sql_function", name)
    plain = "pg_sleep" if "005f" in name else name.strip('"').lower()
    assert f"'{plain}'" in error.message
    assert len(error.allowed) == (0 if plain in FUNCTION_HINTS else 3)
    assert set(error.allowed) <= VOCABULARY


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        ("DATEDIFF(day, 'a', 'b')", "a::date - b::date"),
        ("YEAR(birth_date)", "extract(year FROM d::date)"),
        ("IFNULL(gender, 'x')", "coalesce(a, b)"),
        ("MEDIAN(1)", "percentile_cont(0.5)"),
        ("CURRENT_DATE", "Write the date itself"),
        ("GETDATE()", "Write the date itself"),
    ],
)
def test_a_function_of_another_dialect_is_told_in_postgresqls_words(
    call: str, instead: str
) -> None:
    error = refused(f"SELECT {call} AS x FROM p")
    assert error.code == "sql_function"
    assert instead in error.hint


def test_a_function_that_nobody_has_is_told_how_many_there_are() -> None:
    error = refused("SELECT uper(id) AS x FROM p")
    assert error.did_you_mean == "upper"
    assert f"{len(VOCABULARY) - 3} others" in error.hint


def test_no_equivalent_is_named_for_what_postgresql_has() -> None:
    assert not EQUIVALENTS.keys() & VOCABULARY


REFUSED = [
    # other statements, and statements inside
    ("DELETE FROM p", "sql_construct", "DELETE", "DELETE"),
    ("WITH d AS (DELETE FROM p RETURNING *) SELECT * FROM d", "sql_construct", "DELETE", "DELETE"),
    ("WITH d AS (INSERT INTO p VALUES (1)) TABLE d", "sql_construct", "INSERT", "INSERT"),
    ("COPY p TO PROGRAM 'sh'", "sql_construct", "COPY", "COPY"),
    ("DO $$BEGIN END$$", "sql_construct", "DO", "DO"),
    ("SET ROLE postgres", "sql_construct", "SET", "SET"),
    ("SELECT 1; SELECT 2", "sql_statement", ";", "2 statements"),
    ("SELECT 1;; DROP TABLE x", "sql_statement", ";", "2 statements"),
    ("", "sql_statement", None, "0 statements"),
    ("-- nothing", "sql_statement", None, "0 statements"),
    # what writes, locks, samples or runs on
    ("SELECT * INTO x FROM p", "sql_construct", "INTO", "SELECT INTO"),
    ("SELECT id FROM p FOR UPDATE", "sql_construct", "FOR", "FOR UPDATE"),
    ("WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
     "sql_construct", "RECURSIVE", "WITH RECURSIVE"),
    ("SELECT id FROM p TABLESAMPLE SYSTEM (1)", "sql_construct", "TABLESAMPLE", "TABLESAMPLE"),
    # relations
    ("SELECT * FROM pg_authid", "unknown_relation", "pg_authid", "pg_authid"),
    ("SELECT * FROM public.p", "sql_construct", "public", "schema"),
    ("SELECT * FROM researchflow.p", "sql_construct", "researchflow", "schema"),
    ("SELECT public.p.id FROM p", "sql_construct", "public", "schema"),
    ("WITH pg_authid AS (SELECT * FROM pg_authid) SELECT * FROM pg_authid",
     "unknown_relation", "pg_authid", "pg_authid"),
    ("SELECT a.* FROM (WITH pg_authid AS (SELECT 1 AS n) SELECT n FROM pg_authid) AS a, pg_authid",
     "unknown_relation", "pg_authid", "pg_authid"),
    ("WITH a AS (SELECT * FROM b), b AS (SELECT 1 AS n) SELECT * FROM a",
     "unknown_relation", "b", "b"),
    ("SELECT id FROM p WHERE id IN (SELECT rolname FROM pg_roles)",
     "unknown_relation", "pg_roles", "pg_roles"),
    # columns
    ("SELECT gendr FROM p", "unknown_column", "gendr", "gendr"),
    ("SELECT p.ctid FROM p", "unknown_column", "p.ctid", "ctid"),
    ("SELECT xmin FROM p", "unknown_column", "xmin", "xmin"),
    ("SELECT p._id FROM p", "unknown_column", "p._id", "_id"),
    ("SELECT p.birth_date__lo FROM p", "unknown_column", "p.birth_date__lo", "birth_date__lo"),
    # functions in disguise
    ("SELECT p.pg_sleep FROM p", "unknown_column", "p.pg_sleep", "pg_sleep"),
    ("SELECT ('/etc/passwd'::text).pg_read_file", "sql_construct", None, "a field of a value"),
    ("SELECT (p 'x').pg_column_size FROM p", "sql_construct", None, "a field of a value"),
    ("SELECT (p).pg_column_size FROM p", "sql_construct", "p", "a field of a value"),
    ("SELECT a.pg_read_file AS c FROM unnest(ARRAY['/etc/passwd']) AS a,"
     " (SELECT 1 AS pg_read_file) AS z", "unknown_column", "a.pg_read_file", "pg_read_file"),
    ("SELECT unnest.pg_read_file AS c FROM unnest(ARRAY['/etc/passwd']),"
     " (SELECT 1 AS pg_read_file) AS z", "unknown_column", "unnest.pg_read_file", "pg_read_file"),
    ("SELECT pg_ls_dir.pg_ls_dir AS c FROM unnest(ARRAY['.']) AS pg_ls_dir (x)",
     "unknown_column", "pg_ls_dir.pg_ls_dir", "pg_ls_dir"),
    ("SELECT pg_ls_dir.pg_ls_dir AS c FROM jsonb_array_elements_text('[\".\"]') AS pg_ls_dir",
     "unknown_column", "pg_ls_dir.pg_ls_dir", "pg_ls_dir"),
    ("WITH a AS (SELECT 1 AS pg_ls_dir) SELECT (SELECT a.pg_ls_dir FROM lower('.') AS a) AS c"
     " FROM a", "unknown_column", "a.pg_ls_dir", "pg_ls_dir"),
    ("WITH text AS (SELECT 1 AS pg_ls_dir) SELECT text.pg_ls_dir AS c FROM CAST('.' AS text)",
     "sql_alias", "CAST", "name of its own"),
    # what makes texts without end
    ("SELECT lpad(id, 100000000) FROM p", "sql_too_large", "lpad", "lpad"),
    ("SELECT rpad(id, 9999 * 9999) FROM p", "sql_too_large", "rpad", "rpad"),
    ("SELECT lpad(id) FROM p", "sql_too_large", "lpad", "lpad"),
    ("SELECT format('%1$-100000000s', id) FROM p", "sql_too_large", "format", "format"),
    ("SELECT format('%*s', 100000000, id) FROM p", "sql_too_large", "format", "format"),
    ("SELECT format('%' || '100000000s', id) FROM p", "sql_too_large", "format", "format"),
    # types, operators, session
    ("SELECT 'pg_authid'::regclass", "sql_type", "regclass", "regclass"),
    ("SELECT CAST(1 AS oid)", "sql_type", "oid", "oid"),
    ("SELECT xml '<a/>'", "sql_type", "xml", "xml"),
    ("SELECT 1::public.mine", "sql_type", "public", "public.mine"),
    ("SELECT 1 OPERATOR(public.+) 2", "sql_operator", "OPERATOR", "public.+"),
    ("SELECT 1 <-> 2", "sql_operator", "<->", "<->"),
    ("SELECT id FROM p ORDER BY id USING <", "sql_construct", None, "USING"),
    ('SELECT id COLLATE "de_DE" FROM p', "sql_type", "COLLATE", "de_DE"),
    ("SELECT current_user", "sql_function", "current_user", "current_user"),
    ("SELECT session_user AS u FROM p", "sql_function", "session_user", "session_user"),
    ("SELECT xmlelement(name a)", "sql_construct", "xmlelement", "XML"),
    # what gives other rows each time
    ("SELECT current_date FROM p", "sql_function", "current_date", "current_date"),
    ("SELECT localtimestamp(0)", "sql_function", "localtimestamp", "localtimestamp"),
    ("SELECT 'today'::date", "sql_clock", "'today'", "today"),
    ("SELECT date ' Now '", "sql_clock", "' Now '", "Now"),
    ("SELECT id FROM p WHERE birth_date::date < 'tomorrow'", "sql_clock", "'tomorrow'", "tomorrow"),
    ("SELECT id FROM p WHERE birth_date::timestamp < 'today 12:00'",
     "sql_clock", "'today 12:00'", "today 12:00"),
    ("SELECT '{Now, 2024-01-01}'::date[]", "sql_clock", "'{Now, 2024-01-01}'", "Now"),
    ("SELECT '{Now, 2024-01-01}'::text[]::date[]", "sql_clock", "::", "computed text"),
    ("SELECT ARRAY[id]::date[] FROM p", "sql_clock", "::", "computed text"),
    ("SELECT 'today10:00'::timestamp", "sql_clock", "'today10:00'", "today10:00"),
    ("SELECT time 'now+02'", "sql_clock", "'now+02'", "now+02"),
    ("SELECT date(id) FROM p", "sql_function", "date", "date"),
    ("SELECT pg_catalog.date('to' || 'day') FROM p", "sql_function", "pg_catalog.date", "date"),
    ("SELECT id FROM p LIMIT 1", "sql_unordered", "LIMIT", "LIMIT"),
    ("SELECT id FROM p OFFSET 1", "sql_unordered", "OFFSET", "OFFSET"),
    ("SELECT DISTINCT ON (gender) id FROM p", "sql_unordered", "DISTINCT", "DISTINCT ON"),
    ("SELECT array_agg(id) FROM p", "sql_unordered", "array_agg", "array_agg"),
    ("SELECT row_number() OVER () AS n FROM p", "sql_unordered", "row_number", "row_number"),
    ("SELECT row_number() OVER w AS n FROM p WINDOW w AS (PARTITION BY gender)",
     "sql_unordered", "row_number", "row_number"),
    ("SELECT (SELECT 1 WINDOW w AS (ORDER BY id)), lag(id) OVER (v) AS n FROM p"
     " WINDOW w AS (PARTITION BY id), v AS (w)", "sql_unordered", "lag", "lag"),
    ("SELECT array_agg(id) OVER (PARTITION BY gender) AS l FROM p",
     "sql_unordered", "array_agg", "array_agg"),
    ("SELECT sum(value) OVER (ROWS 1 PRECEDING) AS s FROM r", "sql_unordered", "sum", "sum"),
    ("SELECT count(*) OVER (w ROWS 1 PRECEDING) AS s FROM r WINDOW w AS (PARTITION BY id)",
     "sql_unordered", "count", "count"),
    ("SELECT ARRAY(SELECT id FROM p) AS l", "sql_unordered", "ARRAY", "ARRAY"),
    # parameters and syntax
    ("SELECT $1", "unknown_parameter", "$1", "$1"),
    ("SELECT id FROM p WHERE id = :id", "unknown_parameter", ":id", "id"),
    ("SELECT id FROM p WHERE WHERE", "sql_syntax", "WHERE", "WHERE"),
    ("SELECT 'é', id FROM p WHERE (", "sql_syntax", None, "its end"),
    ("SELECT 'open", "sql_syntax", "'open", "'open"),
    ("SELECT 'é' AS e, nope(1)", "sql_function", "nope", "nope"),
    ("SELECT 1 /* é :x */, 'ü', gendr FROM p", "unknown_column", "gendr", "gendr"),
    ("SELECT \x00", "sql_syntax", None, "NUL"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "place", "named"), REFUSED)
def test_what_is_not_listed_is_refused_at_its_place(
    sql: str, code: str, place: str | None, named: str
) -> None:
    error = refused(sql)
    assert error.code == code
    assert named in error.message
    found = at(error, sql)
    assert place in (None, found)


def test_the_nearest_name_is_told() -> None:
    assert refused("SELECT gendr FROM p").did_you_mean == "gender"
    assert refused("SELECT uper(id) FROM p").did_you_mean == "upper"
    assert refused("SELECT id FROM rr").allowed == ("p", "r")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "not " * 4_000 + "true",
        "SELECT " + "+".join("1" * 3_000),
        "SELECT " + "(SELECT " * 900 + "1" + ")" * 900,
        "SELECT '" + "x" * 20_000 + "'",
        "SELECT " + ", ".join(["1"] * 2_600),
        "SELECT " + " || ".join(["'a'"] * 200),
    ],
)
def test_a_text_beyond_its_bounds_is_refused(sql: str) -> None:
    assert refused(sql).code == "sql_too_large"


# Parameters


def test_parameters_are_bound_and_never_written_out() -> None:
    sql = "SELECT id FROM p WHERE id = :who AND ':who' <> $$:who$$ -- :who\n AND gender = :who"
    text, values = check(sql, who="text").sql({"who": "x' OR true --"}).render()
    assert values == ["x' OR true --"]
    assert text.count("$1::text") == 2
    assert "OR true" not in text
    assert "':who' <> $$:who$$" in text


def test_a_cast_and_a_slice_are_no_parameters() -> None:
    sql = "SELECT id::text AS id, (ARRAY[1, 2])[1:2] AS s, (ARRAY[1])[:1] AS t FROM p"
    assert check(sql, text="text").syntax.parameters == {}


async def test_a_fault_behind_a_parameter_has_its_place(database: Database) -> None:
    sql = "SELECT id FROM p WHERE id = :who AND length(gender) = 'x'"
    with pytest.raises(ViewDefinitionError) as caught:
        await described(database, sql, who="somebody")
    assert (caught.value.code, at(caught.value, sql)) == ("sql_rejected", "'x'")


# What is read


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT gender FROM p WHERE id = 'a'", {"gender", "id"}),
        ("SELECT count(*) AS n FROM p JOIN r USING (id)", {"id"}),
        ("SELECT * FROM p", None),
        ("SELECT to_jsonb(p) AS j FROM p", None),
        ("SELECT q.a FROM p AS q (a)", None),
        ("SELECT j.b FROM (p JOIN r ON true) AS j (a, b)", None),
        ("SELECT gender FROM p NATURAL JOIN r", None),
    ],
)
def test_only_columns_that_cannot_matter_are_left_out(sql: str, read: set[str] | None) -> None:
    assert check(sql).columns_read == read


# What PostgreSQL says of a text that passed

FAULTS = [
    ("SELECT p.value FROM p", "p", "'p'"),
    ("SELECT id FROM p, r", "id", "'id'"),
    ("SELECT gender, count(*) AS n FROM p", "gender", "GROUP BY"),
    ("SELECT abs(gender) AS a FROM p", "abs", "abs"),
    ("SELECT id FROM p WHERE gender", "gender", "gender"),
    ("SELECT x.id FROM p", "x", "relation 'x'"),
    ("SELECT 'é' AS e, value + gender AS s FROM p, r", "+", "'+'"),
    ("SELECT 'zwei'::int4 AS n FROM p", "'zwei'", "zwei"),
    ("SELECT id FROM p UNION SELECT value FROM r", "value", "value"),
]


@pytest.mark.parametrize(("sql", "place", "named"), FAULTS)
async def test_what_postgresql_rejects_has_its_place(
    sql: str, place: str, named: str, database: Database
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        await described(database, sql)
    assert (caught.value.code, at(caught.value, sql)) == ("sql_rejected", place)
    assert named in caught.value.message + caught.value.hint


async def test_a_fault_without_a_place_names_its_kind(database: Database) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        await described(database, "SELECT 1 / 0 AS n FROM p")
    assert caught.value.code == "sql_rejected"
    assert "(SQLSTATE '22012')" in caught.value.message


COLUMN_FAULTS = [
    ("SELECT 1 FROM p", "column_name", "?column?"),
    ("SELECT id AS _id FROM p", "column_name", "_id"),
    ("SELECT p.id, r.id FROM p, r", "duplicate_column", "id"),
    ("SELECT birth_date, 1 AS birth_date__lo FROM p", "duplicate_column", "birth_date__lo"),
    ("SELECT p AS whole FROM p", "column_type", "record"),
    ("SELECT interval '1 day' AS i FROM p", "column_type", "interval"),
    ("SELECT FROM p", "too_many_columns", "0 columns"),
    (
        "SELECT " + ", ".join(f"1 AS c{n}" for n in range(201)) + " FROM p",
        "too_many_columns",
        "201",
    ),
]


@pytest.mark.parametrize(("sql", "code", "named"), COLUMN_FAULTS)
async def test_columns_that_a_view_cannot_have_are_refused(
    sql: str, code: str, named: str, database: Database
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        await described(database, sql)
    assert caught.value.code == code
    assert named in caught.value.message


MEANINGS = [
    "SELECT birth_date AS d FROM p",
    "SELECT x.d FROM (SELECT birth_date AS d FROM p) AS x",
    "WITH w (d, e) AS (SELECT birth_date, id FROM p) SELECT * FROM w",
    "SELECT a.d FROM p AS a (i, g, d) JOIN r ON r.patient_id = a.i",
    "SELECT birth_date AS d FROM p UNION SELECT birth_date FROM p",
    "SELECT birth_date AS d FROM p JOIN r USING (id)",
    "SELECT p.birth_date AS d FROM r LEFT JOIN p ON true",
    "SELECT w.d FROM r, LATERAL (SELECT birth_date AS d FROM p WHERE p.id = r.patient_id) AS w",
]


@pytest.mark.parametrize("sql", MEANINGS)
async def test_a_plain_column_keeps_its_meaning(sql: str, database: Database) -> None:
    found = {column.name: column for column in await described(database, sql)}
    assert found["d"].fhir_type == "date"
    assert found["d"].has_range


COMPUTED = [
    "SELECT min(birth_date) AS d FROM p",
    "SELECT coalesce(birth_date, '1900') AS d FROM p",
    "SELECT birth_date AS d FROM p UNION SELECT gender FROM p",
    "SELECT birth_date || '' AS d FROM p",
    "SELECT gender AS d FROM (SELECT birth_date AS b, gender FROM p) AS birth_date",
    "SELECT d FROM (VALUES ('2024')) AS v (d), (SELECT birth_date FROM p) AS w",
]


@pytest.mark.parametrize("sql", COMPUTED)
async def test_a_computed_column_is_no_date(sql: str, database: Database) -> None:
    found = {column.name: column for column in await described(database, sql)}
    assert not found["d"].has_range


async def test_a_key_of_one_view_is_no_key_of_the_join(database: Database) -> None:
    (column,) = await described(database, "SELECT id FROM p")
    assert (column.description, column.is_key) == ("Key", False)
