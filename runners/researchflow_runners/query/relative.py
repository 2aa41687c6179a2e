"""Dates told from another one: `today-2y`, `newest-90d`; each becomes the day it means.

`today` is the day of the answer in UTC: now for a live one, the day that its data are of for an
anchor's, so that the anchor answers the same for ever. `newest` is the day on which the newest
value of that column in that view begins, of those that begin by today. Units are d, w, m and y;
a month or year on is the same day of it, or the last one where there is no such day.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias, get_args

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Catalogue, kind_of
from researchflow_runners.query.model import Compare, Query, Scalar
from researchflow_runners.query.reach import place_of
from researchflow_runners.query.walk import rewritten

Base = Literal["today", "newest"]
#: A view and its column.
Place: TypeAlias = tuple[str, str]

_ANY_DAY = date(2000, 1, 1)
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"m": 1, "y": 12}
_RELATIVE = re.compile(
    rf"\s*({'|'.join(get_args(Base))})\s*(?:([+-])\s*([0-9]{{1,5}})\s*([dwmy]))?\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class RelativeDate:
    """So many units after a day; before it, when negative."""

    base: Base
    amount: int = 0
    unit: str = "d"

    def from_(self, day: date) -> date:
        """The day that it means; OverflowError or ValueError beyond the calendar."""
        if self.unit in _DAYS:
            return day + timedelta(days=self.amount * _DAYS[self.unit])
        years, month = divmod(day.month - 1 + self.amount * _MONTHS[self.unit], 12)
        year = day.year + years
        return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def parse_relative(value: object) -> RelativeDate | None:
    """The relative date that the value is, or None."""
    found = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    base: Base = "today" if found[1].lower() == "today" else "newest"
    if found[2] is None:
        return RelativeDate(base)
    return RelativeDate(base, int(found[2] + found[3]), found[4].lower())


def newest_asked(query: Query, catalogue: Catalogue) -> tuple[Place, ...]:
    """The columns of which the newest date is asked, each once."""
    found: dict[Place, None] = {}

    def day_of(base: Base, place: Place) -> date:
        if base == "newest":
            found[place] = None
        return _ANY_DAY

    resolved(query, catalogue, day_of)
    return tuple(found)


def resolved(
    query: Query, catalogue: Catalogue, day_of: Callable[[Base, Place], date]
) -> tuple[Query, tuple[str, ...]]:
    """The query with days for relative dates, and a sentence for each that tells its day.

    QueryError `value_type` beyond the calendar.
    """
    told: dict[str, None] = {}

    def change(view: str, compare: Compare) -> Compare:
        place = place_of(view, compare.column, catalogue)
        if not _is_dated(place, catalogue) or not any(_relative_in(compare)):
            return compare

        def one(value: Scalar | None) -> Scalar | None:
            relative = parse_relative(value)
            if relative is None:
                return value
            day = _day(relative, day_of(relative.base, place), compare)
            whose = f' of "{place[1]}" in "{place[0]}"' if relative.base == "newest" else ""
            told[f'"{value}"{whose} is {day}'] = None
            return day

        value = compare.value
        changed = [one(each) for each in value] if isinstance(value, list) else one(value)
        return compare.model_copy(update={"value": changed})

    return rewritten(query, change), tuple(told)


def _day(relative: RelativeDate, base: date, compare: Compare) -> str:
    try:
        return relative.from_(base).isoformat()
    except (OverflowError, ValueError) as error:
        raise QueryError(
            f'"{relative.base}" leads beyond the calendar for column "{compare.column}"',
            code="value_type",
            hint="stay between the years 1 and 9999: today-2y, newest-90d",
            field="where",
        ) from error


def _relative_in(compare: Compare) -> Iterator[RelativeDate]:
    values = compare.value if isinstance(compare.value, list) else [compare.value]
    return (found for value in values if (found := parse_relative(value)) is not None)


def _is_dated(place: Place, catalogue: Catalogue) -> bool:
    view, name = place
    return any(
        column.name == name and kind_of(column) == "period" for column in catalogue.get(view, ())
    )
