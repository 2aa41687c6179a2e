"""Deliveries of a subscription: durable when answered, refused with a letter, never lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from argparse import Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from feed_server import SECRET, FeedServer, feed_server
from researchflow_runners.errors import StoreError
from researchflow_runners.source.load import delete_resource, expunge
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_runners.speed.known import Key
from researchflow_server.cli import status
from researchflow_server.embedded import Services
from researchflow_server.embedded.process import until
from researchflow_server.feeds import body, endpoint, intake
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.feeds.gate import SECRET_HEADER
from researchflow_server.metrics.deliveries import Deliveries
from tool_server import module_stores

LETTERS = "SELECT array_agg(code ORDER BY letter_id) FROM researchflow.refused_delivery"
WAIT_S = 20.0
DEEP = b'{"resourceType":"Patient","id":"ada","extension":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
#: Without its time: workers side by side must collect the same test.
ZIPPED = gzip.compress(b'{"resourceType":"Patient","id":"ada"}', mtime=0)
LONE = b'{"resourceType":"Patient","id":"ada","name":[{"family":"\\ud800"}]}'


@pytest_asyncio.fixture(scope="module")
async def shared(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FeedServer]:
    async with (
        module_stores(services, number=1) as (dsn, redis_url),
        feed_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        yield server


@pytest_asyncio.fixture
async def feed(shared: FeedServer, monkeypatch: pytest.MonkeyPatch) -> FeedServer:
    """Ada, version 1, is materialised, and nothing was delivered yet."""
    await shared.value("TRUNCATE hfj_resource, hfj_res_ver, researchflow.refused_delivery CASCADE")
    await shared.tools.put(patient("ada"))
    await shared.tools.call("refresh_views")
    monkeypatch.setattr(shared.tools.runtime.metrics, "deliveries", Deliveries())
    return shared


async def test_update_that_is_answered_is_seen_and_durable(feed: FeedServer) -> None:
    await feed.tools.put(patient("ada", gender="male"), patient("bea"))
    changed = await feed.put(patient("ada", gender="male"), version=2)
    created = await feed.put(patient("bea"))
    assert (changed.status_code, created.status_code) == (200, 200)
    assert await feed.value("SELECT count(*) FROM researchflow.overlay_entry") == 2
    assert await feed.rows("patient_simple", "id", "gender") == [
        ("ada", "male"),
        ("bea", "female"),
    ]
    assert feed.counted("taken") == 2


async def test_delete_without_version_or_body_is_seen(feed: FeedServer) -> None:
    await delete_resource(feed.tools.runtime.stores.source, "Patient", "ada")
    response = await feed.deliver("DELETE", "/Patient/ada")
    assert response.status_code == 200
    assert await feed.rows("patient_simple", "id") == []


async def test_late_delete_and_ghost_change_nothing(feed: FeedServer) -> None:
    source = feed.tools.runtime.stores.source
    await feed.tools.put(patient("gone"))
    await expunge(source, "Patient", "gone")
    assert (await feed.deliver("DELETE", "/Patient/ada")).status_code == 200
    assert (await feed.put(patient("gone"))).status_code == 200
    assert await feed.rows("patient_simple", "id") == [("ada",)]


async def test_empty_post_wakes_the_tail(feed: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = feed.tools.runtime.tail
    await feed.tools.put(patient("bea"))
    await tail.catch_up()
    stop = asyncio.Event()
    monkeypatch.setattr("researchflow_runners.feed.tail.SCAN_PAUSE_S", 0.01)
    following = asyncio.create_task(tail.run(stop))

    async def shown(name: str) -> bool:
        return (name,) in await feed.rows("patient_simple", "id")

    assert await until(lambda: shown("bea"), timeout_s=WAIT_S)
    await feed.tools.put(patient("cleo"))
    response = await feed.deliver(
        "POST", body=b"", content_type="application/x-www-form-urlencoded; charset=UTF-8"
    )
    assert response.status_code == 200
    assert feed.counted("looked") == 1
    assert await until(lambda: shown("cleo"), timeout_s=WAIT_S)
    stop.set()
    await following


async def test_secret_is_taken_from_either_header_and_a_wrong_one_leaves_nothing(
    feed: FeedServer,
) -> None:
    wrong = await feed.deliver("DELETE", "/Patient/ada", secret="guess")
    none = await feed.deliver("DELETE", "/Patient/ada", secret=None)
    bearer = await feed.deliver("POST", secret=None, authorization=f"Bearer {SECRET}")
    assert [one.status_code for one in (wrong, none, bearer)] == [401, 401, 200]
    assert wrong.json()["issue"][0]["details"]["coding"][0]["code"] == "secret_wrong"
    assert await feed.value(LETTERS) is None
    assert feed.counted("unauthorized") == 2
    assert SECRET not in repr(feed.tools.runtime.settings)
    assert SECRET_HEADER == "X-Secret"


async def test_without_a_secret_there_is_no_endpoint(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with feed_server(postgres_dsn, redis_url, tmp_path, webhook_secret=None) as server:
        response = await server.deliver("DELETE", "/Patient/ada")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "code"),
    [
        ("PUT", "/Patient/ada", b"{", {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", b"[]", {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", b"{}", {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", {"id": "ada"}, {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", {"resourceType": None}, {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", DEEP, {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", LONE, {}, 400, "resource_invalid"),
        ("PUT", "/Patient/ada", patient("bea"), {}, 400, "resource_mismatch"),
        ("PUT", "/Patiant/ada", patient("ada"), {}, 404, "address_unknown"),
        ("PUT", "/Patient/a_b", patient("ada"), {}, 404, "address_unknown"),
        ("DELETE", "/Patiant/ada", None, {}, 404, "address_unknown"),
        ("DELETE", "", None, {}, 404, "address_unknown"),
        ("POST", "", b"{", {}, 400, "body_invalid"),
        ("POST", "", b"7", {}, 400, "body_invalid"),
        ("POST", "", {"resourceType": "Patiant", "id": "a"}, {}, 400, "resource_type_unknown"),
        ("POST", "", {"resourceType": "Bundle", "type": "document"}, {}, 400, "bundle_unsupported"),
        ("PUT", "/Patient/ada", b"<a/>", {"content_type": "application/fhir+xml"}, 415,
         "media_type_unsupported"),
        ("PUT", "/Patient/ada", ZIPPED, {"content_encoding": "gzip"}, 415, "encoding_unsupported"),
        ("POST", "", ZIPPED, {"content_encoding": "identity, br"}, 415, "encoding_unsupported"),
        ("PUT", "/Patient/ada", patient("ada"), {"if_match": "x"}, 400, "version_invalid"),
        ("GET", "/Patient/ada", None, {}, 405, "method_not_allowed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_taken_is_refused_and_leaves_a_letter(
    feed: FeedServer,
    method: str,
    path: str,
    content: Any,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    response = await feed.deliver(method, path, content, **headers)
    assert (response.status_code, code_of(response)) == (status, code)
    assert await feed.value(LETTERS) == [code]
    assert feed.counted("refused") == 1
    await feed.tools.put(patient("ada", gender="male"))
    assert (await feed.put(patient("ada"), version=2)).status_code == 200
    assert await feed.rows("patient_simple", "gender") == [("male",)]


async def test_body_beyond_the_bound_is_not_read(feed: FeedServer) -> None:
    size_bytes = 50_000_000
    response = await feed.deliver("PUT", "/Patient/ada", b" " * size_bytes)
    assert (response.status_code, code_of(response)) == (413, "body_too_large")
    letter = "SELECT (code, res_type, size_bytes)::text FROM researchflow.refused_delivery"
    assert await feed.value(letter) == f"(body_too_large,Patient,{size_bytes})"
    assert size_bytes > body.BODY_BYTES_MAX


async def test_body_that_does_not_come_is_refused_as_such(
    feed: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where, name in ((body, "BODY_TIMEOUT_S"), (endpoint, "ANSWER_TIMEOUT_S")):
        monkeypatch.setattr(where, name, getattr(where, name) / 20)
    url = feed.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"PUT {FEED_PATH}/Patient/ada HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
    kind = "Content-Type: application/fhir+json\r\nContent-Length: 10\r\n"
    writer.write(f"{head}{SECRET_HEADER}: {SECRET}\r\n{kind}\r\n{{".encode())
    async with asyncio.timeout(WAIT_S):
        status = await reader.readline()
    writer.close()
    assert b" 408 " in status
    assert await feed.value(LETTERS) == ["body_timeout"]


async def test_resource_larger_than_the_speed_layer_holds_is_left_to_a_refresh(
    feed: FeedServer,
) -> None:
    large = {**patient("ada"), "name": [{"text": "x" * 1_100_000}]}
    await feed.tools.put(large)
    response = await feed.put(large, version=2)
    assert response.status_code == 200
    assert await feed.value(LETTERS) == ["resource_too_large"]


async def test_letters_name_no_patient_and_do_not_grow(
    feed: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_server.feeds.refused.LETTERS_MAX", 3)
    for number in range(5):
        await feed.deliver("PUT", f"/Patient/John-Smith-{number}", b'{"family":"Smith"')
    rows = await feed.value("SELECT json_agg(r)::text FROM researchflow.refused_delivery AS r")
    assert len(json.loads(rows)) == 3
    assert "Smith" not in rows


async def test_status_shows_the_letters(
    feed: FeedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await feed.deliver("PUT", "/Patient/John-Smith", b"{")
    settings = feed.tools.runtime.settings
    for name in ("home", "database_url", "redis_url"):
        monkeypatch.setenv(f"RESEARCHFLOW_{name.upper()}", str(getattr(settings, name)))
    await status.run(Namespace(json=True))
    (letter,) = json.loads(capsys.readouterr().out)["refused_deliveries"]
    assert (letter["code"], letter["resource_type"]) == ("resource_invalid", "Patient")
    await status.run(Namespace(json=False))
    shown = capsys.readouterr().out
    assert "resource_invalid" in shown
    assert "Smith" not in shown


async def test_more_than_the_rate_is_told_to_come_back(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with feed_server(postgres_dsn, redis_url, tmp_path, webhook_rate_max=2) as server:
        answers = [await server.deliver("POST") for _time in range(8)]
    limited = [one for one in answers if one.status_code == 429]
    assert limited
    assert {one.headers["retry-after"] for one in limited} == {"2"}
    assert answers[0].status_code == 200


async def test_as_much_as_may_wait_waits_and_the_rest_is_told_to_come_back(
    feed: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "WAITING_MAX", 3)
    gate = asyncio.Event()
    hear = feed.tools.runtime.writer.hear

    async def held(reports: list[Change], *, provenance: str) -> list[ChangeOutcome]:
        await gate.wait()
        return await hear(reports, provenance=provenance)

    monkeypatch.setattr(feed.tools.runtime.writer, "hear", held)
    await feed.tools.put(*(patient(f"p{number}") for number in range(12)))
    waiting = [asyncio.create_task(feed.put(patient(f"p{number}"))) for number in range(12)]
    done, _pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    refused = done.pop().result()
    assert (refused.status_code, code_of(refused)) == (503, "feed_busy")
    assert refused.headers["retry-after"] == "2"
    gate.set()
    answers = await asyncio.gather(*waiting)
    taken = sum(one.status_code == 200 for one in answers)
    assert 3 <= taken < 12
    assert len(await feed.rows("patient_simple", "id")) == taken + 1
    assert feed.counted("busy") == 12 - taken


async def test_stores_that_are_away_make_the_sender_repeat(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with feed_server(postgres_dsn, redis_url, tmp_path) as feed:
        await feed.tools.runtime.stores.warehouse.close()
        response = await feed.put(patient("ada"), version=2)
        assert (response.status_code, code_of(response)) == (503, "postgres_unavailable")
        assert response.headers["retry-after"] == "2"
        assert feed.counted("unavailable") == 1


def transaction() -> dict[str, Any]:
    """As a server forwards it: one stored, one deleted, one without an id of its own."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"},
             "request": {"method": "POST", "url": "Patient"}},
            {"resource": patient("bea"), "request": {"method": "PUT", "url": "Patient/bea"}},
            {"request": {"method": "DELETE", "url": "Patient/ada"}},
        ],
    }  # fmt: skip


async def test_bundle_of_a_transaction_is_taken_apart(feed: FeedServer) -> None:
    await feed.tools.put(patient("bea"))
    await delete_resource(feed.tools.runtime.stores.source, "Patient", "ada")
    response = await feed.deliver("POST", body=transaction())
    assert response.status_code == 200
    assert await feed.rows("patient_simple", "id") == [("bea",)]
    assert feed.counted("looked") == 1


def notification(kind: str, *entries: dict[str, Any], **status: Any) -> dict[str, Any]:
    told = {"resourceType": "SubscriptionStatus", "type": kind, **status}
    return {
        "resourceType": "Bundle",
        "type": "subscription-notification",
        "entry": [{"resource": told}, *entries],
    }


def backport(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """R4: a history with Parameters in place of the status."""
    focus = {"name": "focus", "valueReference": {"reference": "Patient/ada"}}
    told = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "type", "valueCode": kind},
            {"name": "notification-event", "part": [focus]},
        ],
    }
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": told}, *entries]}


FULL = {"fullUrl": "https://a.example/fhir/Patient/ada", "resource": patient("ada"),
        "request": {"method": "PUT", "url": "Patient/ada"}}  # fmt: skip
ID_ONLY = {"fullUrl": "https://a.example/fhir/Patient/ada"}
FOCUS = [{"eventNumber": "2", "focus": {"reference": "Patient/ada"}}]


@pytest.mark.parametrize(
    ("bundle", "outcome"),
    [
        (notification("handshake"), "silent"),
        (notification("heartbeat"), "silent"),
        (backport("handshake"), "silent"),
        (notification("event-notification", FULL), "taken"),
        (notification("event-notification", ID_ONLY), "taken"),
        (notification("event-notification", notificationEvent=FOCUS), "taken"),
        (backport("event-notification", ID_ONLY), "taken"),
        (backport("event-notification"), "taken"),
        (notification("event-notification"), "looked"),
    ],
)
async def test_notifications_of_topic_subscriptions_are_understood(
    feed: FeedServer, bundle: dict[str, Any], outcome: str
) -> None:
    await feed.tools.put(patient("ada", gender="male"))
    response = await feed.deliver("POST", body=bundle)
    assert response.status_code == 200, response.text
    assert feed.counted(outcome) == 1
    seen = "male" if outcome == "taken" else "female"
    assert await feed.rows("patient_simple", "gender") == [(seen,)]


async def test_bundle_with_one_bad_entry_takes_the_others(feed: FeedServer) -> None:
    await feed.tools.put(patient("bea"))
    bundle = transaction()
    bundle["entry"][0] = {"resource": {"resourceType": "Patiant", "id": "x"}}
    response = await feed.deliver("POST", body=bundle)
    assert response.status_code == 200
    assert await feed.value(LETTERS) == ["resource_type_unknown"]
    assert ("bea",) in await feed.rows("patient_simple", "id")


async def test_fault_of_one_type_does_not_stop_the_others() -> None:
    class Writer:
        async def hear(self, reports: list[Change], *, provenance: str) -> list[ChangeOutcome]:
            if any(one.resource_type == "Condition" for one in reports):
                raise StoreError("full", code="speed_layer_full", hint="refresh")
            return [ChangeOutcome("stored", "Patient", "ada", False) for _one in reports]

    taking = intake.Intake(Writer())  # type: ignore[arg-type]
    reports: list[Change | Key] = [Change.delete(name, "a") for name in ("Patient", "Condition")]
    good = asyncio.create_task(taking.take(reports[:1], 0))
    bad = asyncio.create_task(taking.take(reports[1:], 0))
    assert [one.outcome for one in await good] == ["stored"]
    with pytest.raises(StoreError):
        await bad


def code_of(response: Any) -> str:
    code: str = response.json()["issue"][0]["details"]["coding"][0]["code"]
    return code
