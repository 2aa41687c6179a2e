"""Whether what is written like a date or a time is one: not 2021-02-30, not 25:00."""

from __future__ import annotations

import re
from datetime import date

CLOCK = re.compile(r"(\d\d)(?::(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(?:Z|[+-](\d\d):(\d\d))?")
#: Greatest hour, minute, second (a leap second), and hour and minute of an offset.
CLOCK_MAX = (23, 59, 60, 14, 59)


def exists(kind: str, text: str) -> bool:
    """Whether there is such a `date`, `dateTime`, `instant` or `time`; any precision will do."""
    day, _, clock = ("", "", text) if kind == "time" else text.partition("T")
    return (not day or _is_on_calendar(day)) and (not clock or _is_on_clock(clock))


def _is_on_calendar(text: str) -> bool:
    parts = [int(part) for part in text.split("-")]
    try:
        date(*(*parts, 1, 1)[:3])
    except ValueError:
        return False
    return True


def _is_on_clock(text: str) -> bool:
    found = CLOCK.fullmatch(text)
    given = found.groups(default="0") if found else ()
    return found is not None and all(
        int(part) <= most for part, most in zip(given, CLOCK_MAX, strict=True)
    )
