"""Dates at both ends of the calendar, which real records use for "unknown" and "for ever"."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, open_clinic, patient

BORN = {
    "first": "0001-01-01",
    "second": "0001-01-02",
    "usual": "1970-05",
    "year": "9999",
    "last": "9999-12-31",
}


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Patients born at the ends of the calendar, and one without a date."""
    async with open_clinic(postgres_dsn, redis_url) as opened:
        await opened.put(*(patient(name, birthDate=born) for name, born in BORN.items()))
        await opened.put(patient("none"))
        await opened.refresh()
        yield opened


async def pages(clinic: Clinic, **asked: Any) -> list[str]:
    """The first values of all rows, one row a page."""
    found, cursor = [], None
    for _page in range(len(BORN) + 2):
        answer = await clinic.ask("patient_simple", limit=1, cursor=cursor, **asked)
        found += [row[0] for row in answer.rows]
        cursor = answer.next_cursor
        if cursor is None:
            return found
    raise AssertionError(f"the pages never end: {found}")


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_sorted_by_date_pass_the_ends_once(clinic: Clinic, descending: bool) -> None:
    order = [{"column": "birth_date", "descending": descending}]
    expected = ["first", "second", "usual", "year", "last"]
    if descending:
        expected = ["last", "year", "usual", "second", "first"]
    found = await pages(clinic, columns=["id", "birth_date"], order_by=order)
    assert found == [*expected, "none"]


async def test_groups_by_date_page_over_the_ends(clinic: Clinic) -> None:
    found = await pages(clinic, group_by=["birth_date"])
    assert found == ["0001-01-01", "0001-01-02", "1970-05", "9999", "9999-12-31", None]


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("eq", "9999-12-31", ["last"]),
        ("eq", "9999", ["last", "year"]),
        ("ge", "9999-12-31", ["last"]),
        ("lt", "9999-12-31", ["first", "second", "usual"]),
        ("le", "9999", ["first", "last", "second", "usual", "year"]),
        ("gt", "9999-12-31", []),
        ("gt", "9999-12-31T23:59:59-12:00", []),
        ("eq", "0001-01-01", ["first"]),
        ("lt", "0001-01-02", ["first"]),
        ("ge", "0001-01-01T00:00:00+14:00", ["first", "last", "second", "usual", "year"]),
        ("in", ["9999-12-31", "0001-01-01"], ["first", "last"]),
    ],
)
async def test_dates_at_the_ends_compare(
    clinic: Clinic, op: str, value: Any, expected: list[str]
) -> None:
    where = {"column": "birth_date", "op": op, "value": value}
    assert await clinic.ids("patient_simple", where=where) == expected
