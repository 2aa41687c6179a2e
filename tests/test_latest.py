"""The newest or the oldest row of each key, against plain Python over the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, lab, open_clinic, patient
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_server.embedded import Services
from tool_server import module_stores

VIEWS = ("patient_simple", "condition_simple", "observation_labs")
#: id, patient, value, effective.
LABS: list[tuple[str, str, float | None, str | None]] = [
    ("a1", "a", 5.5, "2020-01-01"),
    ("a2", "a", 6.5, "2021-03-01T10:00:00+01:00"),
    ("a3", "a", 7.5, "2021-03-01T09:00:00Z"),  # the same instant: a2 has the lower id
    ("b1", "b", 8.5, "2021-06"),
    ("b2", "b", 9.5, "2021-06-01"),  # begins with b1's month and ends before it
    ("c1", "c", 3.25, "2019"),
    ("c2", "c", 4.25, None),
    ("d1", "d", None, "2022-01-01"),
]


def measured(name: str, of: str, value: float | None, at: str | None) -> dict[str, Any]:
    made = lab(name, of, value)
    del made["effectiveDateTime"]
    return made if at is None else {**made, "effectiveDateTime": at}


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    async with (
        module_stores(services, number=14) as (dsn, redis_url),
        open_clinic(dsn, redis_url, views=compiled(*VIEWS)) as opened,
    ):
        await opened.put(*map(patient, "abcd"), *(measured(*one) for one in LABS))
        await opened.refresh()
        yield opened


async def rows(clinic: Clinic, **asked: Any) -> Answer:
    found: Answer = await clinic.ask("observation_labs", **asked)
    return found


async def test_one_row_of_each_key_is_kept(clinic: Clinic) -> None:
    newest = await rows(clinic, columns=["id"], latest_per="patient_id")
    assert newest.rows == (("a2",), ("b1",), ("c1",), ("d1",))
    assert newest.ties == 1
    assert any("1 rows of view" in warning for warning in newest.warnings)
    oldest = await rows(clinic, columns=["id"], first_per="patient_id")
    assert oldest.rows == (("a1",), ("b2",), ("c1",), ("d1",))
    assert oldest.ties == 0


async def test_filters_before_and_after_the_choice_differ(clinic: Clinic) -> None:
    low = {"column": "value_quantity", "op": "lt", "value": 6}
    before = await rows(clinic, columns=["id"], where=low, latest_per="patient_id")
    assert before.rows == (("a1",), ("c1",))
    after = await rows(clinic, columns=["id"], latest_per={"key": "patient_id", "where": low})
    assert after.rows == (("c1",),)


async def test_how_many_have_a_last_value_above_a_bound(clinic: Clinic) -> None:
    high = {"column": "value_quantity", "op": "gt", "value": 6}
    latest = {"key": "patient_id", "where": high}
    counted = await rows(clinic, aggregates=[{"fn": "count"}], latest_per=latest)
    assert counted.rows == ((2,),)
    assert counted.ties == 1


async def test_a_cohort_of_last_values_is_one_semi_join(clinic: Clinic) -> None:
    high = {"column": "value_quantity", "op": "gt", "value": 6}
    query = {"view": "observation_labs", "latest_per": {"key": "patient_id", "where": high}}
    where = {"column": "id", "query": query}
    found: Answer = await clinic.ask("patient_simple", columns=["id"], where=where)
    assert found.rows == (("a",), ("b",))
    assert found.ties == 1
    none: Answer = await clinic.ask("patient_simple", columns=["id"], where={"not": where})
    assert none.rows == (("c",), ("d",))


async def test_waiting_changes_are_chosen_among_in_live_answers(
    services: Services, postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=compiled(*VIEWS)) as clinic:
        await clinic.put(*(measured(*one) for one in LABS))
        await clinic.refresh()
        await check_merged(clinic)


async def check_merged(clinic: Clinic) -> None:
    await clinic.cache(measured("a4", "a", 1.5, "2023-01-01"), "Observation/b1")
    live = await rows(clinic, columns=["id"], latest_per="patient_id")
    assert live.rows == (("a4",), ("b2",), ("c1",), ("d1",))
    assert live.speed.rows_removed is None
    anchored = await rows(clinic, columns=["id"], latest_per="patient_id", freshness="anchored")
    assert anchored.rows == (("a2",), ("b1",), ("c1",), ("d1",))


async def test_views_that_are_not_materialised_choose_too(
    services: Services, postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=compiled(*VIEWS)) as clinic:
        await clinic.put(*(measured(*one) for one in LABS))
        found = await rows(clinic, columns=["id"], latest_per="patient_id")
    assert (found.route, found.ties) == ("direct", 1)
    assert found.rows == (("a2",), ("b1",), ("c1",), ("d1",))


async def test_pages_of_chosen_rows_join_without_gap(clinic: Clinic) -> None:
    asked: dict[str, Any] = {
        "columns": ["id", "value_quantity"],
        "latest_per": ["patient_id", "status"],
        "order_by": [{"column": "value_quantity", "descending": True}],
    }
    whole = await rows(clinic, **asked)
    found: tuple[Any, ...] = ()
    cursor: dict[str, Any] = {}
    while len(found) < len(whole.rows):
        page = await rows(clinic, **asked, limit=1, **cursor)
        assert page.ties == whole.ties
        found, cursor = found + page.rows, {"cursor": page.next_cursor}
    assert found == whole.rows == (("b1", 8.5), ("a2", 6.5), ("c1", 3.25), ("d1", None))


async def test_rows_that_are_all_left_out_are_told(clinic: Clinic) -> None:
    where = {"column": "id", "op": "eq", "value": "c2"}
    found = await rows(clinic, columns=["id"], where=where, latest_per="patient_id")
    assert (found.rows, found.ties) == ((), 0)
    (warning,) = found.warnings
    assert warning.startswith('1 rows of view "observation_labs" are left out')


@pytest.mark.parametrize(
    ("view", "asked", "code", "field"),
    [
        ("patient_simple", {"latest_per": "id"}, "column_missing", "latest_per.by"),
        ("observation_labs", {"latest_per": "patient"}, "unknown_column", "latest_per.key"),
        (
            "observation_labs",
            {"first_per": {"key": "patient_id", "by": "code"}},
            "value_type",
            "first_per.by",
        ),
        (
            "observation_labs",
            {"first_per": "patient_id", "latest_per": "patient_id"},
            "invalid_argument",
            "first_per",
        ),
    ],
)
async def test_a_choice_that_cannot_be_made_is_refused(
    clinic: Clinic, view: str, asked: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(QueryError) as caught:
        await clinic.ask(view, **asked)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.hint
