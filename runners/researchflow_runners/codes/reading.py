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

from researchflow_runners.codes.codeform import has_code_form
from researchflow_runners.codes.synonyms import (
    FILLERS,
    Meaning,
    Phrase,
    alike,
    meant_by,
    phrase_words,
    said,
    singular,
    telling,
)
from researchflow_runners.codes.words import Vocabulary, typos_allowed, words_of

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
    """One way to read a text; `asked` and `meant` say how its words became these.

    A display has a word of each group and none of `without`. `is_listed` says whether the list of
    synonyms led here.
    """

    tier: Tier
    groups: tuple[frozenset[str], ...]
    asked: str = ""
    meant: str = ""
    without: frozenset[str] = frozenset()
    is_listed: bool = False

    def fits(self, words: Collection[str]) -> bool:
        """Whether a display with these words is meant."""
        return self.without.isdisjoint(words) and all(
            not group.isdisjoint(words) for group in self.groups
        )

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
    """The ways to read a text over displays of these words, the best first.

    What has the form of a code is no text to spell, begin or take apart: it is a word as it
    stands, or what the list says of it, as of "A1c" and "B12".
    """
    words = telling(words_of(text))[:TOKENS_MAX]
    is_code = has_code_form(text.strip())
    read = _read_code(words, vocabulary) if is_code else _read_words(words, vocabulary)
    bare = words if is_code else _bare(words)
    if bare != words:
        read += _read_words(bare, vocabulary)
    unknown = () if is_code else tuple(word for word in bare if not _is_met(word, vocabulary))
    known_as = dict.fromkeys(
        meaning.terms[0] for _begin, _end, found in _longest_phrases(bare) for meaning in found
    )
    return ReadText(tuple(_distinct(read, vocabulary)), bare, unknown, tuple(known_as))


def _read_words(words: Phrase, vocabulary: Vocabulary) -> list[Reading]:
    synonyms = list(_synonyms(words, vocabulary, Tier.SYNONYM))
    return [
        Reading(Tier.WORD, tuple(map(forms, words))),
        *_beginnings(words, vocabulary, is_known=bool(synonyms)),
        *synonyms,
        *_in_other_words(words),
        *_spelt(words, vocabulary),
        *_parts(words, vocabulary),
    ]


def _read_code(words: Phrase, vocabulary: Vocabulary) -> list[Reading]:
    is_word = len(words) == 1 and not words[0].isdigit()
    exact = [Reading(Tier.WORD, (forms(words[0]),))] if is_word else []
    return exact + list(_synonyms(words, vocabulary, Tier.SYNONYM))


def _bare(words: Phrase) -> Phrase:
    """The words without pill, shot and the like, where no phrase of the list has them."""
    covered = {
        place
        for begin, end, _meanings in _longest_phrases(words)
        for place in range(begin, end)
        if not FILLERS.keys() >= set(map(singular, words[begin:end]))
    }
    bare = tuple(
        word
        for place, word in enumerate(words)
        if place in covered or singular(word) not in FILLERS
    )
    return bare or words


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


def _in_other_words(words: Phrase) -> Iterator[Reading]:
    """The text with renal for kidney and the like."""
    if any(map(alike, words)):
        groups = tuple(map(_forms_alike, words))
        yield Reading(Tier.SYNONYM, groups, " ".join(words), is_listed=True)


def _forms_alike(word: str) -> frozenset[str]:
    """The forms of a word and of those that stand for it."""
    return forms(word).union(*map(forms, alike(word)))


def _synonyms(
    words: Phrase, vocabulary: Vocabulary, tier: Tier, asked: str | None = None
) -> Iterator[Reading]:
    """The text with its longest known phrase in other words, each of them that may occur.

    Single words are one reading: a class may have a hundred.
    """
    for begin, end, found in _longest_phrases(words):
        rest = tuple(
            _forms_alike(word).union(_begun(word, vocabulary))
            for word in (*words[:begin], *words[end:])
            if singular(word) not in FILLERS
        )
        told = asked or " ".join(words[begin:end])
        for meaning in found:
            others = {text: telling(words_of(text)) for text in meaning.looked_for}
            single = [forms(one[0]) for one in others.values() if len(one) == 1]
            if single:
                together = frozenset[str]().union(*single) - forms(told)
                yield Reading(tier, (together, *rest), told, "", meaning.without, True)
            for text, one in others.items():
                is_other = len(one) > 1 and said(one) != said(words[begin:end])
                if is_other and _may_occur(one, vocabulary):
                    groups = (*map(_forms_alike, one), *rest)
                    yield Reading(tier, groups, told, text, meaning.without, True)


def _longest_phrases(words: Phrase) -> Iterator[tuple[int, int, tuple[Meaning, ...]]]:
    """The phrases of the list in the text: all of the greatest length there is."""
    plain = said(words)
    for length in range(len(words), 0, -1):
        found = [
            (begin, begin + length, meant_by(plain[begin : begin + length]))
            for begin in range(len(words) - length + 1)
            if meant_by(plain[begin : begin + length])
        ]
        if found:
            yield from found
            return


def _may_occur(words: Phrase, vocabulary: Vocabulary) -> bool:
    return all(any(form in vocabulary for form in _forms_alike(word)) for word in words)


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
    """Those that some display may meet and that add to the ones before.

    READINGS_MAX at most, and what the list says of the text whole: a class is not cut. Words that
    do not occur are left out: looking for them would cost as much as for others.
    """
    seen: set[tuple[frozenset[str], tuple[frozenset[str], ...]]] = set()
    for reading in sorted(readings, key=lambda one: one.tier):
        groups = tuple(
            frozenset(word for word in group if word in vocabulary) for group in reading.groups
        )
        if groups and all(groups) and (reading.without, groups) not in seen:
            if len(seen) >= READINGS_MAX and reading.tier > Tier.SYNONYM:
                return
            seen.add((reading.without, groups))
            yield replace(reading, groups=groups)


def _briefest(word: str) -> tuple[int, str]:
    return len(word), word
