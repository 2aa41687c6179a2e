"""Statements that no researcher needs: what each reaches for, by kind.

REFUSED ones never run. COSTLY ones are words that the vocabulary has, put to work without end: they
may run, and must end by themselves or be ended.
"""

from __future__ import annotations

from collections.abc import Iterator

P = "patient_simple"

REFUSED: dict[str, list[str]] = {
    "files": [
        f"SELECT pg_read_binary_file('/etc/shadow') FROM {P}",
        f"SELECT pg_read_file('PG_VERSION', 0, 10, true) FROM {P}",
        f"SELECT pg_stat_file('/etc/passwd') FROM {P}",
        f"SELECT * FROM pg_ls_logdir(), {P}",
        f"SELECT pg_ls_waldir() FROM {P}",
        f"COPY {P} TO '/tmp/stolen'",
        f"COPY (SELECT * FROM {P}) TO PROGRAM 'curl x'",
        f"COPY {P} FROM '/etc/passwd'",
        f"SELECT lo_export(1, '/tmp/x') FROM {P}",
        f"SELECT lo_from_bytea(0, 'x') FROM {P}",
        f"SELECT lo_creat(-1), lo_put(1, 0, 'x') FROM {P}",
        f"SELECT convert_from(pg_read_binary_file('/etc/hosts'), 'UTF8') AS x FROM {P}",
    ],
    "catalogues and other schemas": [
        "SELECT * FROM pg_shadow",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pg_catalog.pg_proc",
        "SELECT * FROM pg_stat_activity",
        "SELECT res_text_vc FROM hfj_res_ver",
        "SELECT * FROM researchflow.overlay_entry",
        "SELECT * FROM sqlonfhir.patient_simple",
        "TABLE pg_settings",
        f"SELECT * FROM {P}, pg_class",
        f"SELECT id FROM {P} WHERE id = (SELECT passwd FROM pg_shadow)",
        f"SELECT (SELECT string_agg(rolname, ',' ORDER BY 1) FROM pg_roles) AS r FROM {P}",
        f"SELECT id FROM {P} NATURAL JOIN pg_user",
        f"SELECT id FROM {P} UNION SELECT usename FROM pg_user",
        f"SELECT {P}.tableoid FROM {P}",
        f"SELECT {P}.ctid FROM {P}",
        f"SELECT _layer FROM {P}",
        f"SELECT _res_id FROM {P}",
        f'SELECT "birth_date__lo" FROM {P}',
        f"SELECT * FROM ONLY (pg_class), {P}",
        f"WITH {P} AS (SELECT * FROM pg_class) SELECT * FROM {P}",
    ],
    "casts to what names objects": [
        f"SELECT 'pg_class'::regclass::text AS x FROM {P}",
        f"SELECT 'pg_sleep(1)'::regprocedure AS x FROM {P}",
        f"SELECT '10'::regrole::text AS x FROM {P}",
        f"SELECT CAST('public' AS regnamespace) AS x FROM {P}",
        f"SELECT 1::oid::regclass AS x FROM {P}",
        f"SELECT 'x'::pg_lsn AS x FROM {P}",
        f"SELECT '<a/>'::xml AS x FROM {P}",
        f"SELECT NULL::{P} AS x FROM {P}",
        f"SELECT '(1,2)'::tid AS x FROM {P}",
        f"SELECT id::name AS x FROM {P}",
        f"SELECT id::char(1000000000) AS x FROM pg_class, {P}",
        f"SELECT int4range(1, 2) AS x FROM {P}",
    ],
    "writes and statements inside": [
        f"INSERT INTO {P} VALUES ('x')",
        f"UPDATE {P} SET gender = 'x'",
        f"TRUNCATE {P}",
        f"DROP VIEW {P} CASCADE",
        "CREATE TABLE stolen AS SELECT * FROM patient_simple",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER ROLE postgres PASSWORD 'x'",
        "GRANT ALL ON SCHEMA public TO public",
        f"MERGE INTO {P} USING {P} AS s ON true WHEN MATCHED THEN DELETE",
        f"WITH d AS (UPDATE {P} SET gender = 'x' RETURNING *) SELECT * FROM d",
        f"SELECT id INTO TEMP stolen FROM {P}",
        f"EXPLAIN ANALYZE SELECT * FROM {P}",
        f"PREPARE q AS SELECT * FROM {P}",
        "EXECUTE q",
        "DEALLOCATE ALL",
        f"DECLARE c CURSOR WITH HOLD FOR SELECT * FROM {P}",
        "DO LANGUAGE plpgsql $do$ BEGIN PERFORM 1; END $do$",
        "CALL anything()",
        "VACUUM",
        "CHECKPOINT",
        "LOCK TABLE researchflow.ledger",
        "DISCARD ALL",
        "BEGIN; SELECT 1",
        f"SELECT id FROM {P}; COMMIT; DROP TABLE x",
        f"SELECT id FROM {P} FOR NO KEY UPDATE SKIP LOCKED",
        f"SELECT id FROM {P} FOR SHARE",
        f"SELECT id FROM (SELECT id FROM {P} FOR KEY SHARE) AS s",
    ],
    "other sessions and side effects": [
        "LISTEN x",
        "NOTIFY x, 'y'",
        f"SELECT pg_notify('x', id) FROM {P}",
        f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity, {P}",
        f"SELECT pg_try_advisory_xact_lock(1) FROM {P}",
        f"SELECT pg_advisory_unlock_all() FROM {P}",
        f"SELECT pg_sleep_for('1 hour') FROM {P}",
        f"SELECT pg_sleep_until('2999-01-01') FROM {P}",
        f"SELECT set_config('statement_timeout', '0', true) FROM {P}",
        "SET statement_timeout = 0",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION postgres",
        f"SELECT setval('seq_resource_id', 1) FROM {P}",
        f"SELECT pg_reload_conf() FROM {P}",
        f"SELECT pg_switch_wal() FROM {P}",
        f"SELECT pg_export_snapshot() FROM {P}",
        f"SELECT setseed(0.5) FROM {P}",
        f"SELECT pg_logical_emit_message(true, 'x', 'y') FROM {P}",
        f"SELECT dblink_connect('host=127.0.0.1') FROM {P}",
        f"SELECT database_to_xml(true, true, '') FROM {P}",
        f"SELECT cursor_to_xml('c', 1, true, true, '') FROM {P}",
        f"SELECT ts_stat('SELECT 1') FROM {P}",
        f"SELECT inet_server_addr() FROM {P}",
        f"SELECT pg_backend_pid() FROM {P}",
        f"SELECT obj_description(1) FROM {P}",
        f"SELECT gen_random_uuid() FROM {P}",
        f"SELECT current_catalog FROM {P}",
        f"SELECT user FROM {P}",
    ],
    "disguises": [
        f"SELECT U&\"\\0070g_sleep\"(1) FROM {P}",
        f"SELECT U&\"!0070g_sleep\" UESCAPE '!' (1) FROM {P}",
        f"SELECT/**/pg_sleep/**/(1)/**/FROM/**/{P}",
        f"SELECT pg_sleep -- a comment\n(1) FROM {P}",
        f"SELECT /* /* nested */ */ pg_sleep(1) FROM {P}",
        f"SELECT $q$x$q$, $$; DROP TABLE x$$, pg_sleep(1) FROM {P}",
        f"SELECT E'\\'', pg_sleep(1) FROM {P}",
        f"SELECT pg_catalog . pg_sleep(1) FROM {P}",
        f'SELECT "pg_catalog"."pg_sleep"(1) FROM {P}',
        f"SELECT pg_sleep(VARIADIC ARRAY[1]) FROM {P}",
        f"SELECT x.pg_sleep FROM (SELECT 1) AS x, {P}",
        f"SELECT (1::float8).pg_sleep FROM {P}",
        f"SELECT id FROM {P} ORDER BY (SELECT pg_sleep(1))",
        f"SELECT id FROM {P} GROUP BY id HAVING pg_sleep(1) IS NULL",
        f"SELECT id FROM {P} WINDOW w AS (ORDER BY pg_sleep(1))",
        f"SELECT CASE WHEN true THEN pg_sleep(1) END AS x FROM {P}",
        f"SELECT id FROM {P} LIMIT (SELECT 1 FROM pg_sleep(1))",
        f"SELECT count(*) FILTER (WHERE pg_sleep(1) IS NOT NULL) AS n FROM {P}",
        f"SELECT id FROM {P} WHERE id = ANY (ARRAY(SELECT pg_sleep(1)::text ORDER BY 1))",
        f"SELECT x FROM {P}, LATERAL pg_sleep(1) AS x",
        f"SELECT x FROM {P}, ROWS FROM (pg_sleep(1), unnest(ARRAY[1])) AS x (a, b)",
        f"VALUES ((SELECT pg_sleep(1)::text FROM {P}))",
        f"SELECT id FROM {P} JOIN {P} AS b USING (id) WHERE pg_sleep(1) IS NULL",
        f"SELECT 1 OPERATOR(pg_catalog.|||) 2 FROM {P}",
        f"SELECT id FROM {P} WHERE id @@ to_tsquery('x')",
    ],
    "work without end": [
        f"WITH RECURSIVE r AS (SELECT 1 AS n FROM {P} UNION ALL SELECT n FROM r) SELECT n FROM r",
        f"SELECT generate_series(1, 1000000000) AS n FROM {P}",
        f"SELECT n FROM {P}, LATERAL generate_series(1, 1000000000) AS n",
        f"SELECT repeat('x', 1000000000) AS x FROM {P}",
        f"SELECT lpad('x', 1000000000) AS x FROM {P}",
        f"SELECT rpad('x', (SELECT 1000000000)) AS x FROM {P}",
        f"SELECT format('%1000000000s', id) AS x FROM {P}",
        f"SELECT xmlagg(xmlelement(name x, id)) AS x FROM {P}",
        f"SELECT array_fill(1, ARRAY[1000000000]) AS x FROM {P}",
        f"SELECT generate_subscripts(ARRAY[1], 1) AS x FROM {P}",
        f"SELECT factorial(100000) AS x FROM {P}",
        f"SELECT random_normal() AS x FROM {P}",
        "SELECT " + "abs(" * 500 + "1" + ")" * 500 + f" FROM {P}",
        f"SELECT id FROM {P} WHERE " + " OR ".join(["id = 'x'"] * 3_000),
        "SELECT '" + "x" * 1_000_000 + f"' AS x FROM {P}",
        "SELECT " + ", ".join(f"1 AS c{n}" for n in range(1_700)) + f" FROM {P}",
    ],
}  # fmt: skip

LABS = "observation_labs"
COSTLY = [
    # joins of many rows with themselves
    "SELECT count(*) AS n FROM " + ", ".join(f"{LABS} AS t{n}" for n in range(8)),
    "SELECT max(a.id || b.id || c.id) AS n FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdefgh"),
    # values that hold the rows of a join
    "SELECT length(string_agg(a.id, ',' ORDER BY a.id)) AS n FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdef"),
    "SELECT cardinality(array_agg(a.id ORDER BY b.id)) AS n FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdef"),
    "SELECT length(json_agg(a.id ORDER BY b.id)::text) AS n FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdef"),
    "SELECT json_object_agg(a.id || b.id || c.id, d.id ORDER BY e.id) AS x FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcde"),
    # patterns that retrace their steps
    "SELECT id FROM patient_simple WHERE rpad('a', 1000, 'a') ~ '((a+)+)+b'",
    "SELECT regexp_replace(rpad('a', 1000, 'a'), '(a|aa)+$', 'b', 'g') AS x FROM patient_simple",
    "SELECT regexp_count(rpad('a', 1000, 'a'), '(a?){200}a{200}') AS n FROM patient_simple",
    r"SELECT rpad('ab', 1000, 'ab') ~ '(.*)(.*)(.*)(.*)\1\2\3\4c' AS x FROM patient_simple",
    # numbers without end
    "SELECT 9::numeric ^ 99999 AS x FROM patient_simple",
    "SELECT exp(5999::numeric) * exp(5999::numeric) AS x FROM patient_simple",
    "SELECT '1e100000'::numeric * '1e31000'::numeric AS x FROM patient_simple",
    # sets in a select list, and windows over joins
    "SELECT unnest(string_to_array(rpad('a', 1000, 'a,'), ',')) AS a,"
    " regexp_split_to_table(rpad('b', 1000, 'b,'), ',') AS b FROM observation_labs",
    "SELECT count(DISTINCT a.id || b.id || c.id || d.id || e.id || f.id) AS n FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdef"),
    "SELECT a.id, sum(b.value_quantity) OVER (ORDER BY a.id, b.id, c.id, d.id) AS s FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcdef"),
    # documents, and paths that walk them again and again
    "SELECT jsonb_path_query_array(to_jsonb(array_agg(a.id ORDER BY b.id)),"
    " '$.** ? (@ like_regex \"(a+)+b\")') AS x FROM "
    + ", ".join(f"{LABS} AS {one}" for one in "abcd"),
    # all at once
    "SELECT " + ", ".join(f"rpad(a.id, 1000, 'x') AS c{n}" for n in range(199))
    + f" FROM {LABS} AS a, {LABS} AS b, {LABS} AS c",
]  # fmt: skip


def refused() -> Iterator[tuple[str, str]]:
    """Kind and text of every statement that is not run."""
    for kind, texts in REFUSED.items():
        yield from ((kind, text) for text in texts)
