"""Answers which codes occur for words or for a code, dated like any answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from researchflow_runners.codes.query import CodeQuery, coded_text
from researchflow_runners.codes.reading import ReadText, Tier, forms, read_text
from researchflow_runners.codes.search import (
    CodeCount,
    Wanted,
    codes_beginning,
    fitting,
    occurring,
    search,
    systems_in,
    words_after,
)
from researchflow_runners.codes.words import Vocabulary, words_of
from researchflow_runners.hybrid.code_ground import Ground, Place, read_ground, settled
from researchflow_runners.hybrid.facts import seconds
from researchflow_runners.hybrid.materialized import SPEED_LAYER_DISABLED, MaterializedViewRunner
from researchflow_runners.hybrid.result import Answer, Degradation, SpeedContribution, Timings
from researchflow_runners.query.columns import AnswerColumn
from researchflow_runners.store.database import Session

#: What statistics call an answer about codes.
CODES_VIEW = "codes"
NEAREST_SHOWN_MAX = 5
NEAREST_TYPOS_MAX = 3
SYSTEMS_SHOWN_MAX = 5
#: What an answer is that the list of synonyms and classes led to.
BY_LIST = (
    "found by displays and a curated list of synonyms and classes, which may lack members: check"
    " it before it defines a cohort"
)
COLUMNS = (
    AnswerColumn("code", "code"),
    AnswerColumn("system", "uri"),
    AnswerColumn("display", "string", "The most frequent one"),
    AnswerColumn("view", "string"),
    AnswerColumn("column", "string"),
    AnswerColumn("patients", "integer", "Null where rows have no patient"),
    AnswerColumn("rows", "integer"),
    AnswerColumn("matched", "string", "Why it was found"),
)


class CodeFinder:
    """Finds codes in the views of one warehouse."""

    def __init__(self, views: MaterializedViewRunner) -> None:
        self._views = views
        self._vocabulary = Vocabulary()
        self._last_word = 0

    async def find(self, query: CodeQuery) -> Answer:
        """The codes, the likeliest first; QueryError as `coded_text` and `read_ground`.

        Of none it says so, and what there is.
        """
        began_s = time.perf_counter()
        text, systems = coded_text(query)
        async with self._views.snapshot() as session:
            ground = await read_ground(session, self._views, query.view)
            facts_ms = (time.perf_counter() - began_s) * 1000
            await self._learn(session, ground)
            read = read_text(text, self._vocabulary)
            wanted = Wanted(text.lower(), read.readings, systems)
            found, warnings = await self._found(session, wanted, read, ground, query.limit + 1)
            if not found:
                warnings = await self._nothing(session, wanted, read, ground)
        if any(one.is_listed for one in found[: query.limit]):
            warnings = [*warnings, BY_LIST]
        total_ms = (time.perf_counter() - began_s) * 1000
        timings = Timings(total_ms, facts_ms, total_ms - facts_ms)
        return _answer(found, query.limit, ground, warnings, timings)

    async def complete(
        self, start: str, *, view: str | None = None, column: str | None = None, most: int = 100
    ) -> list[str]:
        """Codes of the current anchor that begin so, else those whose displays have such words.

        For completing what somebody types; of nothing, the codes of most patients. QueryError as
        `read_ground`.
        """
        async with self._views.snapshot() as session:
            ground = await read_ground(session, self._views, view)
            codes = await codes_beginning(session, start, ground.tables, column=column, most=most)
            if codes or not words_of(start):
                return codes
            await self._learn(session, ground)
            wanted = Wanted(start.lower(), read_text(start, self._vocabulary).readings, ())
            found = await search(session, wanted, ground.tables, most=most)
        return list(dict.fromkeys(one.code for one in found if column in (None, one.column)))

    async def _learn(self, session: Session, ground: Ground) -> None:
        """Takes in the words that the index and the waiting changes have brought since."""
        new = await words_after(session, self._last_word)
        self._vocabulary.add(word for _number, word in new)
        self._last_word = max((number for number, _word in new), default=self._last_word)
        self._vocabulary.add(
            word for words in {words for _key, words in ground.said} for word in words
        )

    async def _found(
        self, session: Session, wanted: Wanted, read: ReadText, ground: Ground, most: int
    ) -> tuple[list[_Found], list[str]]:
        """The codes and what to know of them: words that resemble nothing are left out when
        nothing fits them all."""
        found = await _best(session, wanted, ground, most)
        rest = [word for word in read.words if word not in read.unknown]
        if found or not rest or not read.unknown:
            return found, []
        readings = read_text(" ".join(rest), self._vocabulary).readings
        found = await _best(session, replace(wanted, readings=readings), ground, most)
        return found, [
            f"found without {_quoted(read.unknown)}, which nothing in the data resembles"
        ]

    async def _nothing(
        self, session: Session, wanted: Wanted, read: ReadText, ground: Ground
    ) -> list[str]:
        """Why nothing is found, and what is near."""
        told = []
        if wanted.systems:
            elsewhere = await _best(session, replace(wanted, systems=()), ground, 1)
            if elsewhere:
                other = elsewhere[0].count
                told.append(
                    f'no code of the system asked for; "{other.code}" of {other.system} is found'
                    " without it"
                )
        if not told and wanted.names_code:
            told.append(f'no code "{wanted.code}" occurs')
        if wanted.systems or wanted.names_code:
            systems = await systems_in(session, ground.tables)
            told.append(f"codes here are of {', '.join(systems[:SYSTEMS_SHOWN_MAX])}")
        return told or [await self._nearest(session, read, ground)]

    async def _nearest(self, session: Session, read: ReadText, ground: Ground) -> str:
        """The words of the data that are nearest to those that were not found."""
        absent = [
            word for word in read.words if not any(form in self._vocabulary for form in forms(word))
        ]
        if not absent:
            return f"no code has {_quoted(read.words)} together; give fewer words"
        what = f"no code or display has {_quoted(absent)}"
        if read.known_as:
            what += f", and none has {_quoted(read.known_as)}, which it means"
        near = [
            other for word in absent for other, _far in self._vocabulary.nearest(word, _near(word))
        ]
        here = await occurring(session, near, ground.tables)
        if not here:
            return f"{what}; no word of the data is like it"
        return f"{what}; the nearest words are {', '.join(here[:NEAREST_SHOWN_MAX])}"


def _near(word: str) -> int:
    """How far a word may be that is told as near."""
    return min(NEAREST_TYPOS_MAX, max(1, len(word) // 3))


@dataclass(frozen=True, slots=True)
class _Found:
    """A code, how well it fits and why."""

    count: CodeCount
    place: int
    tier: Tier
    why: str
    is_listed: bool

    @property
    def order(self) -> tuple[object, ...]:
        """As `search` orders."""
        one = self.count
        return self.tier, -one.patients, -one.rows, one.code, one.system, self.place, one.column


async def _best(session: Session, wanted: Wanted, ground: Ground, most: int) -> list[_Found]:
    """The best codes of the index and of what waits, together."""
    moved = await _moved(session, wanted, ground)
    kept = await search(session, wanted, ground.tables, most=most + len(moved))
    places = {number: place for place, number in enumerate(ground.places)}
    found = []
    for count in (*(one for one in kept if one.key not in ground.moved), *moved):
        ranked = wanted.rank(count) if count.rows > 0 else None
        if ranked is not None:
            found.append(_Found(count, places[count.table_id], *ranked))
    return sorted(found, key=lambda one: one.order)[:most]


async def _moved(session: Session, wanted: Wanted, ground: Ground) -> list[CodeCount]:
    """The moved codes that may be looked for, as they are now; some may be in no row."""
    if not ground.moved:
        return []
    keys = await fitting(session, wanted, ground.moved)
    fits = {
        words: any(reading.fits(words) for reading in wanted.readings)
        for words in {words for _key, words in ground.said}
    }
    keys |= {key for key, words in ground.said if fits[words] or wanted.is_code(key[3])}
    return await settled(session, ground, keys)


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _answer(
    found: Sequence[_Found],
    limit: int,
    ground: Ground,
    warnings: Sequence[str],
    timings: Timings,
) -> Answer:
    facts = ground.facts
    assert facts.data_as_of is not None
    counted = f"counted from the rows of {', '.join(ground.counted)}, which takes longer"
    waiting = None if facts.entries else 0
    return Answer(
        view=CODES_VIEW,
        columns=COLUMNS,
        rows=tuple(_row(one, ground.places[one.count.table_id]) for one in found[:limit]),
        truncated=len(found) > limit,
        next_cursor=None,
        freshness="live" if ground.is_live else "anchored",
        route="materialized",
        anchor=facts.anchor,
        data_as_of=facts.data_as_of,
        computed_at=facts.computed_at,
        age_s=seconds(facts.data_as_of, facts.computed_at),
        staleness_s=facts.staleness_s,
        checked_at=facts.checked_at if facts.checked else None,
        pending=facts.pending if facts.checked else None,
        speed=SpeedContribution(ground.is_live, facts.entries, facts.provisional, waiting, waiting)
        if ground.is_live
        else SpeedContribution(enabled=False),
        missing_resources=facts.missing_live if ground.is_live else facts.missing_batch,
        degradations=(
            *(() if ground.is_live else (SPEED_LAYER_DISABLED,)),
            *(_aside(place) for place in ground.aside),
            *facts.degradations,
        ),
        warnings=(*warnings, counted) if ground.counted else tuple(warnings),
        ties=None,
        timings=timings,
        views=tuple(place.view for place in ground.places.values()),
        cursor_after=_no_cursor,
    )


def _row(found: _Found, place: Place) -> tuple[object, ...]:
    one = found.count
    patients = one.patients if place.has_patients else None
    system = one.system or None
    return one.code, system, one.display, place.view, one.column, patients, one.rows, found.why


def _aside(place: Place) -> Degradation:
    return Degradation(
        "view_set_aside",
        f'view "{place.view}" cannot be computed for now: its codes are as of anchor '
        f"{place.last_anchor}, without later changes; list_views says why",
    )


def _no_cursor(_rows: int) -> str:
    raise NotImplementedError("codes are not paged")
