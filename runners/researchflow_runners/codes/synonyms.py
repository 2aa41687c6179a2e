"""What people say and what displays say: abbreviations, lay words, drug classes.

`synonyms.tsv` has a line for each meaning: its terms, which find one another; short forms, which
are said and not looked for, because a few letters stand for many things; members, which the terms
find and which do not find them; words that no display of it has; and the source of the concept: a
MeSH heading, a class of ATC, a code of LOINC or CVX, an ingredient of RxNorm. The words are ours.
A member that is a term of another line brings all that is looked for by that line, so classes are
made of classes and ingredients of their brands. Lines of the kind `word` hold within any phrase.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from researchflow_runners.codes.words import words_of

Phrase = tuple[str, ...]

WORD = "word"
#: Words that carry no meaning of a code.
_NOISE = """
a all an and any are as at by code codes coded diagnosed diagnosis find for from has have having in
is list me of on or patient patients people show the to their what which who with
"""
NOISE = frozenset(_NOISE.split())
#: What a drug, a vaccine or a test is called besides its name, and the word for them all.
FILLERS = {
    **dict.fromkeys(("medicine", "medication", "med", "drug", "pill", "tablet"), "medicine"),
    **dict.fromkeys(("vaccine", "vaccination", "immunization", "immunisation"), "vaccine"),
    **dict.fromkeys(("shot", "jab", "booster"), "vaccine"),
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line of the list."""

    kind: str
    terms: tuple[str, ...]
    short: tuple[str, ...]
    members: tuple[str, ...]
    without: frozenset[str]
    source: str

    @property
    def looked_for(self) -> tuple[str, ...]:
        """What displays may say: its terms, its members, and what these are looked for by."""
        return _looked_for(self)


@cache
def meanings() -> tuple[Meaning, ...]:
    """Every line, in order."""
    lines = files(__package__).joinpath("synonyms.tsv").read_text().splitlines()[1:]
    return tuple(_meaning(line) for line in lines)


@cache
def phrases() -> Mapping[Phrase, tuple[Meaning, ...]]:
    """The meanings by what is said, as the words of `said`."""
    return _by_phrase(short=True)


@cache
def phrase_words() -> frozenset[str]:
    """Every word that is part of something said."""
    of_phrases = {word for phrase in phrases() for word in phrase}
    return frozenset(of_phrases.union(FILLERS, map(singular, _alike())))


def meant_by(phrase: Phrase) -> tuple[Meaning, ...]:
    """The meanings of words of `said`; "blood pressure pills" are "blood pressure medicine"."""
    found = phrases().get(phrase, ())
    return found or (_without_fillers().get(_plainer(phrase), ()) if len(phrase) > 1 else ())


def alike(word: str) -> frozenset[str]:
    """The words that stand for this one within any phrase: renal for kidney."""
    return _alike().get(singular(word), frozenset())


def telling(words: Phrase) -> Phrase:
    """The words that carry meaning, all if none does; the a of "hepatitis a" does."""
    kept = tuple(
        word
        for place, word in enumerate(words)
        if word not in NOISE or (word == "a" and place > 0 and words[place - 1] not in NOISE)
    )
    return kept or words


def said(words: Phrase) -> Phrase:
    """The telling words without plural, which is how phrases are compared."""
    return tuple(singular(word) for word in telling(words))


def singular(word: str) -> str:
    """The word without the s of a plural."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "su" else word


def _plainer(phrase: Phrase) -> Phrase:
    return tuple(FILLERS.get(word, word) for word in phrase)


@cache
def _without_fillers() -> Mapping[Phrase, tuple[Meaning, ...]]:
    """The meanings by phrases whose fillers are one word."""
    found: dict[Phrase, tuple[Meaning, ...]] = {}
    for phrase, of_phrase in phrases().items():
        if len(phrase) > 1:
            plain = _plainer(phrase)
            found[plain] = tuple(dict.fromkeys((*found.get(plain, ()), *of_phrase)))
    return found


@cache
def _by_phrase(*, short: bool) -> Mapping[Phrase, tuple[Meaning, ...]]:
    found: dict[Phrase, tuple[Meaning, ...]] = {}
    for meaning in meanings():
        every = (*meaning.terms, *(meaning.short if short else ()))
        for one in dict.fromkeys(said(words_of(text)) for text in every):
            if meaning.kind != WORD:
                found[one] = (*found.get(one, ()), meaning)
    return found


@cache
def _looked_for(meaning: Meaning) -> tuple[str, ...]:
    seen = {meaning: None}
    todo = [meaning]
    while todo:
        more = [other for one in todo for other in _brought(one) if other not in seen]
        todo = list(dict.fromkeys(more))
        seen |= dict.fromkeys(todo)
    return tuple(dict.fromkeys(text for one in seen for text in one.terms + one.members))


def _brought(meaning: Meaning) -> Iterator[Meaning]:
    """The lines whose terms are among its members."""
    for member in meaning.members:
        yield from _by_phrase(short=False).get(said(words_of(member)), ())


@cache
def _alike() -> Mapping[str, frozenset[str]]:
    return {
        singular(term): frozenset(one.terms + one.members)
        for one in meanings()
        if one.kind == WORD
        for term in one.terms
    }


def _meaning(line: str) -> Meaning:
    kind, *lists, without, source = line.split("\t")
    terms, short, members = (tuple(filter(None, text.split("; "))) for text in lists)
    return Meaning(kind, terms, short, members, frozenset(without.split()), source)
