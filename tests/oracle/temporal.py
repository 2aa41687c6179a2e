"""What a date, dateTime or time means: the instants it covers, and its boundaries."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal

MOMENT = re.compile(
    r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:T(\d\d)(?::(\d\d))?(?::(\d\d)(\.\d+)?)?)?"
    r"(Z|[+-]\d\d:\d\d)?$"
)
EARLIEST, LATEST = "+14:00", "-12:00"


def covered(text: str) -> tuple[datetime, datetime, int]:
    """First instant, first instant after, and number of parts written (1 year … 6 second).

    A time without a zone is read as UTC; one with seconds is a single instant.
    """
    match = MOMENT.match(text)
    if match is None:
        raise ValueError(text)
    parts = [int(part) for part in match.groups()[:6] if part is not None]
    year, month, day, hour, minute, second = parts + [0, 1, 1, 0, 0, 0][len(parts) :]
    micros = round(Decimal(match[7] or 0) * 1_000_000)
    low = datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
    zone = match[8]
    if zone and zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        low = low - shift if zone[0] == "+" else low + shift
    return low, low + duration(low, len(parts)), len(parts)


def duration(low: datetime, parts: int) -> timedelta:
    days = {1: 366 if monthrange(low.year, 2)[1] == 29 else 365, 3: 1}
    if parts == 2:
        return timedelta(days=monthrange(low.year, low.month)[1])
    return {4: timedelta(hours=1), 5: timedelta(minutes=1), 6: timedelta(0)}.get(
        parts, timedelta(days=days.get(parts, 0))
    )


def order(left: str, right: str) -> int | None:
    """-1, 0 or 1; None when the two overlap at unequal precision."""
    if ("T" in left and "T" in right) and has_zone(left) is not has_zone(right):
        return None
    left_low, left_high, left_parts = covered(left)
    right_low, right_high, right_parts = covered(right)
    if left_parts == right_parts:
        return (left_low > right_low) - (left_low < right_low)
    if left_high <= right_low and left_low < right_low:
        return -1
    if right_high <= left_low and right_low < left_low:
        return 1
    return None


def has_zone(text: str) -> bool:
    match = MOMENT.match(text)
    return match is not None and match[8] is not None


def same_time(left: str, right: str) -> bool | None:
    """None when one is written to the minute and the other finer; fractions are no finer."""
    parts = [[*text.split(":")] for text in (left, right)]
    if any(one != other for one, other in zip(*parts, strict=False) if "." not in one + other):
        return False
    if len(parts[0]) != len(parts[1]):
        return None
    return Decimal(parts[0][-1]) == Decimal(parts[1][-1])


def date_boundary(text: str, *, high: bool) -> str:
    year, month, day = (*text.split("-"), "", "")[:3]
    month = month or ("12" if high else "01")
    last = monthrange(int(year), int(month))[1]
    return f"{year}-{month}-{day or (f'{last:02}' if high else '01')}"


def datetime_boundary(text: str, *, high: bool) -> str:
    day, _, rest = text.partition("T")
    match = re.match(r"([\d:.]*)(Z|[+-]\d\d:\d\d)?$", rest)
    clock, zone = (match[1], match[2]) if match else ("", None)
    zone = zone or (LATEST if high else EARLIEST)
    return f"{date_boundary(day, high=high)}T{time_boundary(clock, high=high)}{zone}"


def time_boundary(text: str, *, high: bool) -> str:
    clock, _, millis = text.partition(".")
    parts = [part for part in clock.split(":") if part]
    parts += (["23", "59", "59"] if high else ["00", "00", "00"])[len(parts) :]
    return ":".join(parts) + "." + millis.ljust(3, "9" if high else "0")


def cut(text: str, digits: int | None) -> str | None:
    """The text up to so many digits, a time with its offset; None when no part ends there."""
    if digits is None:
        return text
    clock, zone = (text[:23], text[23:]) if "T" in text else (text, "")
    parts = re.findall(r"\D?\d+", clock)
    for count in range(1, len(parts) + 1):
        found = "".join(parts[:count])
        if sum(map(str.isdigit, found)) == digits:
            return found + (zone if "T" in found else "")
    return None
