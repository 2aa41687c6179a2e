"""The counted codes of published views, kept in step with their rows by what came and went.

The codes of a table are told apart from those of its successor by the table's own row in
`code_table`, so a view that is built anew has its codes counted beside the former ones, and they
come to count in the commit that publishes their table. What kept views gain and lose is noted in
`pg_temp.rf_codes` while a refresh computes, and added in the commit that moves their rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from researchflow_runners.codes.counting import computed_sql, whole_sql
from researchflow_runners.codes.words import words_of
from researchflow_runners.sql import Sql, compose, join, param
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.relations import anchored_relation

TEXTS_AT_ONCE = 20_000
#: One statement costs fewer round trips than one for each view; planning it takes memory.
VIEWS_AT_ONCE = 20

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
{found}
"""
_OF_TABLE = """
SELECT f.*, (SELECT table_id FROM researchflow.code_table WHERE base_table = {table})
FROM ({found}) AS f
"""
_NOTED = """
SELECT array_agg(DISTINCT r.table_id) FROM pg_temp.rf_codes AS r
JOIN researchflow.code_table AS t USING (table_id) WHERE t.base_table = ANY ($1)
"""
#: How many codes have a word decides how they are found; what the index of words was given in bulk
#: would be read through by every search.
_SORT_IN = (
    "SELECT gin_clean_pending_list('researchflow.code_words')",
    "ANALYZE researchflow.code",
)
_ADDED = "DELETE FROM pg_temp.rf_codes WHERE table_id = ANY ($1)"
_UNREAD = """
SELECT DISTINCT said FROM pg_temp.rf_codes WHERE said IS NOT NULL AND words IS NULL LIMIT $1
"""
_READ = """
UPDATE pg_temp.rf_codes AS r SET words = string_to_array(t.words, ' ')
FROM unnest($1::text[], $2::text[]) AS t (said, words) WHERE r.words IS NULL AND r.said = t.said
"""
_TABLE = """
INSERT INTO researchflow.code_table (base_table) VALUES ($1) ON CONFLICT (base_table) DO NOTHING
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


async def note_built(session: Session, published: PublishedView) -> None:
    """Notes the codes of a table that was built anew."""
    await session.execute(_TABLE, published.base_table)
    rows = anchored_relation(published)
    whole = whole_sql(published.columns, published.resource_type, rows)
    await _note(session, [(published, whole)])


async def note_moved(session: Session, moved: Sequence[tuple[PublishedView, Sql]]) -> None:
    """Notes what the rows of the resources in rf_changed, and those in their place, change: of
    each view with the relation of these."""
    for begin in range(0, len(moved), VIEWS_AT_ONCE):
        part = moved[begin : begin + VIEWS_AT_ONCE]
        await _note(session, [(view, computed_sql(view, rows)) for view, rows in part])


async def index_built(session: Session, published: Collection[PublishedView]) -> None:
    """Reads what was noted, and adds it of the tables built anew: when these are published, it
    counts."""
    while texts := [row[0] for row in await session.fetch(_UNREAD, TEXTS_AT_ONCE)]:
        await session.execute(_READ, texts, [" ".join(words_of(text)) for text in texts])
    if await _add(session, published):
        for statement in _SORT_IN:
            await session.execute(statement)


async def publish_moved(session: Session, published: Collection[PublishedView]) -> None:
    """Adds what was noted of these views, in the commit that moves their rows."""
    codes = await _add(session, published)
    for statement in _SETTLE if codes else ():
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
    views = await published_views(session)
    lacking = [view for view in views.values() if view.base_table not in tables]
    if lacking:
        async with session.transaction():
            for view in lacking:
                await note_built(session, view)
            await index_built(session, lacking)


async def indexed_tables(session: Session) -> dict[str, int]:
    """The number under which the codes of each counted base table are kept."""
    return {row[0]: row[1] for row in await session.fetch(_INDEXED)}


async def _note(session: Session, counted: Sequence[tuple[PublishedView, Sql | None]]) -> None:
    found = [
        compose(_OF_TABLE, table=param(view.base_table, "text"), found=sql)
        for view, sql in counted
        if sql is not None
    ]
    if found:
        await session.execute(compose(_NOTE, found=join(" UNION ALL ", found)))


async def _add(session: Session, published: Collection[PublishedView]) -> list[int]:
    """Adds what was noted of these views, and forgets that it was; gives the codes it is of."""
    noted = await session.fetchval(_NOTED, [view.base_table for view in published])
    if not noted:
        return []
    await session.execute(_WORDS, noted)
    codes = [row[0] for row in await session.fetch(_COUNT, noted)]
    await session.execute(_DISPLAY, noted)
    await session.execute(_ADDED, noted)
    return codes
