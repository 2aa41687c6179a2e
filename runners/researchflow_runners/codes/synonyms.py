"""What people say and what displays say: abbreviations, lay words, drug classes.

`synonyms.tsv` has a line for each meaning: its terms, which find one another; short forms, which
are said and not looked for, because a few letters stand for many things; members, which the terms
find and which do not find them; and the source of the concept: a MeSH heading, a class of ATC, a
code of LOINC or CVX, an ingredient of RxNorm. The words are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from researchflow_runners.codes.words import words_of

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line of the list."""

    kind: str
    terms: tuple[str, ...]
    short: tuple[str, ...]
    members: tuple[str, ...]
    source: str

    @property
    def looked_for(self) -> tuple[str, ...]:
        """What displays may say."""
        return self.terms + self.members


@cache
def meanings() -> tuple[Meaning, ...]:
    """Every line, in order."""
    lines = files(__package__).joinpath("synonyms.tsv").read_text().splitlines()[1:]
    return tuple(_meaning(line) for line in lines)


@cache
def phrases() -> Mapping[Phrase, tuple[Meaning, ...]]:
    """The meanings by what is said, as the words of `said`."""
    found: dict[Phrase, tuple[Meaning, ...]] = {}
    for meaning in meanings():
        for one in dict.fromkeys(said(words_of(text)) for text in meaning.terms + meaning.short):
            found[one] = (*found.get(one, ()), meaning)
    return found


@cache
def phrase_words() -> frozenset[str]:
    """Every word that is part of something said."""
    return frozenset(word for phrase in phrases() for word in phrase)


def said(words: Phrase) -> Phrase:
    """The words without plural, which is how phrases are compared."""
    return tuple(singular(word) for word in words)


def singular(word: str) -> str:
    """The word without the s of a plural."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "su" else word


def _meaning(line: str) -> Meaning:
    kind, *lists, source = line.split("\t")
    terms, short, members = (tuple(filter(None, text.split("; "))) for text in lists)
    return Meaning(kind, terms, short, members, source)
