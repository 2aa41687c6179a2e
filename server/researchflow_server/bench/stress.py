"""Changes a second from the feed to rows that live answers show, sustained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any

from rich.progress import Progress

from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.feed.tail import Tail
from researchflow_runners.source.load import delete_resource, load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.speed.change import Change
from researchflow_server.bench.figure import Figure
from researchflow_server.bench.ward import CONDITIONS, PATIENTS, Ward
from researchflow_server.feeds.intake import Intake

ROUNDS = 4
CHANGED = 5_000
DELETED = 50
SENDERS = 100
CHANGES_PER_S_MIN = 2_000.0
MIX = ("Observation", "Condition", "MedicationRequest", "Patient")
_SEEN = "SELECT count(*) FROM sqlonfhir_live.patient_simple WHERE id = ANY ($1::text[])"
_WAITING = "SELECT count(*) FROM researchflow.overlay_entry WHERE origin = 'source'"

Resource = dict[str, Any]


async def feed_to_visible(ward: Ward, bar: Progress) -> list[Figure]:
    """The rates of the tail over the outbox, and of a subscription's deliveries."""
    await ward.runtime.refresher.refresh()
    await install_outbox(ward.runtime.stores.source)
    changed = _mix()
    words = f"{len(changed):,} updates as stored ({', '.join(MIX)}), {DELETED} deletions a round"
    task = bar.add_task("changing and following", total=2 * ROUNDS)
    views = list(ward.runtime.shipped.values())
    tail = Tail(ward.runtime.stores.warehouse, ward.runtime.source, views)
    await tail.catch_up()
    followed = [await _round(ward, changed, one, tail.catch_up) for one in range(ROUNDS)]
    bar.advance(task, ROUNDS)
    await ward.runtime.refresher.refresh()
    heard = [
        await _round(ward, changed, ROUNDS + one, lambda: _deliver(ward, changed))
        for one in range(ROUNDS)
    ]
    bar.advance(task, ROUNDS)
    total = ROUNDS * (len(changed) + DELETED)
    return [
        Figure("outbox to visible", total / sum(followed), "changes/s", ROUNDS, words,
               at_least=CHANGES_PER_S_MIN),
        Figure("deliveries to visible, without HTTP", ROUNDS * len(changed) / sum(heard),
               "changes/s", ROUNDS, words),
    ]  # fmt: skip


def _mix() -> list[Resource]:
    """Resources of the hospital as it has them: mostly observations."""
    known = hospital(patients=PATIENTS, conditions=CONDITIONS)
    return list(islice((one for one in known if one["resourceType"] in MIX), CHANGED))


async def _round(
    ward: Ward, resources: Sequence[Resource], number: int, follow: Callable[[], Awaitable[Any]]
) -> float:
    """Seconds from when the changes are committed to when all are visible."""
    source = ward.runtime.stores.source
    gone = [f"gone-{number}-{one}" for one in range(DELETED)]
    await load_resources(source, [{"resourceType": "Patient", "id": one} for one in gone])
    await ward.runtime.writer.confirm([("Patient", one) for one in gone], provenance="bench")
    assert await ward.value(_SEEN, gone) == DELETED
    await load_resources(source, [{**one, "language": f"x-{number}"} for one in resources])
    for one in gone:
        await delete_resource(source, "Patient", one)
    began_s = time.perf_counter()
    await follow()
    elapsed_s = time.perf_counter() - began_s
    assert await ward.value(_WAITING) >= len(resources)
    return elapsed_s


async def _deliver(ward: Ward, resources: Sequence[Resource]) -> None:
    """Every change told by a sender of its own, so many at once."""
    intake = Intake(ward.runtime.writer)

    async def send(mine: Sequence[Resource]) -> None:
        for one in mine:
            await intake.take([Change.put(one)], 0)

    await asyncio.gather(*(send(resources[first::SENDERS]) for first in range(SENDERS)))
