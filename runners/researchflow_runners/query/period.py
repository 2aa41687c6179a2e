"""The period that an ISO 8601 date, dateTime or instant means, `[low, high)` in UTC.

The same meaning as compiler/periods.py gives stored values: a missing zone means UTC, a time to
the second or finer is an instant, one microsecond long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,6})?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open, both ends aware UTC times; `2024-06` is the whole month, 08:30 the minute."""

    low: datetime
    high: datetime


def parse_period(text: str) -> Period | None:
    """The period the text means, or None when it is not such a text or not a real date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        low = _low(found)
        return Period(low, _high(low, found))
    except (ValueError, OverflowError):
        return None


def _low(found: re.Match[str]) -> datetime:
    part = found.groupdict()
    fraction = (part["fraction"] or ".0")[1:].ljust(6, "0")
    local = datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int(fraction),
        tzinfo=UTC,
    )
    return local - _offset(part["zone"])


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError("zone offset out of range")
    offset = timedelta(hours=hours, minutes=minutes)
    return offset if zone[0] == "+" else -offset


def _high(low: datetime, found: re.Match[str]) -> datetime:
    if found["month"] is None:
        return low.replace(year=low.year + 1)
    if found["day"] is None:
        carry, month = divmod(low.month, 12)
        return low.replace(year=low.year + carry, month=month + 1)
    if found["hour"] is None:
        return low + timedelta(days=1)
    if found["second"] is None:
        return low + timedelta(minutes=1)
    return low + timedelta(microseconds=1)
