"""One patient's record as a model asks for it: ordered, filtered, cut and counted honestly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import lab, patient
from plain_events import events
from researchflow_runners.source.synthetic import hospital
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

Json = dict[str, Any]

SUBJECT = {"reference": "Patient/partial"}
DATES = ("2023", "2023-06", "2023-06-01", "2024-01-31T23:30:00-05:00", "2024", "2024-02-01", None)
#: One patient with dates of every precision, one of whom nothing is told.
OWN: list[Json] = [
    {"resourceType": "Patient", "id": "partial"},
    {"resourceType": "Patient", "id": "eventless"},
    *(
        {
            "resourceType": "CarePlan", "id": f"plan-{number}", "status": "active",
            "intent": "plan", "subject": SUBJECT, **({"period": {"start": date}} if date else {}),
        }
        for number, date in enumerate(DATES)
    ),
]  # fmt: skip
RESOURCES = [*hospital(4, 16), *OWN]


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    home: Path = tmp_path_factory.mktemp("timeline")
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        tool_server(dsn, redis_url, home) as opened,
    ):
        await opened.put(*RESOURCES)
        await opened.call("refresh_views")
        yield opened


def begins(date: str) -> datetime:
    """The instant at which the period that the date means begins."""
    whole = date + "-01-01"[len(date) - 4 :] if len(date) < 10 else date
    found = datetime.fromisoformat(whole.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def lasts(date: str) -> timedelta:
    """About how long that period is: enough to tell a year from a month, a day and an instant."""
    return {4: timedelta(365), 7: timedelta(30), 10: timedelta(1)}.get(len(date), timedelta(0))


def newest_first(found: list[Json]) -> list[tuple[str, str, str]]:
    """Date, kind and id of the dated events, in the order that is promised."""
    kept = sorted((one for one in found if one["date"]), key=lambda one: str(one["id"]))
    kept.sort(key=lambda one: (one["kind"], one["view"]))
    kept.sort(key=lambda one: (begins(one["date"]), lasts(one["date"])), reverse=True)
    return [(one["date"], one["kind"], one["id"]) for one in kept]


def shown(answer: Json) -> list[tuple[str, str, str]]:
    places = [answer["columns"].index(name) for name in ("date", "kind", "id")]
    return [tuple(row[place] for place in places) for row in answer["rows"]]


def of(patient: str) -> list[Json]:
    return [one for one in events(RESOURCES) if one["patient_id"] == patient]


async def test_pages_together_are_the_record_newest_first(server: ToolServer) -> None:
    wanted = newest_first(of("patient-00002"))
    found: list[tuple[str, str, str]] = []
    cursor = None
    while True:
        page = await server.call(
            "patient_timeline", patient="patient-00002", limit=37, cursor=cursor
        )
        found += shown(page)
        assert page["truncated"] is (len(found) < len(wanted))
        assert sum(page["kinds"].values()) == len(wanted)
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    assert len(wanted) > 2 * 37
    assert found == wanted


async def test_partial_dates_stand_where_their_period_begins(server: ToolServer) -> None:
    found = await server.call("patient_timeline", patient="Patient/partial")
    assert [one[0] for one in shown(found)] == [
        "2024-01-31T23:30:00-05:00", "2024-02-01", "2024", "2023-06", "2023-06-01", "2023",
    ]  # fmt: skip
    assert (found["kinds"], found["undated"]) == ({"care_plan": 6}, 1)
    assert any("1 events have no date" in warning for warning in found["warnings"])


async def test_period_holds_what_lies_in_it_and_counts_what_may(server: ToolServer) -> None:
    found = await server.call(
        "patient_timeline", patient="partial", since="2023-06", until="2024-01"
    )
    # 23:30 of 31 January in New York is February in UTC.
    assert [one[0] for one in shown(found)] == ["2023-06", "2023-06-01"]
    assert (found["kinds"], found["undated"], found["undecided"]) == ({"care_plan": 2}, 1, 2)
    assert any("2 events have a partial date" in warning for warning in found["warnings"])


async def test_kinds_keep_their_events_alone(server: ToolServer) -> None:
    found = await server.call(
        "patient_timeline", patient="patient-00002", kinds=["condition", "encounter"], limit=500
    )
    kept = [one for one in of("patient-00002") if one["kind"] in ("condition", "encounter")]
    assert shown(found) == newest_first(kept)
    assert set(found["kinds"]) == {"condition", "encounter"}


async def test_unknown_patient_is_an_error_that_says_where_keys_are(server: ToolServer) -> None:
    error = await server.error("patient_timeline", patient="nobody-of-that-key")
    assert (error["code"], error["field"]) == ("unknown_patient", "patient")
    assert "patient_demographics" in error["hint"]
    assert "nobody-of-that-key" not in error["message"]


async def test_patient_without_events_is_told_to_have_none(server: ToolServer) -> None:
    found = await server.call("patient_timeline", patient="eventless")
    assert (found["rows"], found["kinds"], found["undated"]) == ([], {}, 0)
    assert any("has no dated event" in warning for warning in found["warnings"])


async def test_empty_period_is_told_of_the_patient_and_not_of_everybody(
    server: ToolServer,
) -> None:
    found = await server.call("patient_timeline", patient="patient-00002", since="2100")
    assert found["rows"] == []
    assert [warning.partition(" has ")[0] for warning in found["warnings"]] == [
        "the patient is known and"
    ]


async def test_times_without_an_offset_are_told_of_the_patient_who_has_some(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path) as opened:
        times = ("2020-01-01T23:30:00", "2020-01-01T23:30:00-05:00", "2020-01-01")
        await opened.put(
            patient("ada"), patient("bea"), lab("b", "bea"),
            *(lab(f"l{n}", "ada", effectiveDateTime=at) for n, at in enumerate(times)),
        )  # fmt: skip
        await opened.call("refresh_views")
        (told,) = (await opened.call("patient_timeline", patient="ada"))["warnings"]
        assert told.startswith("1 events of the record have a time without an offset")
        for asked in ({"patient": "bea"}, {"patient": "ada", "kinds": ["encounter"]}):
            found = await opened.call("patient_timeline", **asked)
            assert not any("offset" in one for one in found.get("warnings", []))


async def test_waiting_change_shows_and_the_anchor_stays(server: ToolServer) -> None:
    anchored = await server.call("patient_timeline", patient="partial", freshness="anchored")
    changed = {**OWN[2], "period": {"start": "2025-05-05"}, "meta": {"versionId": "2"}}
    await server.call(
        "cache_resources", resources=[changed, {"resourceType": "Patient", "id": "waiting"}]
    )
    live = await server.call("patient_timeline", patient="partial")
    assert shown(live)[0] == ("2025-05-05", "care_plan", "plan-0")
    again = await server.call("patient_timeline", patient="partial", as_of=live["anchor"])
    assert again["rows"] == anchored["rows"]
    assert (await server.call("patient_timeline", patient="waiting"))["rows"] == []
    error = await server.error("patient_timeline", patient="waiting", freshness="anchored")
    assert error["code"] == "unknown_patient"


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        ({"since": "soon"}, "value_type", "since"),
        ({"kinds": ["lab"], "until": "2020-13"}, "value_type", "until"),
        ({"kinds": ["labs"]}, "invalid_argument", "kinds.0"),
        ({"kinds": []}, "invalid_argument", "kinds"),
        ({"patient": ""}, "invalid_argument", "patient"),
        ({"patients": ["a"]}, "unknown_argument", "patients"),
        ({"cursor": "other"}, "cursor_invalid", "cursor"),
    ],
)
async def test_wrong_argument_is_named(
    server: ToolServer, arguments: Json, code: str, field: str
) -> None:
    error = await server.error("patient_timeline", **{"patient": "partial", **arguments})
    assert (error["code"], error["field"]) == (code, field)


async def test_newest_event_of_each_kind_is_one_question(server: ToolServer) -> None:
    found = await server.call(
        "query_view",
        view="patient_events",
        where={"column": "patient_id", "op": "eq", "value": "patient-00002"},
        latest_per={"key": "kind", "by": "date"},
        columns=["kind", "date"],
    )
    newest: dict[str, str] = {}
    for date, kind, _id in newest_first(of("patient-00002")):
        newest.setdefault(kind, date)
    assert {row[0]: row[1] for row in found["rows"]} == newest


async def test_view_of_that_name_that_is_not_ours_is_no_timeline(server: ToolServer) -> None:
    change = "UPDATE researchflow.composed_view SET digest = $1, definition = definition"
    where = " WHERE view_name = 'patient_events'"
    async with server.runtime.stores.warehouse.session() as session:
        found = "SELECT digest, definition ->> 'url' FROM researchflow.composed_view"
        digest, url = (await session.fetch(found + where))[0]
        await session.execute(f"{change} - 'url'{where}", "another")
    try:
        error = await server.error("patient_timeline", patient="partial")
        assert (error["code"], error["field"]) == ("view_not_published", "view")
    finally:
        async with server.runtime.stores.warehouse.session() as session:
            whole = f"{change} || jsonb_build_object('url', $2::text){where}"
            await session.execute(whole, digest, url)
