"""The best codes of the index for a reading, and single ones by their keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from researchflow_runners.codes.codeform import has_code_form
from researchflow_runners.codes.reading import Reading, Tier
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param
from researchflow_runners.store.database import Session

CODE_PREFIX_CHARS_MIN = 3

_COLUMNS = fixed(
    "k.table_id, k.column_name, k.system, k.code, k.display, k.row_count, k.patient_count, k.words"
)
#: In the order of the index code_rank, so that a word that many codes have is found by walking it.
_SEARCH = """
SELECT {columns} FROM researchflow.code AS k
WHERE k.table_id = ANY ({tables}){narrowed} AND ({any})
ORDER BY k.patient_count DESC, k.row_count DESC, k.code, k.system,
         array_position({tables}, k.table_id), k.column_name
LIMIT {most}
"""
#: What a word is worth differs from word to word.
_PLAN_EACH = "SET LOCAL plan_cache_mode = force_custom_plan"
_BY_KEY = """
SELECT {columns}, d.display AS one, d.row_count AS times
FROM researchflow.code AS k JOIN {keys} AS n
     USING (table_id, column_name, system, code)
JOIN researchflow.code_display AS d USING (code_id)
"""
_AMONG = """
SELECT k.table_id, k.column_name, k.system, k.code
FROM researchflow.code AS k JOIN {keys} AS n
     USING (table_id, column_name, system, code)
WHERE {any}
"""
#: As one text: of arrays the driver looks at every element.
_KEYS = """
(SELECT (k ->> 0)::int AS table_id, k ->> 1 AS column_name, k ->> 2 AS system, k ->> 3 AS code
 FROM jsonb_array_elements({}) AS k)
"""
_OCCURRING = """
SELECT w FROM unnest($1::text[]) WITH ORDINALITY AS u (w, place)
WHERE EXISTS (SELECT FROM researchflow.code AS k
              WHERE k.table_id = ANY ($2::int[]) AND k.words @> ARRAY[u.w])
ORDER BY place
"""
_SYSTEMS = """
SELECT system FROM researchflow.code WHERE table_id = ANY ($1::int[]) AND system <> ''
GROUP BY system ORDER BY count(*) DESC, system
"""
_NEW_WORDS = "SELECT word_id, word FROM researchflow.code_word WHERE word_id > $1"
_CODES = """
SELECT k.code FROM researchflow.code AS k
WHERE k.table_id = ANY ($1::int[]) AND ($2::text IS NULL OR k.column_name = $2)
  AND lower(k.code) >= $3 AND lower(k.code) < $4
GROUP BY k.code ORDER BY max(k.patient_count) DESC, sum(k.row_count) DESC, k.code LIMIT $5
"""

#: A code's place: its table, column, system and itself.
Key = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class CodeCount:
    """A code of one column, how often it occurs, and the words by which it is found."""

    table_id: int
    column: str
    system: str
    code: str
    display: str | None
    rows: int
    patients: int
    words: frozenset[str]

    @property
    def key(self) -> Key:
        """What no other code has."""
        return self.table_id, self.column, self.system, self.code


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: the text as a code, its readings, and where."""

    code: str
    readings: tuple[Reading, ...]
    systems: tuple[str, ...]

    @property
    def code_prefix(self) -> str | None:
        """The beginning of codes that is asked for: E11 of E11.9."""
        is_one = len(self.code) >= CODE_PREFIX_CHARS_MIN and not any(map(str.isspace, self.code))
        return self.code if is_one and any(map(str.isdigit, self.code)) else None

    @property
    def names_code(self) -> bool:
        """Whether the text looks like a code."""
        return self.code_prefix is not None or has_code_form(self.code)

    def is_code(self, code: str) -> bool:
        """Whether it is the code, or begins like it."""
        folded = code.lower()
        prefix = self.code_prefix
        return folded == self.code or (prefix is not None and folded.startswith(prefix))

    def rank(self, found: CodeCount) -> tuple[Tier, str, bool] | None:
        """The tier of a code, why it is found and whether by the list of synonyms.

        None when it is not what is looked for.
        """
        if self.systems and found.system not in self.systems:
            return None
        folded = found.code.lower()
        if folded == self.code:
            return Tier.CODE, "code", False
        if self.code_prefix and folded.startswith(self.code_prefix):
            return Tier.BEGINNING, f"code {self.code}…", False
        reading = next((one for one in self.readings if one.fits(found.words)), None)
        if reading is None:
            return None
        return reading.tier, reading.why(found.words), reading.is_listed


async def search(
    session: Session, wanted: Wanted, tables: Collection[int], *, most: int
) -> list[CodeCount]:
    """The best codes of these tables; among equals, of earlier tables.

    Tier by tier, since what fits best is mostly enough.
    """
    await session.execute(_PLAN_EACH)
    found: dict[Key, CodeCount] = {}
    for conditions in _tiers(wanted):
        statement = compose(
            _SEARCH,
            columns=_COLUMNS,
            tables=param(list(tables), "int[]"),
            narrowed=compose(" AND k.system = ANY ({})", param(list(wanted.systems), "text[]"))
            if wanted.systems
            else EMPTY,
            any=join(" OR ", conditions),
            most=param(most, "bigint"),
        )
        for row in await session.fetch(statement):
            count = _count(row)
            found.setdefault(count.key, count)
        if len(found) >= most:
            break
    return list(found.values())


async def fitting(session: Session, wanted: Wanted, keys: Collection[Key]) -> set[Key]:
    """Those of the codes that are looked for, by what the index has of them."""
    every = [condition for conditions in _tiers(wanted) for condition in conditions]
    statement = compose(_AMONG, keys=_keys(keys), any=compose("({})", join(" OR ", every)))
    return {tuple(row.values()) for row in await session.fetch(statement)}


async def counts_of(
    session: Session, keys: Collection[Key]
) -> dict[Key, tuple[CodeCount, Mapping[str, int]]]:
    """What the index has of these codes, with the rows of each display."""
    found: dict[Key, tuple[CodeCount, dict[str, int]]] = {}
    if not keys:
        return {}
    statement = compose(_BY_KEY, columns=_COLUMNS, keys=_keys(keys))
    for row in await session.fetch(statement):
        count = _count(row)
        found.setdefault(count.key, (count, {}))[1][row["one"]] = row["times"]
    return dict(found)


async def occurring(session: Session, words: Sequence[str], tables: Collection[int]) -> list[str]:
    """Those of the words that a code of these tables has, in their order."""
    return [row[0] for row in await session.fetch(_OCCURRING, list(words), list(tables))]


async def systems_in(session: Session, tables: Collection[int]) -> list[str]:
    """The systems of the codes of these tables, those with most codes first."""
    return [row[0] for row in await session.fetch(_SYSTEMS, list(tables))]


async def words_after(session: Session, word_id: int) -> list[tuple[int, str]]:
    """The words that came after that one, with their numbers."""
    return [(row[0], row[1]) for row in await session.fetch(_NEW_WORDS, word_id)]


async def codes_beginning(
    session: Session, start: str, tables: Collection[int], *, column: str | None, most: int
) -> list[str]:
    """The codes that begin so, those of most patients first."""
    begin = start.lower()
    rows = await session.fetch(_CODES, list(tables), column, begin, _after(begin), most)
    return [row[0] for row in rows]


def _tiers(wanted: Wanted) -> Iterator[list[Sql]]:
    """The conditions of each tier that there is, the best first."""
    tiers: dict[Tier, list[Sql]] = {
        Tier.CODE: [compose("lower(k.code) = {}", param(wanted.code, "text"))]
    }
    if wanted.code_prefix:
        begin, end = (
            param(text, "text") for text in (wanted.code_prefix, _after(wanted.code_prefix))
        )
        between = compose("(lower(k.code) >= {} AND lower(k.code) < {})", begin, end)
        tiers.setdefault(Tier.BEGINNING, []).append(between)
    for reading in wanted.readings:
        tiers.setdefault(reading.tier, []).append(_fits(reading))
    for _tier, conditions in sorted(tiers.items()):
        yield conditions


def _fits(reading: Reading) -> Sql:
    every = join(" AND ", (_has(group) for group in reading.groups))
    if not reading.without:
        return compose("({})", every)
    return compose("({} AND NOT {})", every, _has(reading.without))


def _has(group: frozenset[str]) -> Sql:
    return compose("k.words && {}", param(sorted(group), "text[]"))


def _after(start: str) -> str:
    """What lies just above every text that begins so, by code points."""
    return f"{start}\U0010ffff"


def _keys(keys: Collection[Key]) -> Sql:
    return compose(_KEYS, param(json.dumps(list(keys)), "jsonb"))


def _count(row: asyncpg.Record) -> CodeCount:
    table_id, column, system, code, display, rows, patients, words, *_more = row.values()
    found = frozenset(words or ())
    return CodeCount(table_id, column, system, code, display, rows, patients, found)
