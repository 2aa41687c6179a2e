"""Changes through their one door: outcomes, origins, durability."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from researchflow_runners.errors import QueryError
from researchflow_runners.source.load import expunge
from researchflow_runners.speed.change import Change, ChangeOutcome
from speed_stack import SpeedStack, compiled, patient, speed_stack


@pytest_asyncio.fixture
async def stack(postgres_dsn: str, redis_url: str) -> AsyncIterator[SpeedStack]:
    """Patients p1 (version 1) and p2 (version 4) in the batch layer."""
    views = [compiled("patient_simple")]
    async with speed_stack(postgres_dsn, redis_url, views) as opened:
        await opened.at_source("Patient", "p1", 1, patient("p1"))
        await opened.at_source("Patient", "p2", 4, patient("p2"))
        await opened.refresher.refresh()
        yield opened


async def apply(stack: SpeedStack, *changes: Change, dry_run: bool = False) -> list[ChangeOutcome]:
    return await stack.writer.apply(changes, provenance="test", dry_run=dry_run)


async def genders(stack: SpeedStack) -> dict[str, str]:
    return dict(await stack.live("patient_simple", "id, gender"))


async def test_insert_is_seen_in_the_live_view_and_told_with_its_views(stack: SpeedStack) -> None:
    (outcome,) = await apply(stack, Change.put(patient("p3", "male")))
    assert (outcome.outcome, outcome.version, outcome.origin) == ("stored", 1, "provisional")
    assert outcome.views == ("patient_simple",)
    assert outcome.expires_at is not None
    assert await genders(stack) == {"p1": "female", "p2": "female", "p3": "male"}


async def test_update_without_version_follows_the_newest_known(stack: SpeedStack) -> None:
    (outcome,) = await apply(stack, Change.put(patient("p2", "male")))
    assert (outcome.outcome, outcome.version) == ("stored", 5)
    assert await genders(stack) == {"p1": "female", "p2": "male"}


@pytest.mark.failure("deliveries-disordered")
async def test_delete_takes_the_resource_out_and_a_late_update_does_not_bring_it_back(
    stack: SpeedStack,
) -> None:
    (deleted,) = await apply(stack, Change.delete("Patient", "p2"))
    (late,) = await apply(stack, Change.put(patient("p2", "male"), version=5))
    (stale,) = await apply(stack, Change.delete("Patient", "p2", version=6))
    (old,) = await apply(stack, Change.put(patient("p2", "other"), version=5))
    assert (deleted.outcome, deleted.version) == ("stored", 5)
    assert (late.outcome, stale.outcome, old.outcome) == ("duplicate", "stored", "stale")
    assert await genders(stack) == {"p1": "female"}


async def test_recreation_after_delete_is_seen(stack: SpeedStack) -> None:
    await apply(stack, Change.delete("Patient", "p1"))
    (created,) = await apply(stack, Change.put(patient("p1", "male")))
    assert (created.outcome, created.version) == ("stored", 3)
    assert await genders(stack) == {"p1": "male", "p2": "female"}


async def test_changes_of_one_resource_in_one_call_apply_in_order(stack: SpeedStack) -> None:
    outcomes = await apply(
        stack,
        Change.put(patient("p1", "male")),
        Change.delete("Patient", "p1"),
        Change.put(patient("p1", "other")),
    )
    assert [(one.outcome, one.version) for one in outcomes] == [
        ("stored", 2),
        ("stored", 3),
        ("stored", 4),
    ]
    assert await genders(stack) == {"p1": "other", "p2": "female"}


async def test_repeated_insert_without_version_is_a_duplicate(stack: SpeedStack) -> None:
    first = await apply(stack, Change.put(patient("p1", "male")))
    again = await apply(stack, Change.put(patient("p1", "male")))
    assert (first[0].outcome, first[0].version) == ("stored", 2)
    assert (again[0].outcome, again[0].version) == ("duplicate", 2)


async def test_version_that_the_source_has_becomes_its_own_text_without_expiry(
    stack: SpeedStack,
) -> None:
    await stack.at_source("Patient", "p1", 2, patient("p1", "male"))
    hint = patient("p1", "unknown", meta={"versionId": "2"})
    (outcome,) = await apply(stack, Change.put(hint))
    assert (outcome.outcome, outcome.origin, outcome.expires_at) == ("stored", "source", None)
    assert (await genders(stack))["p1"] == "male"


async def test_deletion_that_the_source_has_is_its_own(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 2, None)
    (outcome,) = await apply(stack, Change.put(patient("p1"), version=2))
    assert (outcome.outcome, outcome.origin, outcome.deleted) == ("stored", "source", True)
    assert await genders(stack) == {"p2": "female"}


async def test_source_entry_lower_than_a_provisional_one_waits_below_it(stack: SpeedStack) -> None:
    await apply(stack, Change.put(patient("p1", "other"), version=9))
    await stack.at_source("Patient", "p1", 2, patient("p1", "male"))
    (outcome,) = await apply(stack, Change.put(patient("p1", "male"), version=2))
    assert (outcome.outcome, outcome.origin, outcome.newest_version) == ("stored", "source", 9)
    assert (await genders(stack))["p1"] == "other"
    await stack.let_a_day_pass()
    assert (await genders(stack))["p1"] == "male"


async def test_covered_version_is_told_and_does_not_stay_in_the_cache(stack: SpeedStack) -> None:
    (outcome,) = await apply(stack, Change.put(patient("p2", "male"), version=3))
    assert (outcome.outcome, outcome.newest_version) == ("covered", 4)
    assert await stack.redis.count("Patient") == 0
    assert await genders(stack) == {"p1": "female", "p2": "female"}


async def test_type_without_a_view_is_cached_and_says_so(stack: SpeedStack) -> None:
    (outcome,) = await apply(stack, Change.put({"resourceType": "Device", "id": "d1"}))
    assert (outcome.outcome, outcome.views) == ("stored", ())
    assert await stack.redis.count("Device") == 1


async def test_rejected_change_names_its_fault_and_the_others_go_on(stack: SpeedStack) -> None:
    outcomes = await apply(
        stack,
        Change.put({"resourceType": "Patiant", "id": "p7"}),
        Change.put(patient("p3", "male")),
        Change.delete("Patient", "nobody"),
        Change.put(patient("p 4")),
    )
    assert [one.outcome for one in outcomes] == ["rejected", "stored", "rejected", "rejected"]
    codes = [one.error.code for one in outcomes if one.error]
    assert codes == ["resource_type_unknown", "resource_unknown", "resource_id_invalid"]
    assert (outcomes[0].resource_type, outcomes[0].resource_id) == ("Patiant", "p7")
    assert outcomes[0].error is not None
    assert outcomes[0].error.did_you_mean == "Patient"
    assert stack.writer.outcomes == {"stored": 1, "rejected": 3}


async def test_dry_run_tells_the_same_and_writes_nothing(stack: SpeedStack) -> None:
    changes = (
        Change.put(patient("p3")),
        Change.put(patient("p2"), version=4),
        Change.delete("Patient", "p1"),
        Change.put({"resourceType": "Patient"}),
    )
    foreseen = await apply(stack, *changes, dry_run=True)
    assert await stack.redis.count("Patient") == 0
    assert await genders(stack) == {"p1": "female", "p2": "female"}
    done = await apply(stack, *changes)
    assert [one.outcome for one in foreseen] == ["stored", "covered", "stored", "rejected"]
    assert [(one.outcome, one.version) for one in foreseen] == [
        (one.outcome, one.version) for one in done
    ]


async def test_too_many_changes_are_refused_whole(stack: SpeedStack) -> None:
    with pytest.raises(QueryError) as refusal:
        await apply(stack, *[Change.delete("Patient", "p1")] * 1_001)
    assert refusal.value.code == "too_many_changes"


async def test_refresh_takes_over_what_the_source_confirmed(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 2, patient("p1", "male"))
    await apply(stack, Change.put(patient("p1"), version=2))
    before = await genders(stack)
    await stack.refresher.refresh()
    assert await stack.projector.forget_covered() == 1
    assert await genders(stack) == before == {"p1": "male", "p2": "female"}
    assert await stack.value("SELECT count(*) FROM researchflow.overlay_entry") == 0
    assert await stack.redis.count("Patient") == 0


async def test_acknowledged_change_survives_the_loss_of_redis(
    stack: SpeedStack, redis_url: str
) -> None:
    await apply(stack, Change.put(patient("p1", "male")), Change.delete("Patient", "p2"))
    redis = Redis.from_url(redis_url)
    await redis.flushall()
    await redis.aclose()
    assert await genders(stack) == {"p1": "male"}
    (outcome,) = await apply(stack, Change.put(patient("p1", "other"), version=1))
    assert outcome.outcome == "covered"
    await stack.projector.drain()
    found = await stack.redis.get_fhir_resource("Patient", "p1")
    assert found is not None
    assert found.version == 2
    assert await genders(stack) == {"p1": "male"}


async def test_change_stored_but_not_projected_is_applied_by_the_repeat(stack: SpeedStack) -> None:
    await stack.redis.set_fhir_resource("Patient", "p1", patient("p1", "male"), version=2)
    assert (await genders(stack))["p1"] == "female"
    (outcome,) = await apply(stack, Change.put(patient("p1", "male")))
    assert (outcome.outcome, outcome.version) == ("duplicate", 2)
    assert (await genders(stack))["p1"] == "male"


async def test_version_taken_by_another_process_gives_way_to_the_next(stack: SpeedStack) -> None:
    await stack.redis.set_fhir_resource("Patient", "p1", patient("p1", "male"), version=2)
    outcomes = await apply(
        stack, Change.put(patient("p1", "other")), Change.put(patient("p1", "unknown"))
    )
    assert [one.outcome for one in outcomes] == ["stored", "stored"]
    assert outcomes[0].version is not None
    assert outcomes[1].version is not None
    assert 2 < outcomes[0].version < outcomes[1].version
    assert (await genders(stack))["p1"] == "unknown"


async def test_version_of_a_resource_made_again_is_newer_than_what_was_expunged(
    stack: SpeedStack,
) -> None:
    for version, gender in ((2, "male"), (3, "other")):
        await stack.at_source("Patient", "p1", version, patient("p1", gender))
    (hint,) = await apply(stack, Change.put(patient("p1"), version=3))
    assert hint.outcome == "stored"
    await expunge(stack.database, "Patient", "p1")
    await stack.at_source("Patient", "p1", 1, patient("p1", "unknown"))
    (again,) = await apply(stack, Change.put(patient("p1"), version=1))
    assert (again.outcome, again.version, again.newest_version) == ("stored", 1, 1)
    assert (await genders(stack))["p1"] == "unknown"
    (repeat,) = await apply(stack, Change.put(patient("p1"), version=1))
    assert repeat.outcome == "duplicate"
    await stack.refresher.refresh()
    assert (await genders(stack))["p1"] == "unknown"
    assert await stack.value("SELECT count(*) FROM researchflow.overlay_entry") == 0


async def test_expunged_version_leaves_the_cache_and_hides_no_later_one(stack: SpeedStack) -> None:
    await stack.at_source("Patient", "p1", 6, patient("p1", "male"))
    await apply(stack, Change.put(patient("p1"), version=6))
    await expunge(stack.database, "Patient", "p1")
    await stack.refresher.refresh()
    await stack.projector.forget_covered()
    assert await stack.redis.get_fhir_resource("Patient", "p1") is None
    await stack.at_source("Patient", "p1", 1, patient("p1", "unknown"))
    (hint,) = await apply(stack, Change.put(patient("p1"), version=1))
    assert hint.outcome == "stored"
    assert (await genders(stack))["p1"] == "unknown"


async def test_change_that_a_refresh_dropped_can_be_made_again_at_once(stack: SpeedStack) -> None:
    await apply(stack, Change.delete("Patient", "p1"))
    await expunge(stack.database, "Patient", "p1")
    await stack.at_source("Patient", "p1", 1, patient("p1", "unknown"))
    await stack.refresher.refresh()
    assert (await genders(stack))["p1"] == "unknown"
    (again,) = await apply(stack, Change.delete("Patient", "p1"))
    assert (again.outcome, again.version) == ("stored", 2)
    assert "p1" not in await genders(stack)
