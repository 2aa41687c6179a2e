"""A text as words that compare, and how far two words are apart."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache

#: Longer words are no words of a display; more than this many of one text are not kept.
WORD_CHARS_MAX = 40
WORDS_MAX = 64
#: The displays of waiting changes are read with every answer.
TEXTS_HELD_MAX = 10_000
#: One text asks for the same word several times.
NEAR_HELD_MAX = 1_000
#: So many words are taken for one that is only begun or contained.
EXPANDED_MAX = 200
_WORD = re.compile(r"[^\W_]+")
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0x00AD])
_LETTERS = {letter: 1 << number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


@lru_cache(maxsize=TEXTS_HELD_MAX)
def words_of(text: str) -> tuple[str, ...]:
    """The words in order: without case, accents, signs and invisible characters."""
    plain = unicodedata.normalize("NFKD", text.translate(_INVISIBLE)).casefold()
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    found = [word for word in _WORD.findall(bare) if len(word) <= WORD_CHARS_MAX]
    return tuple(found[:WORDS_MAX])


def distance(one: str, other: str, most: int) -> int:
    """How many letters are missing, added, changed or swapped with their neighbour.

    Above `most` it only says `most + 1`.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        line = [row]
        for column, theirs in enumerate(other, start=1):
            cost = letter != theirs
            best = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + cost)
            swapped = row > 1 and column > 1
            if swapped and letter == other[column - 2] and one[row - 2] == theirs:
                best = min(best, before[column - 2] + 1)
            line.append(best)
        if min(line) > most:
            return most + 1
        before, last = last, line
    return min(last[-1], most + 1)


def typos_allowed(word: str) -> int:
    """How far a word may be from the one that is meant: short ones resemble too many others."""
    if len(word) < 4 or word.isdigit():
        return 0
    return 1 if len(word) < 7 else 2


class Vocabulary:
    """The words that occur, to be searched by their beginning, a part, or likeness."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words: set[str] = set()
        self._sorted: list[str] = []
        self._masks: list[tuple[str, int]] = []
        self._near: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self.add(words)

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def add(self, words: Iterable[str]) -> None:
        """Takes in more words."""
        new = set(words) - self._words
        if new:
            self._near.clear()
            self._words |= new
            self._sorted = sorted(self._words)
            self._masks += [(word, _mask(word)) for word in new]

    def beginning(self, start: str) -> Sequence[str]:
        """The words that go on after `start`, the first EXPANDED_MAX of them."""
        begin = bisect_left(self._sorted, start)
        found = self._sorted[begin : begin + EXPANDED_MAX + 1]
        return [word for word in found if word != start and word.startswith(start)]

    def containing(self, part: str) -> Sequence[str]:
        """The words with `part` after their beginning, the shortest EXPANDED_MAX of them."""
        found = [word for word in self._sorted if part in word and not word.startswith(part)]
        return sorted(found, key=lambda word: (len(word), word))[:EXPANDED_MAX]

    def nearest(self, word: str, most: int) -> Sequence[tuple[str, int]]:
        """The words within a distance, with it, the nearest first."""
        if (word, most) in self._near:
            return self._near[word, most]
        mask = _mask(word)
        alike = [
            (other, distance(word, other, most))
            for other, theirs in self._masks
            if (mask ^ theirs).bit_count() <= 2 * most and abs(len(word) - len(other)) <= most
        ]
        found = [(other, far) for other, far in alike if far <= most]
        found.sort(key=lambda pair: (pair[1], pair[0][:1] != word[:1], pair[0]))
        if len(self._near) >= NEAR_HELD_MAX:
            self._near.clear()
        self._near[word, most] = found
        return found


def _mask(word: str) -> int:
    """Which letters it has: a changed letter alters two bits at most."""
    mask = 0
    for letter in word:
        mask |= _LETTERS.get(letter, 0)
    return mask
