"""What a real HAPI server delivered, replayed: in its order and in others the rows end the same.

The recording holds each request with its headers, and a log of what was done to the server when.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from conftest import SHARED
from feed_server import FeedServer, feed_server
from researchflow_runners.source.load import expunge
from researchflow_server.embedded import Services
from speed_stack import store_version
from tool_server import module_stores

RECORDED = SHARED / "hapi" / "webhooks.ndjson"
LOG = SHARED / "hapi" / "actions.log"
_ACTION = re.compile(
    r'(\d\d:\d\d:\d\d\.\d+) (PUT|PATCH|POST|DELETE) (\w*)/?(\S*) -> (\d+) ETag (?:W/"(\d+)"|None)'
)
SEED = 7
#: HAPI delivers with two threads a subscription.
THREADS = 6

pytestmark = pytest.mark.skipif(
    not RECORDED.exists(), reason="needs the recording in ../shared, which is not there"
)


@dataclass(frozen=True)
class Delivery:
    """A request as it came; `path` without the endpoint's own part."""

    at_s: float
    endpoint: str
    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def key(self) -> tuple[str, str] | None:
        found = self.path.strip("/").split("/")
        return (found[0], found[1]) if len(found) == 2 else None


@dataclass(frozen=True)
class State:
    """A version that the FHIR server had; None is a deletion, version 0 an expunge."""

    at_s: float
    key: tuple[str, str]
    version: int
    resource: dict[str, Any] | None


def deliveries() -> list[Delivery]:
    found = []
    for line in RECORDED.read_text().splitlines():
        one = json.loads(line)
        _slash, endpoint, path = one["path"].partition(one["path"][1:2])
        found.append(
            Delivery(one["received"], endpoint, one["method"], path, dict(one["headers"]),
                     one["body"])
        )  # fmt: skip
    return found


def states(recorded: Sequence[Delivery]) -> list[State]:
    """What the server had when, in order: versions as delivered, deletions as logged.

    A version that was never delivered existed for less than a poll; a stand-in takes its place.
    """
    bodies = {
        (one.key, int(json.loads(one.body)["meta"]["versionId"])): json.loads(one.body)
        for one in recorded
        if one.body and one.key
    }
    found: list[State] = []
    versions: Counter[tuple[str, str]] = Counter()
    day = datetime.fromtimestamp(recorded[0].at_s, UTC).date()
    for line in LOG.read_text().splitlines():
        match = _ACTION.match(line)
        if match is None or match.group(3) in ("Subscription", ""):
            continue
        clock, method, resource_type, name, _status, tagged = match.groups()
        at_s = datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp()
        key = (resource_type, name)
        if "/" in name or not name:
            if name.endswith("$expunge"):
                found.append(State(at_s, (resource_type, name.partition("/")[0]), 0, None))
            continue
        version = int(tagged) if tagged else versions[key] + 1
        if version == versions[key]:
            continue
        versions[key] = version
        stand_in = {"resourceType": resource_type, "id": name}
        body = None if method == "DELETE" else bodies.get((key, version), stand_in)
        found.append(State(at_s, key, version, body))
    told = {(one.key, one.version) for one in found}
    for (known, version), body in bodies.items():
        assert known is not None
        if (known, version) not in told:
            first = min(one.at_s for one in recorded if one.key == known)
            found.append(State(first - 0.5, known, version, body))
    found += [
        State(one.at_s - 0.5, one.key, newest.version + 1, None)
        for one in recorded
        if one.method == "DELETE" and one.key
        and (newest := _newest(found, one.key, one.at_s)).resource is not None
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.at_s, one.version))


def _newest(states: Sequence[State], key: tuple[str, str], at_s: float) -> State:
    before = [one for one in states if one.key == key and one.at_s < at_s]
    return max(before, key=lambda one: one.at_s)


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
async def feed(shared: FeedServer) -> FeedServer:
    """Nothing in the source, and so in no view."""
    await shared.value("TRUNCATE hfj_resource, hfj_res_ver CASCADE")
    await shared.tools.call("refresh_views")
    return shared


async def deliver(feed: FeedServer, one: Delivery) -> None:
    content = one.body.encode() if one.method != "DELETE" else None
    named = {key: value for key, value in one.headers.items() if key not in ("Host",)}
    # The client writes these two itself.
    kept = {k.lower(): v for k, v in named.items() if k not in ("Content-Length", "Connection")}
    response = await feed.http.request(
        one.method, f"/feeds/fhir{one.path}", content=content, headers=kept
    )
    assert response.status_code == 200, response.text


async def happen(feed: FeedServer, one: State) -> None:
    """The server's own tables come to this version."""
    source = feed.tools.runtime.stores.source
    if one.version == 0:
        await expunge(source, *one.key)
        return
    await store_version(source, one.key, one.version, one.resource)


async def live(feed: FeedServer) -> list[Any]:
    return await feed.rows("patient_demographics", "id", "gender", "birth_date")


async def rebuilt(feed: FeedServer) -> list[Any]:
    """What the views give over the source alone, nothing of the speed layer left."""
    await feed.tools.call("refresh_views")
    assert await feed.value("SELECT count(*) FROM researchflow.overlay_entry") == 0
    return await live(feed)


async def test_recording_holds_what_it_is_known_for() -> None:
    recorded = deliveries()
    known = states(recorded)
    assert Counter(one.method for one in recorded) == {"PUT": 140, "POST": 24, "DELETE": 5}
    of_first = [one.version for one in known if one.key == ("Patient", "w-1")]
    assert of_first[:5] == [1, 2, 3, 4, 5]
    assert any(one.version == 0 for one in known)


async def test_deliveries_among_the_changes_show_each_state_that_was(feed: FeedServer) -> None:
    recorded = deliveries()
    events: list[State | Delivery] = [*states(recorded), *recorded]
    for event in sorted(events, key=lambda one: one.at_s):
        if isinstance(event, State):
            await happen(feed, event)
        else:
            await deliver(feed, event)
    seen = await live(feed)
    # Of w-4, deleted and expunged within one poll of the server, nothing was delivered.
    assert [row for row in seen if row[0] != "w-4"] == await rebuilt(feed)
    assert "w-4" in {row[0] for row in seen}
    assert "w-1" not in {row[0] for row in seen}


@pytest.mark.parametrize("order", ["reversed", "shuffled twice", "lossy"])
async def test_deliveries_a_day_late_end_in_what_the_source_has(
    feed: FeedServer, order: str
) -> None:
    recorded = deliveries()
    for state in states(recorded):
        await happen(feed, state)
    late = rearranged([one for one in recorded if one.endpoint == "a"], order)
    for start in range(0, len(late), THREADS):
        await asyncio.gather(*(deliver(feed, one) for one in late[start : start + THREADS]))
    seen = await live(feed)
    truth = await rebuilt(feed)
    assert len(truth) == 12
    if order == "lossy":
        assert set(seen) < set(truth)
    else:
        assert seen == truth
    for one in late[:THREADS]:
        await deliver(feed, one)
    assert await live(feed) == truth


def rearranged(recorded: Sequence[Delivery], order: str) -> list[Delivery]:
    chance = random.Random(SEED)
    if order == "reversed":
        return list(recorded[::-1])
    if order == "lossy":
        return [one for one in recorded if chance.random() > 0.3]
    many = list(recorded) * 2
    chance.shuffle(many)
    return many
