"""Where the bins of a histogram begin and end: round numbers, or whole parts of the calendar."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from math import floor
from typing import Literal, TypeAlias

Unit = Literal["day", "week", "month", "quarter", "year", "decade", "century"]
Edges: TypeAlias = list[Decimal] | list[datetime]

#: About so many bins a picture has; at most twice as many.
BINS_AIM = 24
ROUND = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
#: A step is never finer than this part of the numbers: beyond, a Decimal tells no edges apart.
FINEST = Decimal("1e-12")
#: Days that a unit has, at most.
_DAYS: dict[Unit, int] = {
    "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366, "decade": 3_653,
    "century": 36_525,
}  # fmt: skip
_MONTHS: dict[Unit, int] = {"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1_200}
#: The century of a later year ends in no year that a date can tell.
YEAR_LAST = 9_900


def number_edges(
    least: Decimal, most: Decimal, *, aim: int = BINS_AIM, whole: bool = False
) -> list[Decimal]:
    """Multiples of a round step, from at or below `least` to above `most`; about `aim` of them."""
    largest = max(abs(least), abs(most))
    step = _round_step(
        max((most - least) / aim, largest * FINEST) if most > least else largest / aim or Decimal(1)
    )
    if whole:
        step = max(step, Decimal(1))
    first = floor(least / step)
    # A quotient of more digits than a Decimal has is rounded, also to above its number.
    if step * first > least:
        first -= 1
    last = floor(most / step) + 1
    return [step * number for number in range(first, last + 1)]


def date_edges(first: datetime, last: datetime) -> tuple[Unit, list[datetime]]:
    """The first instants of whole units, from at or before `first` to after `last`."""
    days = (last - first).days + 1
    fitting = [unit for unit, size in _DAYS.items() if days <= size * BINS_AIM]
    unit = fitting[0] if fitting else "century"
    after = _after(unit)
    edges = [_begin(unit, first)]
    while edges[-1] <= last:
        edges.append(after(edges[-1]))
    return unit, edges


def _round_step(step: Decimal) -> Decimal:
    size = Decimal(1).scaleb(step.adjusted())
    return next(size * part for part in ROUND if size * part >= step)


def _begin(unit: Unit, at: datetime) -> datetime:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return day
    if unit == "week":
        # The calendar begins on a Monday.
        return day - timedelta(days=day.weekday())
    count = _months(day) // _MONTHS[unit] * _MONTHS[unit]
    # There is no year 0, in which the first decade and century would begin.
    return day.replace(year=max(1, count // 12), month=count % 12 + 1, day=1)


def _after(unit: Unit) -> Callable[[datetime], datetime]:
    if unit in ("day", "week"):
        return lambda edge: edge + timedelta(days=_DAYS[unit])
    months = _MONTHS[unit]

    def later(edge: datetime) -> datetime:
        count = _months(edge) // months * months + months
        return edge.replace(year=count // 12, month=count % 12 + 1)

    return later


def _months(at: datetime) -> int:
    """Months since the beginning of the year 0."""
    return at.year * 12 + at.month - 1
