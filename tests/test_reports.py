"""What is said of the source counts for no more than what the source has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.errors import StoreError
from researchflow_runners.source.load import expunge
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.database import Database
from speed_stack import SpeedStack, compiled, patient, speed_stack

ENTRIES = "SELECT array_agg(origin || version ORDER BY version) FROM researchflow.overlay_entry"
PARTITIONED = """
ALTER TABLE hfj_resource DROP CONSTRAINT idx_res_type_fhir_id;
UPDATE hfj_resource SET partition_id = 1;
ALTER TABLE hfj_resource ADD UNIQUE (partition_id, res_type, fhir_id);
UPDATE hfj_res_ver SET partition_id = 1
"""
#: The same id in another partition, deleted there.
OTHER_TENANT = """
INSERT INTO hfj_resource SELECT (jsonb_populate_record(r, jsonb_build_object(
    'res_id', r.res_id + 100, 'partition_id', 2, 'res_deleted_at', now()))).*
FROM hfj_resource AS r WHERE fhir_id = 'p1'
"""


@pytest_asyncio.fixture
async def stack(postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    """Patients p1 (version 1) and p2 (version 4) in the batch layer."""
    async with speed_stack(postgres_dsn, redis_url, [compiled("patient_simple")]) as opened:
        await opened.at_source("Patient", "p1", 1, patient("p1"))
        await opened.at_source("Patient", "p2", 4, patient("p2"))
        await opened.refresher.refresh()
        yield opened


@asynccontextmanager
async def cut_off(
    stack: SpeedStack, dsn: str, *, known: bool = True
) -> AsyncIterator[ChangeWriter]:
    """A writer that cannot ask the source any more; `known`: it could once."""
    source = HapiSource(await Database.connect(dsn))
    writer = ChangeWriter(
        database=stack.database, redis=stack.redis, projector=stack.projector, source=source
    )
    if known:
        await writer.confirm([("Patient", "p1")], provenance="test")
    await source.database.close()
    yield writer


async def hear(writer: ChangeWriter, *reports: Change) -> list[ChangeOutcome]:
    return await writer.hear(reports, provenance="subscription")


def put(name: str, version: int, gender: str = "male") -> Change:
    return Change.put(patient(name, gender, meta={"versionId": str(version)}))


async def genders(stack: SpeedStack) -> dict[str, Any]:
    return dict(await stack.live("patient_simple", "id, gender"))


async def test_delete_that_arrives_after_the_undelete_hides_nobody(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 2, None)
    await stack.at_source("Patient", "p1", 3, patient("p1", "male"))
    await hear(stack.writer, put("p1", 3))
    (late,) = await hear(stack.writer, Change.delete("Patient", "p1"))
    assert (late.outcome, late.version, late.deleted) == ("duplicate", 3, False)
    assert (await genders(stack))["p1"] == "male"
    await stack.refresher.refresh()
    (later,) = await hear(stack.writer, Change.delete("Patient", "p1"))
    assert later.outcome == "covered"
    assert (await genders(stack))["p1"] == "male"


async def test_delete_that_the_source_bears_out_is_seen_at_once(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 2, None)
    (outcome,) = await hear(stack.writer, Change.delete("Patient", "p1"))
    assert (outcome.outcome, outcome.origin, outcome.version) == ("stored", "source", 2)
    assert await genders(stack) == {"p2": "female"}


async def test_update_that_arrives_after_an_expunge_shows_nobody(stack: SpeedStack) -> None:
    await expunge(stack.database, "Patient", "p2")
    (ghost,) = await hear(stack.writer, put("p2", 5))
    assert (ghost.outcome, ghost.origin, ghost.deleted) == ("stored", "source", True)
    assert await genders(stack) == {"p1": "female"}
    (again,) = await hear(stack.writer, put("p2", 5))
    (unknown,) = await hear(stack.writer, put("nobody", 1))
    assert (again.outcome, unknown.outcome) == ("covered", "covered")
    await stack.refresher.refresh()
    await hear(stack.writer, put("p2", 5))
    assert await genders(stack) == {"p1": "female"}
    assert await stack.value(ENTRIES) is None


async def test_resource_made_again_after_an_expunge_is_seen(stack: SpeedStack) -> None:
    await expunge(stack.database, "Patient", "p1")
    await hear(stack.writer, Change.delete("Patient", "p1"))
    await stack.at_source("Patient", "p1", 1, patient("p1", "other"))
    (again,) = await hear(stack.writer, put("p1", 1))
    assert (again.outcome, again.version) == ("stored", 1)
    assert (await genders(stack))["p1"] == "other"


async def test_writers_own_change_stays_while_the_source_knows_nothing(stack: SpeedStack) -> None:
    await stack.writer.apply([Change.put(patient("p3", "other"))], provenance="agent")
    await stack.refresher.refresh()
    assert await stack.writer.settle() == 0
    (hint,) = await hear(stack.writer, put("p3", 1))
    assert hint.outcome == "covered"
    assert (await genders(stack))["p3"] == "other"
    await stack.let_a_day_pass()
    assert "p3" not in await genders(stack)


async def test_without_the_source_a_report_counts_until_it_is_asked(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    async with cut_off(stack, postgres_dsn) as writer:
        (told, deleted) = await hear(writer, put("p1", 2), Change.delete("Patient", "p2"))
    assert [(one.outcome, one.origin) for one in (told, deleted)] == [("stored", "reported")] * 2
    assert told.expires_at is not None
    assert await genders(stack) == {"p1": "male"}
    assert await stack.writer.settle() == 2
    assert await genders(stack) == {"p1": "female", "p2": "female"}
    assert await stack.value(ENTRIES) is None
    assert await stack.redis.count("Patient") == 0


async def test_refresh_asks_the_source_about_what_was_reported_before_it(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    async with cut_off(stack, postgres_dsn) as writer:
        await hear(writer, put("p1", 7), put("ghost", 3), Change.delete("Patient", "p2"))
        assert await genders(stack) == {"p1": "male", "ghost": "male"}
        await stack.refresher.refresh()
        assert await genders(stack) == {"p1": "female", "p2": "female"}
        # Redis has not let go of version 7 yet; it must not make a report of less stale.
        (real,) = await hear(writer, put("p1", 2, "other"))
    assert real.outcome == "stored"
    assert (await genders(stack))["p1"] == "other"


async def test_report_neither_replaces_nor_outlives_a_writers_own_change(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    await stack.writer.apply([Change.put(patient("p1", "other"))], provenance="agent")
    async with cut_off(stack, postgres_dsn) as writer:
        await hear(writer, put("p1", 2))
        assert (await genders(stack))["p1"] == "male"
    await stack.writer.settle()
    assert (await genders(stack))["p1"] == "other"
    assert await stack.value(ENTRIES) == ["provisional2"]


async def test_repeated_delete_without_version_is_one_delete(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    await stack.writer.apply([Change.put(patient("p1", "other"), version=3)], provenance="agent")
    async with cut_off(stack, postgres_dsn) as writer:
        for _time in range(3):
            await hear(writer, Change.delete("Patient", "p1"))
    assert await stack.value(ENTRIES) == ["reported2", "provisional3"]


async def test_what_the_source_says_first_makes_a_late_report_void(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    await stack.at_source("Patient", "p1", 3, patient("p1", "other"))
    await stack.writer.confirm([("Patient", "p1")], provenance="tail")
    async with cut_off(stack, postgres_dsn) as writer:
        outcomes = await hear(writer, put("p1", 2), put("p1", 3))
    assert [one.outcome for one in outcomes] == ["stale", "duplicate"]
    assert (await genders(stack))["p1"] == "other"


async def test_source_that_was_never_asked_makes_a_report_wait(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    async with cut_off(stack, postgres_dsn, known=False) as writer:
        with pytest.raises(StoreError) as refusal:
            await hear(writer, Change.delete("Patient", "p1"))
    assert (refusal.value.code, refusal.value.retryable) == ("source_unavailable", True)
    assert (await genders(stack))["p1"] == "female"


async def test_delete_of_one_tenant_does_not_hide_anothers_patient(
    stack: SpeedStack, postgres_dsn: str
) -> None:
    async with stack.database.session() as session:
        await session.execute(PARTITIONED)
        await session.execute(OTHER_TENANT)
    async with cut_off(stack, postgres_dsn) as writer:
        (asked,) = await hear(stack.writer, Change.delete("Patient", "p1"))
        assert (asked.outcome, asked.version, asked.deleted) == ("covered", 1, False)
        with pytest.raises(StoreError):
            await hear(writer, Change.delete("Patient", "p1"))
    assert (await genders(stack))["p1"] == "female"


async def test_id_of_two_living_patients_is_not_taken_for_either(stack: SpeedStack) -> None:
    await hear(stack.writer, put("p1", 1))
    async with stack.database.session() as session:
        await session.execute(PARTITIONED)
        await session.execute(OTHER_TENANT)
        await session.execute(
            "UPDATE hfj_resource SET res_deleted_at = NULL, res_ver = res_ver + 1"
        )
    (outcome,) = await hear(stack.writer, put("p1", 2))
    assert (outcome.outcome, outcome.error and outcome.error.code) == (
        "rejected",
        "source_id_ambiguous",
    )
    assert (await genders(stack))["p1"] == "female"


async def test_resource_that_cannot_be_read_stops_no_other(stack: SpeedStack) -> None:
    for name in ("a", "b", "c", "d"):
        await stack.at_source("Patient", name, 1, patient(name))
    await stack.value("UPDATE hfj_res_ver SET res_text_vc = '{' WHERE res_id = (SELECT res_id"
                      " FROM hfj_resource WHERE fhir_id = 'c')")  # fmt: skip
    keys = [("Patient", name) for name in ("a", "b", "c", "d")]
    outcomes = await stack.writer.confirm(keys, provenance="tail")
    assert [one.outcome for one in outcomes] == ["stored", "stored", "rejected", "stored"]
    assert outcomes[2].error is not None
    assert outcomes[2].error.code == "resource_unreadable"
    assert sorted(await genders(stack)) == ["a", "b", "d", "p1", "p2"]


async def test_type_that_no_view_reads_is_ignored(stack: SpeedStack) -> None:
    device = {"resourceType": "Device", "id": "d1", "meta": {"versionId": "1"}}
    await stack.at_source("Device", "d1", 1, device)
    (outcome,) = await hear(stack.writer, Change.put(device))
    assert outcome.outcome == "ignored"
    assert await stack.redis.count("Device") == 0


async def test_malformed_report_is_rejected_and_the_others_go_on(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 2, patient("p1", "male"))
    outcomes = await hear(stack.writer, Change.put({"resourceType": "Patiant"}), put("p1", 2))
    assert [one.outcome for one in outcomes] == ["rejected", "stored"]


async def test_confirmed_keys_are_answered_in_order(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p3", 1, patient("p3", "male"))
    await stack.at_source("Patient", "p1", 2, None)
    await expunge(stack.database, "Patient", "p2")
    keys = [("Patient", name) for name in ("p3", "nobody", "p2", "p1")]
    outcomes = await stack.writer.confirm(keys, provenance="tail")
    assert [(one.resource_id, one.outcome, one.deleted) for one in outcomes] == [
        ("p3", "stored", False),
        ("nobody", "covered", True),
        ("p2", "stored", True),
        ("p1", "stored", True),
    ]
    assert await genders(stack) == {"p3": "male"}
