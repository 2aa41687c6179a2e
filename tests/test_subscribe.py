"""The Subscription on the FHIR server: made once, made again when it differs, removed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from clinic import patient
from feed_server import SECRET, feed_server
from fhir_server import fhir_server
from researchflow_server.cli import subscribe, unsubscribe
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import Parser
from researchflow_server.cli.subscribe import wanted_of
from researchflow_server.feeds import registration
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.feeds.registration import Registration, RegistrationError, Wanted
from researchflow_server.settings import SettingsError, read_settings

ENDPOINT = "https://flow.example.org/feeds/fhir"
WAIT_S = 10.0


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "POLL_S", 0.01)


def wanted(endpoint: str = ENDPOINT, *types: str) -> Wanted:
    return Wanted(endpoint, SECRET, types or ("Patient", "Condition"))


async def test_subscription_is_made_with_deletes_and_secret_and_waited_for() -> None:
    async with fhir_server(activates=3) as server:
        made = await Registration(server.url + "/", wanted()).subscribe(wait_s=WAIT_S)
        assert made.delivers
        (stored,) = server.subscriptions.values()
    assert stored["criteria"] == "[Condition,Patient]"
    assert stored["channel"] == {
        "extension": [{"url": registration.DELETES_URL, "valueBoolean": True}],
        "type": "rest-hook",
        "endpoint": ENDPOINT,
        "payload": "application/fhir+json",
        "header": [f"X-Secret: {SECRET}"],
    }


async def test_active_subscription_is_left_alone() -> None:
    async with fhir_server() as server:
        first = await Registration(server.url, wanted()).subscribe(wait_s=WAIT_S)
        server.requests.clear()
        again = await Registration(server.url, wanted()).subscribe(wait_s=WAIT_S)
        assert (again, server.requests) == (first, ["GET"])
        assert await Registration(server.url, wanted()).check() == first


@pytest.mark.parametrize(
    ("element", "value", "name"),
    [
        ("criteria", "[Patient]", "criteria"),
        ("header", ["X-Secret: old"], "channel.header"),
        ("extension", [], "channel.extension"),
        ("payload", None, "channel.payload"),
    ],
)
async def test_subscription_that_differs_is_told_and_made_again(
    element: str, value: object, name: str
) -> None:
    async with fhir_server() as server:
        one = Registration(server.url, wanted())
        await one.subscribe(wait_s=WAIT_S)
        (stored,) = server.subscriptions.values()
        part = stored if element == "criteria" else stored["channel"]
        part[element] = value
        found = await one.check()
        assert (found.delivers, found.differs) == (False, (name,))
        assert (await one.subscribe(wait_s=WAIT_S)).delivers
        assert len(server.subscriptions) == 1


async def test_subscription_that_the_server_switched_off_is_made_again() -> None:
    async with fhir_server() as server:
        one = Registration(server.url, wanted())
        await one.subscribe(wait_s=WAIT_S)
        next(iter(server.subscriptions.values()))["status"] = "error"
        assert (await one.check()).status == "error"
        assert (await one.subscribe(wait_s=WAIT_S)).delivers


async def test_unsubscribe_removes_it_once() -> None:
    async with fhir_server() as server:
        one = Registration(server.url, wanted())
        await one.subscribe(wait_s=WAIT_S)
        assert [await one.unsubscribe(), await one.unsubscribe()] == [True, False]
        assert server.subscriptions == {}
        assert (await one.check()).status is None


async def test_server_without_rest_hooks_is_told_after_the_wait() -> None:
    async with fhir_server(activates=None) as server:
        with pytest.raises(RegistrationError) as refusal:
            await Registration(server.url, wanted()).subscribe(wait_s=0.1)
    assert refusal.value.code == "subscription_not_active"
    assert "resthook_enabled" in refusal.value.hint


async def test_each_refusal_has_its_code() -> None:
    async with fhir_server(release="5.0.0") as server:
        await _refused(server.url, "fhir_release_unsupported")
    async with fhir_server() as server:
        server.status = 422
        await _refused(server.url, "fhir_server_refused")
        server.authorization = "Bearer x"
        await _refused(server.url, "fhir_server_refused")
        one = Registration(server.url, wanted(), authorization="Bearer x")
        server.status = 200
        assert (await one.subscribe(wait_s=WAIT_S)).delivers
        await _refused(server.url.removesuffix("/fhir") + "/elsewhere", "fhir_server_refused")
    await _refused(server.url, "fhir_server_unreachable")
    await _refused("not a url", "fhir_server_unreachable")


async def _refused(url: str, code: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        await Registration(url, wanted()).subscribe(wait_s=1)
    assert refusal.value.code == code
    assert SECRET not in str(refusal.value) + refusal.value.hint


@pytest.mark.parametrize(
    ("module", "words", "field"),
    [
        (subscribe, ["notaurl"], "URL"),
        (subscribe, ["ftp://{server}"], "URL"),
        (subscribe, ["http://"], "URL"),
        (subscribe, ["http://{server}", "no tice"], "URL"),
        (subscribe, ["http://{server}", "--endpoint", "nonsense"], "--endpoint"),
        (subscribe, ["http://{server}", "--endpoint", ""], "--endpoint"),
        (subscribe, ["http://{server}", "--wait", "-3"], "--wait"),
        (subscribe, ["http://{server}", "--wait", "nan"], "--wait"),
        (subscribe, ["http://{server}", "--wait", "inf"], "--wait"),
        (subscribe, ["http://{server}", "--check", "--wait", "nan"], "--wait"),
        (unsubscribe, ["notaurl"], "URL"),
        (unsubscribe, ["http://{server}", "--endpoint", "nonsense"], "--endpoint"),
    ],
)
async def test_arguments_are_checked_before_anything_is_sent(
    module: ModuleType, words: list[str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_WEBHOOK_SECRET", SECRET)
    async with fhir_server() as server:
        place = server.url.partition("//")[2]
        with pytest.raises(UsageError) as refused:
            await command(module, *(word.format(server=place) for word in words))
        assert (refused.value.code, refused.value.field) == ("usage", field)
        assert server.requests == []


def test_without_a_secret_nothing_is_subscribed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refusal:
        wanted_of(read_settings({}, home=tmp_path), None, ["Patient"])
    assert refusal.value.code == "setting_missing"
    chosen = read_settings({"RESEARCHFLOW_WEBHOOK_SECRET": SECRET}, home=tmp_path)
    assert wanted_of(chosen, None, []).endpoint == f"http://127.0.0.1:8730{FEED_PATH}"


async def test_command_makes_checks_and_removes_it(
    postgres_dsn: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("RESEARCHFLOW_REDIS_URL", redis_url)
    monkeypatch.setenv("RESEARCHFLOW_WEBHOOK_SECRET", SECRET)
    async with fhir_server() as server:
        assert await command(subscribe, "--check", server.url) == FAILED
        assert "none" in capsys.readouterr().out
        assert await command(subscribe, "--json", server.url) == OK
        told = json.loads(capsys.readouterr().out)[server.url]
        assert (told["status"], told["delivers"]) == ("active", True)
        (stored,) = server.subscriptions.values()
        assert "Patient" in stored["criteria"]
        assert stored["channel"]["endpoint"] == "http://127.0.0.1:8730/feeds/fhir"
        assert await command(subscribe, "--check", server.url) == OK
        assert await command(unsubscribe, server.url) == OK
        assert "removed" in capsys.readouterr().out
        assert server.subscriptions == {}


async def command(module: ModuleType, *words: str) -> int:
    """A command with its arguments, as the command line calls it."""
    parser = Parser()
    module.register(parser)
    arguments = parser.parse_args(words)
    code: int = await arguments.run(arguments)
    return code


async def test_subscribed_server_delivers_changes_and_deletes(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with (
        feed_server(postgres_dsn, redis_url, tmp_path) as feed,
        fhir_server() as server,
    ):
        await feed.tools.put(patient("ada"))
        await feed.tools.call("refresh_views")
        endpoint = f"{feed.http.base_url}{FEED_PATH}"
        asked = wanted(endpoint, "Patient")
        await Registration(server.url, asked).subscribe(wait_s=WAIT_S)
        await feed.tools.put(patient("bea"))
        told = {**patient("bea"), "meta": {"versionId": "1"}}
        assert await server.deliver("PUT", "Patient/bea", told) == 200
        assert await server.deliver("DELETE", "Patient/nobody", None) == 200
        assert await feed.rows("patient_simple", "id") == [("ada",), ("bea",)]
