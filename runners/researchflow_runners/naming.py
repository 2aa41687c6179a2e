"""What a name may look like, the nearest of the allowed ones, and words for errors that help."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

#: Names up to this length resemble many others: "gte" is as near to "gt" as to "ge".
SHORT_CHARS_MAX = 2
CUTOFF = 0.6
SHORT_CUTOFF = 0.75
#: A list beyond this is read by nobody: an error shows the first and counts the rest.
NAMES_LISTED_MAX = 20

#: Names of pins: never a number or a date, so that `as_of` can be any of the three.
PIN_CHARS_MAX = 64
PIN_NAME = f"[A-Za-z][A-Za-z0-9_.-]{{0,{PIN_CHARS_MAX - 1}}}"


#: A name that nobody can guess: who was told it may use it, and it is never listed or proposed.
UNLISTED_CHARS = 26
_UNLISTED = re.compile(f"_[a-z2-7]{{{UNLISTED_CHARS}}}")


def unlisted_name(name: str) -> str:
    """The name with 130 random bits behind it, by which `is_unlisted` tells it."""
    sign = base64.b32encode(secrets.token_bytes(17)).decode().lower()[:UNLISTED_CHARS]
    return f"{name}_{sign}"


def is_unlisted(name: str) -> bool:
    """Whether the name was made by `unlisted_name`."""
    return _UNLISTED.fullmatch(name[-UNLISTED_CHARS - 1 :]) is not None


def nearest(name: str, allowed: Iterable[str], *, cutoff: float = CUTOFF) -> str | None:
    """The allowed name most like `name`, or None when none is close; never an unlisted one.

    A short name is guessed only where it is much alike and no other short one is.
    """
    folded = name.casefold()
    by_folded = {one.casefold(): one for one in allowed if not is_unlisted(one)}
    if folded in by_folded:
        return by_folded[folded]
    short = [candidate for candidate in by_folded if len(candidate) <= SHORT_CHARS_MAX]
    found = get_close_matches(folded, by_folded.keys() - short, n=1, cutoff=cutoff)
    if not found:
        alike = get_close_matches(folded, short, n=2, cutoff=SHORT_CUTOFF)
        found = alike if len(alike) == 1 else []
    return by_folded[found[0]] if found else None


def nearest_value(value: str, known: Iterable[str]) -> str | None:
    """The known value that a written one may mean: the only one it begins, or the most alike."""
    values = list(known)
    folded = value.casefold()
    begun = [one for one in values if folded and one.casefold().startswith(folded)]
    return begun[0] if len(begun) == 1 else nearest(value, values)


def by_likeness(name: str, allowed: Sequence[str]) -> Sequence[str]:
    """The allowed names as they are, or the most alike first when an error cannot list them all."""
    if len(allowed) <= NAMES_LISTED_MAX:
        return allowed
    folded = name.casefold()
    return sorted(
        allowed,
        key=lambda one: (-SequenceMatcher(None, folded, one.casefold()).ratio(), one),
    )


def as_clause(sentence: str) -> str:
    """The sentence as it goes on after a colon: its first letter changes, never a name in it."""
    return sentence[:1].lower() + sentence[1:]


def is_pin_name(name: str) -> bool:
    """Whether a pin can have the name."""
    return re.fullmatch(PIN_NAME, name) is not None
