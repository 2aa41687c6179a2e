"""The best codes of the index for a reading, and single ones by their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import asyncpg

from researchflow_runners.codes.reading import Reading, Tier
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param
from researchflow_runners.store.database import Session

CODE_PREFIX_CHARS_MIN = 3

_COLUMNS = fixed(
    "k.table_id, k.column_name, k.system, k.code, k.display, k.row_count, k.patient_count, k.words"
)
_SEARCH = """
SELECT {columns} FROM researchflow.code AS k
WHERE k.table_id = ANY ({tables}){narrowed}
  AND (k.table_id, k.column_name, k.system, k.code) NOT IN (SELECT * FROM {but})
  AND ({any})
ORDER BY CASE {tiers} END, k.patient_count DESC, k.row_count DESC, k.system, k.code,
         array_position({tables}, k.table_id), k.column_name
LIMIT {most}
"""
_BY_KEY = """
SELECT {columns}, d.display AS one, d.row_count AS times
FROM researchflow.code AS k JOIN {keys} AS n (table_id, column_name, system, code)
     USING (table_id, column_name, system, code)
JOIN researchflow.code_display AS d USING (code_id)
"""
_KEYS = "unnest({}, {}, {}, {})"
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

    def moved(self, rows: int, patients: int) -> CodeCount:
        """The same after so many came."""
        return replace(self, rows=self.rows + rows, patients=self.patients + patients)


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

    def rank(self, found: CodeCount) -> tuple[Tier, str] | None:
        """The tier of a code and why it is found; None when it is not what is looked for."""
        if self.systems and found.system not in self.systems:
            return None
        folded = found.code.lower()
        if folded == self.code:
            return Tier.CODE, "code"
        if self.code_prefix and folded.startswith(self.code_prefix):
            return Tier.BEGINNING, f"code {self.code}…"
        reading = next((one for one in self.readings if one.fits(found.words)), None)
        return (reading.tier, reading.why(found.words)) if reading else None


async def search(
    session: Session, wanted: Wanted, tables: Collection[int], *, but: Collection[Key], most: int
) -> list[CodeCount]:
    """The best codes of these tables, without those of `but`; among equals, of earlier tables."""
    conditions = [*_code_conditions(wanted), *((one.tier, _fits(one)) for one in wanted.readings)]
    conditions.sort(key=lambda pair: pair[0])
    statement = compose(
        _SEARCH,
        columns=_COLUMNS,
        tables=param(list(tables), "int[]"),
        narrowed=compose(" AND k.system = ANY ({})", param(list(wanted.systems), "text[]"))
        if wanted.systems
        else EMPTY,
        but=_keys(but),
        any=join(" OR ", (condition for _tier, condition in conditions)),
        tiers=join(
            " ",
            (
                compose("WHEN {} THEN {}", condition, fixed(str(int(tier))))
                for tier, condition in conditions
            ),
        ),
        most=param(most, "bigint"),
    )
    return [_count(row) for row in await session.fetch(statement)]


async def counts_of(
    session: Session, keys: Collection[Key]
) -> dict[Key, tuple[CodeCount, Mapping[str, int]]]:
    """What the index has of these codes, with the rows of each display."""
    found: dict[Key, tuple[CodeCount, dict[str, int]]] = {}
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


def _code_conditions(wanted: Wanted) -> Iterable[tuple[Tier, Sql]]:
    yield Tier.CODE, compose("lower(k.code) = {}", param(wanted.code, "text"))
    if wanted.code_prefix:
        yield (
            Tier.BEGINNING,
            compose(
                "(lower(k.code) >= {} AND lower(k.code) < {})",
                param(wanted.code_prefix, "text"),
                param(_after(wanted.code_prefix), "text"),
            ),
        )


def _fits(reading: Reading) -> Sql:
    return compose("({})", join(" AND ", (_has(group) for group in reading.groups)))


def _has(group: frozenset[str]) -> Sql:
    return compose("k.words && {}", param(sorted(group), "text[]"))


def _after(start: str) -> str:
    """What lies just above every text that begins so, by code points."""
    return f"{start}\U0010ffff"


def _keys(keys: Collection[Key]) -> Sql:
    columns: list[list[object]] = [list(part) for part in zip(*keys, strict=True)] or [
        [],
        [],
        [],
        [],
    ]
    kinds = ("int[]", "text[]", "text[]", "text[]")
    return compose(
        _KEYS, *(param(values, kind) for values, kind in zip(columns, kinds, strict=True))
    )


def _count(row: asyncpg.Record) -> CodeCount:
    table_id, column, system, code, display, rows, patients, words, *_more = row.values()
    found = frozenset(words or ())
    return CodeCount(table_id, column, system, code, display, rows, patients, found)
