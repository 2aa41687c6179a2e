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
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open, both ends aware UTC times; `2024-06` is the whole month, 08:30 the minute.

    Python's calendar ends with the year 9999: `high` is None for a period that reaches its end.
    """

    low: datetime
    high: datetime | None


def parse_period(text: str) -> Period | None:
    """The period the text means, or None when it is not such a text or not a real date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        local, offset = _local(found), _offset(found["zone"])
    except ValueError:
        return None
    return Period(_in_utc(local, offset), _high(local, offset, found))


def _local(found: re.Match[str]) -> datetime:
    """Where the period begins by its own clock, as if that were UTC."""
    part = found.groupdict()
    fraction = (part["fraction"] or ".0")[1:].ljust(6, "0")
    return datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int(fraction),
        tzinfo=UTC,
    )


def _in_utc(local: datetime, offset: timedelta) -> datetime:
    """The instant; beyond the calendar its last or first one."""
    try:
        return local - offset
    except OverflowError:
        return _FIRST if offset > timedelta(0) else _LAST


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError("zone offset out of range")
    offset = timedelta(hours=hours, minutes=minutes)
    return offset if zone[0] == "+" else -offset


def _high(local: datetime, offset: timedelta, found: re.Match[str]) -> datetime | None:
    try:
        return _end(local, found) - offset
    except (ValueError, OverflowError):
        return _FIRST if local.year == _FIRST.year else None


def _end(local: datetime, found: re.Match[str]) -> datetime:
    """Where the period ends by its own clock; ValueError or OverflowError after the year 9999."""
    if found["month"] is None:
        return local.replace(year=local.year + 1)
    if found["day"] is None:
        carry, month = divmod(local.month, 12)
        return local.replace(year=local.year + carry, month=month + 1)
    if found["hour"] is None:
        return local + timedelta(days=1)
    if found["second"] is None:
        return local + timedelta(minutes=1)
    return local + timedelta(microseconds=1)
