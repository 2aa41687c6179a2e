"""Whole years and months before a day, as PostgreSQL's age() counts them.

Someone has reached n years on a day when the day n years earlier is on or after the birth date,
so who was born on 29 February turns a year older on 1 March of a common year.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

from researchflow_agents.errors import INPUT_INVALID, AgentError


def years_before(day: date, years: int) -> date:
    """The same day of an earlier year; 28 February where 29 does not exist."""
    return _moved(day, months=12 * years)


def earlier(day: date, *, years: int, months: int, days: int) -> date:
    """The day that long before; years and months first, then days."""
    return _shift(_moved(day, months=12 * years + months), days=days)


def _moved(day: date, *, months: int) -> date:
    year, month_index = divmod(day.year * 12 + day.month - 1 - months, 12)
    if year < 1:
        raise _too_early()
    last = monthrange(year, month_index + 1)[1]
    return date(year, month_index + 1, min(day.day, last))


def _shift(day: date, *, days: int) -> date:
    try:
        return day - timedelta(days=days)
    except OverflowError:
        raise _too_early() from None


def _too_early() -> AgentError:
    return AgentError.of(
        INPUT_INVALID, "a period reaches back before the year 1", hint="shorten the period"
    )
