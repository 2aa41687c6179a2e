"""The counted codes of published views, kept in step with their rows by what came and went.

The codes of a table are told apart from those of its successor by the table's own row in
`code_table`, so a view that is built anew has its codes counted beside the former ones, and they
come to count in the commit that publishes their table. What kept views gain and lose is noted in
`pg_temp.rf_codes` while a refresh computes, and added in the commit that moves their rows.
"""

from __future__ import annotations

from collections.abc import Collection

from researchflow_runners.codes.counting import moved_sql, whole_sql
from researchflow_runners.codes.words import words_of
from researchflow_runners.sql import Sql, compose, fixed, param
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.relations import anchored_relation, table_columns

TEXTS_AT_ONCE = 20_000

_NOTES = """
CREATE TEMP TABLE IF NOT EXISTS rf_codes (
    table_id int NOT NULL, column_name text COLLATE "C" NOT NULL, system text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL, display text COLLATE "C", row_count bigint NOT NULL,
    patient_count bigint NOT NULL, words text[],
    said text COLLATE "C" GENERATED ALWAYS AS (CASE
        WHEN row_count <= 0 THEN NULL WHEN display <> '' THEN display
        WHEN code ~ '[[:alpha:]]' THEN code ELSE '' END) STORED)
"""
_NOTE = """
INSERT INTO pg_temp.rf_codes
    (column_name, system, code, display, row_count, patient_count, table_id)
SELECT f.*, {table} FROM ({found}) AS f
"""
_UNREAD = """
SELECT DISTINCT said FROM pg_temp.rf_codes WHERE said IS NOT NULL AND words IS NULL LIMIT $1
"""
_READ = """
UPDATE pg_temp.rf_codes AS r SET words = string_to_array(t.words, ' ')
FROM unnest($1::text[], $2::text[]) AS t (said, words) WHERE r.words IS NULL AND r.said = t.said
"""
_TABLE = """
INSERT INTO researchflow.code_table (base_table) VALUES ($1)
ON CONFLICT (base_table) DO UPDATE SET base_table = excluded.base_table RETURNING table_id
"""
_WORDS = """
INSERT INTO researchflow.code_word (word)
SELECT DISTINCT w FROM pg_temp.rf_codes AS r, unnest(r.words) AS w WHERE r.table_id = ANY ($1)
ON CONFLICT DO NOTHING
"""
_COUNT = """
INSERT INTO researchflow.code AS k
    (table_id, column_name, system, code, row_count, patient_count, display, words)
SELECT r.table_id, r.column_name, r.system, r.code, sum(r.row_count), sum(r.patient_count),
       (array_agg(r.display ORDER BY r.row_count DESC, r.display)
            FILTER (WHERE r.display <> ''))[1],
       (SELECT array_agg(DISTINCT w COLLATE "C") FROM unnest(string_to_array(
           string_agg(array_to_string(r.words, ' '), ' '), ' ')) AS w)
FROM pg_temp.rf_codes AS r WHERE r.table_id = ANY ($1) GROUP BY 1, 2, 3, 4
ON CONFLICT (table_id, column_name, system, code) DO UPDATE
SET row_count = k.row_count + excluded.row_count,
    patient_count = k.patient_count + excluded.patient_count
RETURNING code_id
"""
_DISPLAY = """
INSERT INTO researchflow.code_display AS d (code_id, display, row_count, words)
SELECT k.code_id, r.display, r.row_count, coalesce(r.words, '{}')
FROM pg_temp.rf_codes AS r JOIN researchflow.code AS k USING (table_id, column_name, system, code)
WHERE r.table_id = ANY ($1) AND r.display IS NOT NULL
ON CONFLICT (code_id, display) DO UPDATE SET row_count = d.row_count + excluded.row_count
"""
#: Of codes whose counts have changed: what is no longer there goes, the rest says what it is.
_SETTLE = (
    "DELETE FROM researchflow.code_display WHERE code_id = ANY ($1::bigint[]) AND row_count = 0",
    "DELETE FROM researchflow.code WHERE code_id = ANY ($1::bigint[]) AND row_count = 0",
    """
UPDATE researchflow.code AS k SET display = s.display, words = s.words
FROM (SELECT d.code_id,
             (array_agg(d.display ORDER BY d.row_count DESC, d.display)
                  FILTER (WHERE d.display <> ''))[1] AS display,
             (SELECT array_agg(DISTINCT w COLLATE "C")
              FROM researchflow.code_display AS o, unnest(o.words) AS w
              WHERE o.code_id = d.code_id) AS words
      FROM researchflow.code_display AS d WHERE d.code_id = ANY ($1::bigint[])
      GROUP BY d.code_id) AS s
WHERE k.code_id = s.code_id AND (k.display, k.words) IS DISTINCT FROM (s.display, s.words)
""",
)
_INDEXED = "SELECT base_table, table_id FROM researchflow.code_table"
_ORPHANS = """
SELECT table_id FROM researchflow.code_table AS t WHERE NOT EXISTS (
    SELECT FROM researchflow.view_catalogue AS v WHERE v.base_table = t.base_table)
"""
_FORGET = (
    """
DELETE FROM researchflow.code_display AS d USING researchflow.code AS k
WHERE d.code_id = k.code_id AND k.table_id = ANY ($1)
""",
    "DELETE FROM researchflow.code WHERE table_id = ANY ($1)",
    "DELETE FROM researchflow.code_table WHERE table_id = ANY ($1)",
)
_FORGET_WORDS = """
DELETE FROM researchflow.code_word AS w
WHERE NOT EXISTS (SELECT FROM researchflow.code AS k WHERE k.words @> ARRAY[w.word])
"""


async def index_built(session: Session, published: PublishedView) -> None:
    """Counts the codes of a table that was built anew; they count when it is published."""
    table_id = await session.fetchval(_TABLE, published.base_table)
    whole = whole_sql(published.columns, published.resource_type, anchored_relation(published))
    if whole is None:
        return
    await _note(session, table_id, whole)
    await _read_words(session)
    await _add(session, [table_id])
    await session.execute("DELETE FROM pg_temp.rf_codes WHERE table_id = $1", table_id)


async def note_moved(session: Session, published: PublishedView, rows: Sql) -> None:
    """Notes what the rows of the resources in rf_changed, and those in their place, change."""
    moved = moved_sql(
        published,
        changed=fixed("pg_temp.rf_changed"),
        added=rows,
        columns=table_columns(published, "a"),
    )
    if moved is not None:
        table_id = await session.fetchval(_TABLE, published.base_table)
        await _note(session, table_id, moved)
        await _read_words(session)


async def publish_moved(session: Session, published: Collection[PublishedView]) -> None:
    """Adds what was noted of these views, in the commit that moves their rows."""
    tables = await indexed_tables(session)
    codes = await _add(session, [tables[view.base_table] for view in published])
    for statement in _SETTLE:
        await session.execute(statement, codes)


async def index_unindexed(session: Session) -> None:
    """Counts what an earlier release published without counting, and forgets what is gone.

    For the holder of the refresh lock: nobody else changes a base table.
    """
    await session.execute(_NOTES)
    gone = [row[0] for row in await session.fetch(_ORPHANS)]
    if gone:
        async with session.transaction():
            for statement in _FORGET:
                await session.execute(statement, gone)
            await session.execute(_FORGET_WORDS)
    tables = await indexed_tables(session)
    for view in (await published_views(session)).values():
        if view.base_table not in tables:
            async with session.transaction():
                await index_built(session, view)


async def indexed_tables(session: Session) -> dict[str, int]:
    """The number under which the codes of each counted base table are kept."""
    return {row[0]: row[1] for row in await session.fetch(_INDEXED)}


async def _note(session: Session, table_id: int, found: Sql) -> None:
    await session.execute(compose(_NOTE, table=param(table_id, "int"), found=found))


async def _read_words(session: Session) -> None:
    """Gives the displays that came their words."""
    while texts := [row[0] for row in await session.fetch(_UNREAD, TEXTS_AT_ONCE)]:
        await session.execute(_READ, texts, [" ".join(words_of(text)) for text in texts])


async def _add(session: Session, table_ids: list[int]) -> list[int]:
    """Adds what was noted of these tables; gives the codes it is of."""
    await session.execute(_WORDS, table_ids)
    codes = [row[0] for row in await session.fetch(_COUNT, table_ids)]
    await session.execute(_DISPLAY, table_ids)
    return codes
