"""A text as the ways to read it: its words, their beginnings, synonyms, typos, parts of words.

A way to read is a list of groups of words; a display fits when it has a word of every group. Ways
of one rank come as one tier, so that patients decide within it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from itertools import islice, product

from researchflow_runners.codes.synonyms import (
    Meaning,
    Phrase,
    phrase_words,
    phrases,
    said,
    singular,
)
from researchflow_runners.codes.words import Vocabulary, typos_allowed, words_of

#: Words that carry no meaning of a code.
_NOISE = """
a all an and any are as at by code codes coded diagnosed diagnosis find for from has have having in
is list me of on or patient patients people show test the their to what which who with
"""
NOISE = frozenset(_NOISE.split())
ROMAN = {"1": "i", "2": "ii", "3": "iii", "4": "iv"}
BEGINNING_CHARS_MIN = 3
PART_CHARS_MIN = 4
TYPOS_MAX = 8
CORRECTIONS_MAX = 64
READINGS_MAX = 48
TOKENS_MAX = 12


class Tier(IntEnum):
    """Which reading a row fits, the best first."""

    CODE = 0
    WORD = 1
    BEGINNING = 2
    SYNONYM = 3
    #: Of a text that has synonyms: what begins like an abbreviation is rarely meant.
    WEAK_BEGINNING = 4
    TYPO = 5
    PART = 6


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text; `asked` and `meant` say how its words became these."""

    tier: Tier
    groups: tuple[frozenset[str], ...]
    asked: str = ""
    meant: str = ""

    def fits(self, words: Collection[str]) -> bool:
        """Whether a display with these words is meant."""
        return all(not group.isdisjoint(words) for group in self.groups)

    def why(self, words: Collection[str]) -> str:
        """Why a display with these words fits, in a few words."""
        if self.tier == Tier.WORD:
            return "word"
        met = self.meant or " ".join(
            dict.fromkeys(min(group.intersection(words), key=_briefest) for group in self.groups)
        )
        kind = "typo: " if self.tier == Tier.TYPO else ""
        if self.tier == Tier.SYNONYM:
            kind = "synonym: "
        if self.tier == Tier.PART:
            return f"part of a word: {met}"
        sign = "… → " if self.tier in (Tier.BEGINNING, Tier.WEAK_BEGINNING) else " → "
        return f"{kind}{self.asked}{sign}{met}"


@dataclass(frozen=True, slots=True)
class ReadText:
    """The readings of a text and its words.

    `unknown` are those that nothing in the data or the list resembles, `known_as` what the list
    calls it.
    """

    readings: tuple[Reading, ...]
    words: Phrase
    unknown: tuple[str, ...]
    known_as: tuple[str, ...]


def read_text(text: str, vocabulary: Vocabulary) -> ReadText:
    """The ways to read a text over displays of these words, the best first."""
    every = words_of(text)[:TOKENS_MAX]
    words = tuple(word for word in every if word not in NOISE) or every
    synonyms = list(_synonyms(words, vocabulary, Tier.SYNONYM))
    spelt = list(_spelt(words, vocabulary))
    readings = [
        Reading(Tier.WORD, tuple(map(forms, words))),
        *_beginnings(words, vocabulary, is_known=bool(synonyms)),
        *synonyms,
        *spelt,
        *_parts(words, vocabulary),
    ]
    unknown = tuple(word for word in words if not _is_met(word, vocabulary))
    known_as = dict.fromkeys(
        meaning.terms[0] for _begin, _end, found in _longest_phrases(words) for meaning in found
    )
    return ReadText(tuple(_distinct(readings, vocabulary)), words, unknown, tuple(known_as))


def forms(word: str) -> frozenset[str]:
    """A word, its singular and plural, and a digit as a Roman number."""
    found = {word, singular(word), ROMAN.get(word, word)}
    return frozenset(found if word.isdigit() else found | {word + "s"})


def _is_met(word: str, vocabulary: Vocabulary) -> bool:
    if any(form in vocabulary for form in forms(word)):
        return True
    return singular(word) in phrase_words() or bool(
        _begun(word, vocabulary) or _nearest(word, vocabulary) or _nearest(word, _listed())
    )


def _begun(word: str, vocabulary: Vocabulary) -> Sequence[str]:
    return vocabulary.beginning(word) if len(word) >= BEGINNING_CHARS_MIN else ()


def _beginnings(words: Phrase, vocabulary: Vocabulary, *, is_known: bool) -> Iterator[Reading]:
    groups = tuple(forms(word).union(_begun(word, vocabulary)) for word in words)
    tier = Tier.WEAK_BEGINNING if is_known else Tier.BEGINNING
    yield Reading(tier, groups, asked=" ".join(words))


def _parts(words: Phrase, vocabulary: Vocabulary) -> Iterator[Reading]:
    groups = tuple(
        forms(word).union(
            _begun(word, vocabulary),
            vocabulary.containing(word) if len(word) >= PART_CHARS_MIN else (),
        )
        for word in words
    )
    yield Reading(Tier.PART, groups, asked=" ".join(words))


def _synonyms(
    words: Phrase, vocabulary: Vocabulary, tier: Tier, asked: str | None = None
) -> Iterator[Reading]:
    """The text with its longest known phrase in other words, each of them that may occur."""
    for begin, end, found in _longest_phrases(words):
        rest = tuple(
            forms(word).union(_begun(word, vocabulary)) for word in (*words[:begin], *words[end:])
        )
        told = asked or " ".join(words[begin:end])
        for meaning in found:
            for other in meaning.looked_for:
                others = words_of(other)
                if said(others) != said(words[begin:end]) and _may_occur(others, vocabulary):
                    yield Reading(tier, (*map(forms, others), *rest), told, other)


def _longest_phrases(words: Phrase) -> Iterator[tuple[int, int, tuple[Meaning, ...]]]:
    """The phrases of the list in the text: all of the greatest length there is."""
    plain = said(words)
    for length in range(len(words), 0, -1):
        found = [
            (begin, begin + length, phrases()[plain[begin : begin + length]])
            for begin in range(len(words) - length + 1)
            if plain[begin : begin + length] in phrases()
        ]
        if found:
            yield from found
            return


def _may_occur(words: Phrase, vocabulary: Vocabulary) -> bool:
    return all(any(form in vocabulary for form in forms(word)) for word in words)


def _spelt(words: Phrase, vocabulary: Vocabulary) -> Iterator[Reading]:
    """The text with its unknown words as those that were meant, by the data or by the list."""
    wrong = [
        word
        for word in words
        if typos_allowed(word)
        and singular(word) not in phrase_words()
        and not any(form in vocabulary for form in forms(word))
    ]
    if not wrong:
        return
    meant = {word: _nearest(word, vocabulary) for word in wrong}
    groups = tuple(
        frozenset(meant[word]) if word in meant else forms(word).union(_begun(word, vocabulary))
        for word in words
    )
    yield Reading(Tier.TYPO, groups, asked=" ".join(wrong))
    choices = [_nearest(word, _listed()) if word in meant else [word] for word in words]
    for corrected in islice(product(*choices), CORRECTIONS_MAX):
        if said(corrected) != said(words):
            yield from _synonyms(corrected, vocabulary, Tier.TYPO, asked=" ".join(words))


def _nearest(word: str, vocabulary: Vocabulary) -> list[str]:
    """The words at the least distance at which there are any."""
    found = vocabulary.nearest(word, typos_allowed(word)) if typos_allowed(word) else ()
    return [other for other, far in found if far == found[0][1]][:TYPOS_MAX]


@cache
def _listed() -> Vocabulary:
    """The words of the list, as a vocabulary."""
    return Vocabulary(phrase_words())


def _distinct(readings: Iterable[Reading], vocabulary: Vocabulary) -> Iterator[Reading]:
    """Those that some display may meet and that add to the ones before, READINGS_MAX at most.

    Words that do not occur are left out: looking for them would cost as much as for others.
    """
    seen: set[tuple[frozenset[str], ...]] = set()
    for reading in sorted(readings, key=lambda one: one.tier):
        groups = tuple(
            frozenset(word for word in group if word in vocabulary) for group in reading.groups
        )
        if groups and all(groups) and groups not in seen:
            seen.add(groups)
            yield replace(reading, groups=groups)
        if len(seen) >= READINGS_MAX:
            return


def _briefest(word: str) -> tuple[int, str]:
    return len(word), word
