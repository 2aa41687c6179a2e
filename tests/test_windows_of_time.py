"""Time between two views, and dates told from others, in live and anchored answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, condition, lab, open_clinic, patient
from researchflow_runners.errors import QueryError
from researchflow_runners.query.relative import RelativeDate, parse_relative
from researchflow_server.embedded import Services
from tool_server import module_stores

VIEWS = ("patient_simple", "condition_diagnoses", "observation_labs")
Json = dict[str, Any]


def diagnosed(name: str, of: str, on: str | None) -> Json:
    """An active condition that began on that date."""
    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    status = {"coding": [{"system": system, "code": "active"}]}
    begun = {"onsetDateTime": on} if on else {}
    return condition(name, of, clinicalStatus=status, **begun)


@asynccontextmanager
async def furnished(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Four patients with a diagnosis each and results around it."""
    async with open_clinic(postgres_dsn, redis_url, views=compiled(*VIEWS)) as opened:
        await opened.put(*(patient(name) for name in "abcd"))
        await opened.put(
            diagnosed("c1", "a", "2024-03-10"), diagnosed("c2", "a", "2024-01-10"),
            diagnosed("c3", "b", "2024-03"), diagnosed("c4", "c", None),
            lab("l1", "a", effectiveDateTime="2024-01-10T08:00:00Z"),
            lab("l2", "a", effectiveDateTime="2024-03-01"),
            lab("l3", "b", effectiveDateTime="2024-02-20"),
            lab("l4", "c", effectiveDateTime="2024-02-20"),
            lab("l5", "d", effectiveDateTime="2024-02-20"),
        )  # fmt: skip
        await opened.refresh()
        yield opened


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    """One that nobody changes."""
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        furnished(dsn, redis_url) as opened,
    ):
        yield opened


@pytest_asyncio.fixture
async def changing(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """One of the test's own."""
    async with furnished(postgres_dsn, redis_url) as opened:
        yield opened


def near(days: int, side: str, which: str = "any", **of: Any) -> Json:
    """By the dates of the views' events: a result's effective date, a diagnosis's onset."""
    event = {"view": "condition_diagnoses", "which": which, **of}
    return {"within": {"days": days, "side": side, "of": event}}


async def labs(clinic: Clinic, where: Json, **asked: Any) -> list[str]:
    found: list[str] = await clinic.ids("observation_labs", where=where, **asked)
    return found


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (near(0, "before"), ["l1"]),
        (near(9, "before"), ["l1", "l2"]),
        (near(9, "before", "first"), ["l1"]),
        (near(9, "before", "last"), ["l2"]),
        (near(60, "after", "first"), ["l1", "l2"]),
        (near(51, "after", "first"), ["l1", "l2"]),
        (near(50, "after", "first"), ["l1"]),
        (near(40, "before", "last"), ["l2", "l3"]),  # every day of March is within 40 of l3
        (near(39, "before", "last"), ["l2"]),
        ({"not": near(39, "before", "last")}, ["l1", "l4", "l5"]),  # of b it is not decided
        ({"at_least": {"n": 2, "of": [near(0, "either"), near(99, "after"), near(9, "before")]}},
         ["l1", "l2"]),
    ],
)  # fmt: skip
async def test_days_are_counted_and_partial_dates_count_as_far_as_they_tell(
    clinic: Clinic, where: Json, kept: list[str]
) -> None:
    assert await labs(clinic, where) == kept
    assert await labs(clinic, where, freshness="anchored") == kept


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (near(39, "before", "last"), 1),  # l3 of b, whose diagnosis is of some day in March
        (near(39, "before"), 1),
        (near(40, "before"), 0),
        ({"all_of": [near(39, "before"), {"column": "id", "op": "ne", "value": "l3"}]}, 0),
        ({"any_of": [near(39, "before"), {"column": "id", "op": "ne", "value": "l3"}]}, 1),
        ({"not": near(39, "before", "first")}, 1),
    ],
)
async def test_rows_that_a_partial_date_leaves_undecided_are_counted(
    clinic: Clinic, where: Json, count: int
) -> None:
    warnings = (await clinic.ask("observation_labs", where=where)).warnings
    said = [one for one in warnings if "undecided" in one]
    assert [one.split()[0] for one in said] == [str(count)] * bool(count)
    semi = {"column": "id", "query": {"view": "observation_labs", "where": where}}
    again = (await clinic.ask("patient_simple", where=semi)).warnings
    assert [one for one in again if "undecided" in one] == said


async def test_a_cohort_around_an_event_is_one_call_and_follows_changes(changing: Clinic) -> None:
    within = near(9, "before", "first")
    where = {"column": "id", "op": "in", "query": {"view": "observation_labs", "where": within}}
    assert await changing.ids("patient_simple", where=where) == ["a"]
    await changing.cache("Condition/c2", diagnosed("c5", "d", "2024-02-29"))
    assert await changing.ids("patient_simple", where=where) == ["a", "d"]
    assert await labs(changing, within) == ["l2", "l5"]
    assert await labs(changing, within, freshness="anchored") == ["l1"]
    await changing.put(diagnosed("c5", "d", "2024-02-29"))
    await changing.refresh()
    assert await labs(changing, within, as_of=1) == ["l1"]


async def test_pages_of_a_window_are_its_rows(clinic: Clinic) -> None:
    asked: Json = {"columns": ["id"], "where": near(60, "after", "first"), "limit": 1}
    found, cursor = [], None
    while True:
        answer = await clinic.ask("observation_labs", **asked, cursor=cursor)
        found += [row[0] for row in answer.rows]
        cursor = answer.next_cursor
        if cursor is None:
            break
    assert found == ["l1", "l2"]


@pytest.mark.parametrize(
    ("where", "code", "field", "meant"),
    [
        (near(1, "before", view="conditions"), "unknown_view", "where.within.of.view", None),
        (near(1, "before", date="onset_date"), "unknown_column", "where.within.of.date",
         "onset_datetime"),
        (near(1, "before", date="icd10_code"), "value_type", "where.within.of.date", None),
        (near(1, "before", view="patient_simple", column="id", date=None), "column_missing",
         "where.within.of.date", None),
        (near(1, "before", column="id"), "column_mismatch", "where.within.of.column",
         "patient_id"),
        ({"at_least": {"n": 3, "of": [near(1, "before")]}}, "value_never_matches",
         "where.at_least.n", None),
    ],
)  # fmt: skip
async def test_a_window_that_cannot_be_is_refused_by_name(
    clinic: Clinic, where: Json, code: str, field: str, meant: str | None
) -> None:
    with pytest.raises(QueryError) as caught:
        await labs(clinic, where)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert meant is None or caught.value.did_you_mean == meant
    assert caught.value.hint


async def test_dates_told_from_others_are_said_and_stay_those_of_their_anchor(
    changing: Clinic,
) -> None:
    newest = {"column": "effective_datetime", "op": "ge", "value": "newest-10d"}
    answer = await changing.ask("observation_labs", columns=["id"], where=newest)
    assert [row[0] for row in answer.rows] == ["l2", "l3", "l4", "l5"]
    said = '"newest-10d" of "effective_datetime" in "observation_labs" is 2024-02-20'
    assert said in answer.warnings
    await changing.put(lab("l6", "a", effectiveDateTime="2024-05-01"))
    await changing.put(lab("l7", "a", effectiveDateTime="2999-01-01"))
    await changing.refresh()
    assert await labs(changing, newest) == ["l6", "l7"]
    assert await labs(changing, newest, as_of=1) == ["l2", "l3", "l4", "l5"]
    anchored = await changing.ask(
        "observation_labs", freshness="anchored",
        where={"column": "effective_datetime", "op": "le", "value": "today-1y"},
    )  # fmt: skip
    day = RelativeDate("today", -1, "y").from_(anchored.data_as_of.date())
    assert anchored.warnings == (f'"today-1y" is {day}',)


async def test_pages_keep_the_days_of_their_first(changing: Clinic) -> None:
    asked: Json = {
        "columns": ["id"], "limit": 2,
        "where": {"column": "effective_datetime", "op": "ge", "value": "newest-10d"},
    }  # fmt: skip
    first = await changing.ask("observation_labs", **asked)
    await changing.cache(lab("l6", "a", effectiveDateTime="2024-05-01"))
    second = await changing.ask("observation_labs", **asked, cursor=first.next_cursor)
    rows = [row[0] for row in (*first.rows, *second.rows)]
    assert rows == ["l2", "l3", "l4", "l5"]
    assert second.warnings == first.warnings


async def test_a_view_without_dates_says_that_nothing_is_newest(clinic: Clinic) -> None:
    where = {"column": "birth_date", "op": "le", "value": "newest"}
    answer = await clinic.ask("patient_simple", where=where)
    assert answer.rows == ()
    assert any(warning.endswith(str(answer.computed_at.date())) for warning in answer.warnings)


@pytest.mark.parametrize(
    ("text", "day", "expected"),
    [
        ("today", "2024-02-29", "2024-02-29"),
        ("today-1y", "2024-02-29", "2023-02-28"),
        ("today-1m", "2024-03-31", "2024-02-29"),
        ("newest+12m", "2024-02-29", "2025-02-28"),
        ("newest - 90 d", "2024-01-01", "2023-10-03"),
        ("TODAY-2W", "2024-01-01", "2023-12-18"),
    ],
)
def test_calendar_steps_end_with_the_month(text: str, day: str, expected: str) -> None:
    relative = parse_relative(text)
    assert relative is not None
    assert relative.from_(date.fromisoformat(day)) == date.fromisoformat(expected)


@pytest.mark.parametrize("text", ["today-", "today-2", "today-2h", "now-2d", "today-2y-1m", ""])
def test_what_is_no_relative_date_is_none(text: str) -> None:
    assert parse_relative(text) is None


@pytest.mark.parametrize("value", ["today-2h", "now", "today-99999y"])
async def test_a_date_that_cannot_be_told_is_refused_with_one_that_can(
    clinic: Clinic, value: str
) -> None:
    with pytest.raises(QueryError) as caught:
        await labs(clinic, {"column": "effective_datetime", "op": "ge", "value": value})
    assert caught.value.code == "value_type"
    assert caught.value.hint is not None
    assert "today-2y" in caught.value.hint
