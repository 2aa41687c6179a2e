"""Entries as overlay rows: which are kept, and what happens when rows cannot be computed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from researchflow_runners.speed.change import Change
from researchflow_runners.speed.entry import Entry, Origin
from researchflow_runners.speed.overlay_entry import Known, plan
from speed_stack import SpeedStack, compiled, patient, speed_stack

NOW = datetime(2024, 5, 1, tzinfo=UTC)
SECRET = "perhaps-John-Smith"


def entry(version: int, origin: Origin = "provisional", *, lives: bool = True) -> Entry:
    expires_at = NOW + timedelta(hours=1 if lives else -1)
    return Entry(
        resource_type="Patient",
        resource_id="p1",
        version=version,
        deleted=False,
        text="{}",
        origin=origin,
        provenance="test",
        received_at=NOW,
        expires_at=None if origin == "source" else expires_at,
        stream_id="1-0",
    )


def known(
    *, ledger: int = 0, source: int = 0, provisional: int = 0, expired: bool = False
) -> Known:
    return Known(
        base_res_id=7 if ledger else None,
        ledger_version=ledger,
        source_entry=70 if source else None,
        source_version=source,
        source_incarnation=None,
        provisional_entry=71 if provisional else None,
        provisional_version=0 if expired else provisional,
        dead=False,
        now=NOW,
    )


@pytest.mark.parametrize(
    ("before", "entries", "dropped", "kept", "covered"),
    [
        (known(), [entry(1)], [], [("provisional", 1)], 0),
        (known(ledger=3), [entry(3)], [], [], 1),
        (known(ledger=3), [entry(3, "source")], [], [], 1),
        (known(ledger=3), [entry(4)], [], [("provisional", 4)], 0),
        (known(provisional=4), [entry(4)], [], [], 0),
        (known(provisional=4), [entry(3)], [], [], 0),
        (known(provisional=4), [entry(5)], [71], [("provisional", 5)], 0),
        (known(source=4), [entry(4)], [], [], 0),
        (known(source=4), [entry(5)], [], [("provisional", 5)], 0),
        (known(provisional=4), [entry(4, "source")], [71], [("source", 4)], 0),
        (known(provisional=4), [entry(3, "source")], [], [("source", 3)], 0),
        (known(source=2, provisional=4), [entry(3, "source")], [70], [("source", 3)], 0),
        (known(source=2, provisional=4), [entry(5, "source")], [70, 71], [("source", 5)], 0),
        (known(provisional=4, expired=True), [entry(3)], [71], [("provisional", 3)], 0),
        (known(), [entry(4, lives=False)], [], [], 0),
        (known(), [entry(2, "source"), entry(3)], [], [("source", 2), ("provisional", 3)], 0),
        (known(), [entry(3, "source"), entry(3)], [], [("source", 3)], 0),
    ],
)
def test_plan_keeps_the_newest_of_each_origin(
    before: Known,
    entries: list[Entry],
    dropped: list[int],
    kept: list[tuple[str, int]],
    covered: int,
) -> None:
    planned = plan(before, entries)
    assert list(planned.dropped) == dropped
    assert [(one.origin, one.version) for one in planned.kept] == kept
    assert len(planned.covered) == covered


@pytest_asyncio.fixture
async def stack(postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    views = [compiled("patient_simple"), compiled("patient_demographics")]
    async with speed_stack(postgres_dsn, redis_url, views) as opened:
        await opened.at_source("Patient", "p1", 1, patient("p1"))
        await opened.refresher.refresh()
        yield opened


async def put(stack: SpeedStack, *bodies: dict[str, object]) -> list[tuple[str, ...]]:
    outcomes = await stack.writer.apply([Change.put(body) for body in bodies], provenance="test")
    return [one.failed_views for one in outcomes]


async def test_entry_whose_rows_fail_is_missing_and_counted_and_the_rest_shows(
    stack: SpeedStack,
) -> None:
    failed = await put(
        stack, patient("p1", "male", birthDate=SECRET), patient("p2"), patient("p3", "other")
    )
    assert failed == [("patient_demographics", "patient_simple"), (), ()]
    rows = await stack.live("patient_simple", "id, gender")
    assert rows == [("p2", "female"), ("p3", "other")]
    async with stack.database.session() as session:
        letters = await session.fetch(
            "SELECT view_name, id, res_ver, layer, column_name, reason"
            " FROM researchflow.dead_letter ORDER BY 1"
        )
    reason = "not a date or time as FHIR writes them"
    assert [tuple(letter) for letter in letters] == [
        ("patient_demographics", "p1", 2, "speed", "birth_date", reason),
        ("patient_simple", "p1", 2, "speed", "birth_date", reason),
    ]


async def test_newer_version_that_computes_takes_the_dead_letter_away(stack: SpeedStack) -> None:
    await put(stack, patient("p1", birthDate=SECRET))
    assert await put(stack, patient("p1", "male")) == [()]
    assert await stack.live("patient_simple", "id, gender") == [("p1", "male")]
    assert await stack.value("SELECT count(*) FROM researchflow.dead_letter") == 0


async def test_dead_letter_leaves_with_its_entry(stack: SpeedStack) -> None:
    await put(stack, patient("p1", birthDate=SECRET))
    await stack.let_a_day_pass()
    await stack.projector.forget_covered()
    assert await stack.live("patient_simple", "id, gender") == [("p1", "female")]
    assert await stack.value("SELECT count(*) FROM researchflow.overlay_entry") == 0
    assert await stack.value("SELECT count(*) FROM researchflow.dead_letter") == 0


async def test_every_view_of_the_type_gets_its_rows(stack: SpeedStack) -> None:
    await put(stack, patient("p2", "male", name=[{"family": "Neu", "given": ["Eva"]}]))
    columns = "patient_id, family_name"
    assert ("p2", "Neu") in await stack.live("patient_demographics", columns)
    assert ("p2", "male") in await stack.live("patient_simple", "id, gender")


#: As a release before kept them: what entries say beside what they are.
IN_LINE = """
ALTER TABLE researchflow.overlay_entry ADD COLUMN resource text;
UPDATE researchflow.overlay_entry AS e SET resource = r.resource
FROM researchflow.overlay_resource AS r WHERE r.entry_id = e.entry_id;
DROP TABLE researchflow.overlay_resource;
COMMENT ON SCHEMA researchflow IS 'researchflow of before';
"""
KEPT = """
SELECT array_agg(concat_ws(' ', id, deleted, resource) ORDER BY id)
FROM researchflow.overlay_entry LEFT JOIN researchflow.overlay_resource USING (entry_id)
"""


async def test_entries_of_an_older_schema_keep_what_they_say(stack: SpeedStack) -> None:
    await put(stack, patient("p1", "male"), patient("p2", "other"))
    await stack.writer.apply([Change.delete("Patient", "p2")], provenance="test")
    before = await stack.value(KEPT)
    async with stack.database.session() as session:
        await session.execute(IN_LINE)
    await stack.database.install_schema()
    assert await stack.value(KEPT) == before
    assert [one.split(" ", 2)[:2] for one in before] == [["p1", "f"], ["p2", "t"]]


async def test_what_entries_say_does_not_widen_what_live_answers_scan(stack: SpeedStack) -> None:
    text = {"status": "empty", "div": "x" * 1_500}
    await put(stack, *(patient(f"wide-{number}", text=text) for number in range(100)))
    size_bytes = await stack.value("SELECT pg_relation_size('researchflow.overlay_entry')")
    assert size_bytes <= 40_000
