"""What is committed in the source shows in live rows without a refresh, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio

from researchflow_runners.batch.pending import check_source
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.errors import StatementError
from researchflow_runners.feed import round as round_module
from researchflow_runners.feed import tail as tail_module
from researchflow_runners.feed.outbox import prune_unfollowed
from researchflow_runners.feed.prepare import install_outbox, remove_outbox
from researchflow_runners.feed.tail import Tail
from researchflow_runners.source.resource import Change
from researchflow_runners.source.writer import Writer
from researchflow_runners.store.database import Session
from researchflow_server.metrics.families import state_families
from researchflow_server.runtime.feed import feed_lines
from test_feed_outbox import TAGS
from tool_server import ToolServer, tool_server
from warehouse import PEOPLE, RESULTS, Warehouse, compiled, open_warehouse, patient, result

VIEWS = (PEOPLE, RESULTS)
POSITION = "SELECT feed, reason FROM researchflow.feed_position WHERE reader = 'tail'"
LEFT = "SELECT left_at IS NOT NULL FROM researchflow.feed_position WHERE reader = 'tail'"
ENTRIES = "SELECT id, version, deleted, provenance FROM researchflow.overlay_entry ORDER BY 1"
BOUND_S = 20.0


in_both = pytest.mark.parametrize("followed", ["one database", "two databases"], indirect=True)


@dataclass
class Followed:
    """A warehouse, its views and a tail that the test lets run."""

    house: Warehouse
    tail: Tail

    async def ids(self) -> list[str]:
        """Of the live patients."""
        return [row[0] for row in await self.house.live()]


@pytest_asyncio.fixture
async def followed(
    request: pytest.FixtureRequest, postgres_dsn: str, source_dsn: str
) -> AsyncIterator[Followed]:
    """With an outbox and an anchor over one patient, `old`; in two databases unless in_both."""
    apart = None if getattr(request, "param", "") == "one database" else source_dsn
    async with open_warehouse(postgres_dsn, apart) as house:
        await install_outbox(house.source.database)
        yield await _first_anchor(house)


@pytest_asyncio.fixture
async def scanned(postgres_dsn: str, source_dsn: str) -> AsyncIterator[Followed]:
    """The same without an outbox."""
    async with open_warehouse(postgres_dsn, source_dsn) as house:
        yield await _first_anchor(house)


async def _first_anchor(house: Warehouse) -> Followed:
    await house.put(patient("old"))
    await house.refresh(VIEWS)
    return Followed(house, Tail(house.database, house.source, compiled(*VIEWS)))


@in_both
async def test_change_shows_live_and_the_anchor_stays(followed: Followed) -> None:
    await followed.house.put(patient("new", gender="male"), result("r", "new", 2.0))
    done = await followed.tail.catch_up()
    assert (done.kind, done.feed, done.reason, done.entries) == ("done", "outbox", None, 2)
    assert [row[:2] for row in await followed.house.live()] == [("new", "male"), ("old", "female")]
    assert [row[0] for row in await followed.house.rows()] == ["old"]
    assert [row[1:] for row in await followed.house.live("results")] == [("new", 2.0)]
    assert (await followed.tail.catch_up()).entries == 0


async def test_nothing_is_followed_before_the_first_anchor(postgres_dsn: str) -> None:
    async with open_warehouse(postgres_dsn) as house:
        await install_outbox(house.source.database)
        tail = Tail(house.database, house.source, compiled(*VIEWS))
        assert (await tail.catch_up()).kind == "idle"


async def test_refresh_absorbs_what_the_tail_wrote(followed: Followed) -> None:
    await followed.house.put(patient("new"))
    await followed.tail.catch_up()
    await followed.house.refresh(VIEWS)
    assert await followed.house.fetch(ENTRIES) == []
    assert (await followed.tail.catch_up()).entries == 0
    assert await followed.ids() == ["new", "old"]


async def test_change_that_a_refresh_absorbed_first_makes_no_entry(followed: Followed) -> None:
    await followed.house.put(patient("new"))
    await followed.house.refresh(VIEWS)
    assert (await followed.tail.catch_up()).entries == 0


@in_both
async def test_deleted_expunged_and_recreated_resources_show_so(followed: Followed) -> None:
    house = followed.house
    await house.put(patient("a"), patient("b"), patient("c"))
    await house.refresh(VIEWS)
    await house.delete("Patient/a")
    await house.expunge("Patient/b")
    await house.expunge("Patient/c")
    await house.put(patient("c", gender="male"))
    await followed.tail.catch_up()
    live = [("c", "male"), ("old", "female")]
    assert [row[:2] for row in await house.live()] == live
    await house.expunge("Patient/c")
    await house.put(patient("a"))
    await followed.tail.catch_up()
    assert await followed.ids() == ["a", "old"]
    await house.refresh(VIEWS)
    assert await followed.ids() == ["a", "old"]
    assert await house.fetch(ENTRIES) == []


async def test_created_and_expunged_within_one_round_leaves_nothing(followed: Followed) -> None:
    await followed.house.put(patient("brief"))
    await followed.house.expunge("Patient/brief")
    assert (await followed.tail.catch_up()).entries == 0


async def test_expunged_before_any_refresh_leaves_the_live_rows(followed: Followed) -> None:
    await followed.house.put(patient("brief"))
    await followed.tail.catch_up()
    await followed.house.expunge("Patient/brief")
    await followed.tail.catch_up()
    assert await followed.ids() == ["old"]


@in_both
async def test_late_commit_and_rollback_beside_a_long_transaction(followed: Followed) -> None:
    house = followed.house
    async with house.source.database.transaction() as long:
        await long.execute("UPDATE hfj_resource SET res_ver = res_ver + 1 WHERE fhir_id = 'old'")
        await long.execute("UPDATE hfj_res_ver SET res_ver = res_ver + 1 WHERE res_id = 1")
        async with house.source.database.session() as session:
            await session.execute("BEGIN")
            await Writer().apply(session, [Change("Patient", "undone", "{}")])
            await session.execute("ROLLBACK")
        await house.put(patient("quick"))
        assert (await followed.tail.catch_up()).entries == 1
        assert (await followed.tail.catch_up()).entries == 0
        assert await followed.ids() == ["old", "quick"]
        await house.refresh(VIEWS)
        await long.execute(
            'UPDATE hfj_res_ver SET res_text_vc = \'{"resourceType":"Patient"}\' WHERE res_id = 1'
        )
    assert (await followed.tail.catch_up()).entries == 1
    assert [row[:2] for row in await house.live()] == [("old", None), ("quick", "female")]


async def test_tag_and_rewritten_version_show_at_the_same_version(followed: Followed) -> None:
    house = followed.house
    await house.refresh((TAGS,))
    tail = Tail(house.database, house.source, compiled(TAGS))
    await _tag(house, "study")
    assert (await tail.catch_up()).entries == 1
    assert await house.live() == [("old", "study")]
    await _tag(house, "other")
    await tail.catch_up()
    assert await house.live() == [("old", "other")]
    await house.refresh((TAGS,))
    assert (await house.fetch(ENTRIES), await house.live()) == ([], [("old", "other")])


async def test_rewritten_content_outlives_a_refresh_that_compares(followed: Followed) -> None:
    """Only the outbox tells of it; a comparison of versions alone would lose it."""
    house = followed.house
    async with house.source.database.session() as session:
        await session.execute(
            "UPDATE hfj_res_ver SET res_text_vc ="
            ' \'{"resourceType":"Patient","gender":"other"}\' WHERE res_id = 1'
        )
    await followed.tail.catch_up()
    await remove_outbox(house.source.database)
    await house.refresh(VIEWS)
    assert [row[:2] for row in await house.rows()] == [("old", "other")]
    assert await house.fetch(ENTRIES) == []


async def _tag(house: Warehouse, code: str) -> None:
    async with house.source.database.transaction() as session:
        await session.execute("DELETE FROM hfj_res_tag; DELETE FROM hfj_tag_def")
        await session.execute(
            "INSERT INTO hfj_tag_def (tag_id, tag_type, tag_system, tag_code)"
            " VALUES (1, 0, 'urn:s', $1)",
            code,
        )
        await session.execute(
            "INSERT INTO hfj_res_tag (pid, res_id, res_type, tag_id) VALUES (1, 1, 'Patient', 1)"
        )
        await session.execute("UPDATE hfj_resource SET has_tags = true WHERE res_id = 1")


@in_both
async def test_change_during_a_refresh_outlives_it(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed after the refresh's snapshot, shown by the tail before it publishes."""
    house = followed.house
    await house.put(patient("early"))

    async def between(progress: Any) -> None:
        if progress.phase == "compare":
            await house.put(patient("late"), patient("old", gender="male"))
            await followed.tail.catch_up()

    await Refresher(house.database, house.source, compiled(*VIEWS)).refresh(between)
    shown = [("early", "female"), ("late", "female"), ("old", "male")]
    assert [row[:2] for row in await house.live()] == shown
    await followed.tail.catch_up()
    assert [row[:2] for row in await house.live()] == shown


async def test_round_that_a_refresh_overtakes_begins_again(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it read is older than the anchor that was published meanwhile."""
    house = followed.house
    await house.put(patient("old", gender="male"))
    read = round_module.look_at_feed

    async def overtaken(session: Session) -> Any:
        monkeypatch.setattr(round_module, "look_at_feed", read)
        state = await read(session)
        await house.put(patient("old", gender="other"))
        await house.refresh(VIEWS)
        return state

    monkeypatch.setattr(round_module, "look_at_feed", overtaken)
    assert (await followed.tail.catch_up()).kind == "outdated"
    await followed.tail.catch_up()
    assert [row[:2] for row in await house.live()] == [("old", "other")]


async def test_new_type_is_followed_from_its_first_anchor(followed: Followed) -> None:
    house = followed.house
    await house.refresh((PEOPLE,))
    await followed.tail.catch_up()
    progressed = asyncio.Event()

    async def between(progress: Any) -> None:
        if progress.phase == "build" and not progressed.is_set():
            progressed.set()
            await house.put(result("r", "old", 3.0))
            await followed.tail.catch_up()

    await Refresher(house.database, house.source, compiled(*VIEWS)).refresh(between)
    await followed.tail.catch_up()
    assert [row[0] for row in await house.live("results")] == ["r"]


async def test_resource_that_is_no_json_is_a_dead_letter_and_stops_nothing(
    followed: Followed,
) -> None:
    house = followed.house
    await house.put(patient("poison"), patient("good"))
    async with house.source.database.session() as session:
        await session.execute(
            "UPDATE hfj_res_ver SET res_text_vc = '{broken' WHERE res_id ="
            " (SELECT res_id FROM hfj_resource WHERE fhir_id = 'poison')"
        )
    done = await followed.tail.catch_up()
    assert (done.entries, done.dead_letters) == (2, 1)
    assert await followed.ids() == ["good", "old"]
    letters = "SELECT id, layer FROM researchflow.dead_letter"
    assert await house.fetch(letters) == [("poison", "speed")]
    await house.put(patient("poison", gender="male"))
    await followed.tail.catch_up()
    assert await house.fetch(letters) == []
    assert await followed.ids() == ["good", "old", "poison"]


async def test_too_many_changes_are_left_to_a_refresh(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_module, "CHANGES_MAX", 3)
    await followed.house.put(*(patient(f"p{number}") for number in range(4)))
    assert (await followed.tail.catch_up()).kind == "too_many"
    assert await followed.ids() == ["old"]
    assert [row[0] for row in await followed.house.fetch(LEFT)] == [True]
    await followed.house.refresh(VIEWS)
    await followed.house.put(patient("after"))
    assert (await followed.tail.catch_up()).entries == 1
    assert [row[0] for row in await followed.house.fetch(LEFT)] == [False]
    assert len(await followed.ids()) == 6


async def test_what_is_left_to_a_refresh_is_told_by_answers_metric_and_status(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_module, "CHANGES_MAX", 3)
    async with tool_server(postgres_dsn, redis_url, tmp_path) as tools:
        tail = tools.runtime.tail
        await tools.call("refresh_views")
        assert [(await tail.catch_up()).kind, await told(tools)] == ["done", (0, False)]
        await tools.put(*(patient(f"p{number}") for number in range(4)))
        assert [(await tail.catch_up()).kind, await told(tools)] == ["too_many", (4, True)]
        await tools.call("refresh_views")
        assert [(await tail.catch_up()).kind, await told(tools)] == ["done", (0, False)]


async def test_typed_questions_and_sql_are_told_alike_what_waits(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    told_of = ("pending", "staleness_s", "checked_at", "data_as_of", "freshness")
    async with tool_server(postgres_dsn, redis_url, tmp_path) as tools:
        await tools.call("refresh_views")
        await tools.put(patient("seen"))
        types = sorted({view.resource for view in tools.runtime.views.values()})
        await check_source(tools.runtime.stores.warehouse, tools.runtime.source, types)
        assert (await tools.runtime.tail.catch_up()).kind == "done"
        typed = await tools.call("query_view", view="patient_simple", columns=["id"], detail="full")
        by_sql = await tools.call("query_sql", sql="SELECT id FROM patient_simple", detail="full")
        assert typed["pending"] == 0
        assert {name: by_sql[name] for name in told_of} == {name: typed[name] for name in told_of}


async def told(tools: ToolServer) -> tuple[int, bool]:
    """What a live answer calls pending, and whether metric and status say what is left."""
    answer = await tools.call("query_view", view="patient_simple", detail="full")
    assert (answer["staleness_s"] > 0) == (answer["pending"] > 0)
    snapshot = await tools.runtime.fresh_snapshot()
    (left,) = (
        family.samples[0][1]
        for family in state_families(snapshot)
        if family.name == "researchflow_feed_left_to_refresh"
    )
    lines = [line for line in feed_lines(snapshot.feeds, snapshot.left_at) if "lack them" in line]
    assert len(lines) == left
    return answer["pending"], bool(left)


async def test_pages_do_not_change_what_shows(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_module, "PAGE", 1)
    house = followed.house
    await house.put(*(patient(f"p{number}") for number in range(3)))
    await house.expunge("Patient/old")
    await house.put(patient("old", gender="male"))
    await followed.tail.catch_up()
    shown = [*((f"p{number}", "female") for number in range(3))]
    assert [row[:2] for row in await house.live()] == [("old", "male"), *shown]


async def test_entry_that_a_refresh_has_read_too_leaves_with_it(followed: Followed) -> None:
    """Written after the refresh began, and of no later state than its snapshot shows."""
    house = followed.house
    await house.put(patient("new"))

    async def between(progress: Any) -> None:
        if progress.phase == "compare":
            assert (await followed.tail.catch_up()).entries == 1

    await Refresher(house.database, house.source, compiled(*VIEWS)).refresh(between)
    assert await house.fetch(ENTRIES) == []
    assert await followed.ids() == ["new", "old"]


@pytest.mark.failure("outbox-gap")
@in_both
async def test_gap_is_compared_and_the_tail_goes_on_by_the_outbox(followed: Followed) -> None:
    house = followed.house
    await house.put(patient("seen"))
    await followed.tail.catch_up()
    await remove_outbox(house.source.database)
    await house.put(patient("unseen"))
    await house.expunge("Patient/seen")
    await house.delete("Patient/old")
    await install_outbox(house.source.database)
    done = await followed.tail.catch_up()
    assert (done.reason, done.compared) == ("tables_replaced", True)
    assert await followed.ids() == ["unseen"]
    assert await house.fetch(POSITION) == [("outbox", "tables_replaced")]
    await house.put(patient("later"))
    assert (await followed.tail.catch_up()).reason is None
    assert await followed.ids() == ["later", "unseen"]


async def test_scan_shows_changes_and_says_each_once(scanned: Followed) -> None:
    house = scanned.house
    await house.put(patient("new"))
    await house.delete("Patient/old")
    done = await scanned.tail.catch_up()
    assert (done.feed, done.reason, done.entries) == ("scan", "not_installed", 2)
    assert await scanned.ids() == ["new"]
    assert (await scanned.tail.catch_up()).entries == 0
    await house.expunge("Patient/new")
    assert (await scanned.tail.catch_up()).entries == 1
    assert await scanned.ids() == []
    assert (await scanned.tail.catch_up()).entries == 0
    await house.refresh(VIEWS)
    assert (await house.fetch(ENTRIES), await scanned.ids()) == ([], [])


async def test_source_restored_to_an_older_version_shows_it(scanned: Followed) -> None:
    house = scanned.house
    await house.put(patient("old", gender="male"))
    await house.refresh(VIEWS)
    async with house.source.database.session() as session:
        await session.execute("UPDATE hfj_resource SET res_ver = 1")
        await session.execute("DELETE FROM hfj_res_ver WHERE res_ver = 2")
    await scanned.tail.catch_up()
    assert [row[:2] for row in await house.live()] == [("old", "female")]
    await house.refresh(VIEWS)
    assert [row[:2] for row in await house.rows()] == [("old", "female")]


async def test_two_tails_write_each_change_once(followed: Followed) -> None:
    other = Tail(followed.house.database, followed.house.source, compiled(*VIEWS))
    await followed.house.put(*(patient(f"p{number}") for number in range(5)))
    done = await asyncio.gather(followed.tail.catch_up(), other.catch_up())
    assert sum(one.entries for one in done) == 5
    assert {one.kind for one in done} <= {"done", "taken"}


async def test_outbox_that_cannot_be_pruned_is_followed_and_not_told_as_a_failing_tail(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    failures: list[str] = []

    async def fail(*_asked: object) -> int:
        asked.append(True)
        raise StatementError("no right", sqlstate="42501", hint="-")

    monkeypatch.setattr(tail_module, "prune_outbox", fail)
    monkeypatch.setattr(tail_module, "PRUNE_INTERVAL_S", 0.0)
    monkeypatch.setattr(Tail, "_fail", lambda _tail, error: failures.append(error.code))

    async def is_asked_again() -> bool:
        return len(asked) >= 3

    async with _running(followed.tail):
        await followed.house.put(patient("new"))
        await _shows(followed, "new", "old")
        followed.tail.wake()
        await _until(is_asked_again)
    assert failures == []


@asynccontextmanager
async def _running(tail: Tail) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(tail.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(BOUND_S):
        while not await holds():  # noqa: ASYNC110  the database sets no event
            await asyncio.sleep(0.01)


async def _shows(followed: Followed, *ids: str) -> None:
    async def holds() -> bool:
        return await followed.ids() == list(ids)

    await _until(holds)


@in_both
async def test_running_tail_shows_changes_by_itself_and_prunes_the_outbox(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.feed.tail.PRUNE_INTERVAL_S", 0.0)
    monkeypatch.setattr("researchflow_runners.feed.tail.POLL_S", 0.1)
    house = followed.house
    async with _running(followed.tail):
        await house.put(patient("a"))
        await _shows(followed, "a", "old")
        await house.delete("Patient/old")
        await _shows(followed, "a")
        await house.refresh(VIEWS)
        left = "SELECT count(*) FROM researchflow_outbox.change"

        async def pruned() -> bool:
            async with house.source.database.session() as session:
                return bool(await session.fetchval(left) == 1)

        await _until(pruned)
        await house.put(patient("b"))
        await _shows(followed, "a", "b")
        assert followed.tail.state.reason is None


async def test_outbox_is_pruned_where_no_tail_reads_and_one_that_comes_back_lacks_nothing(
    followed: Followed,
) -> None:
    house = followed.house
    warehouse, source = house.database, house.source.database
    await house.put(patient("a"))
    await followed.tail.catch_up()
    await house.put(patient("b"), patient("c"))
    await house.refresh(VIEWS)
    await house.put(patient("d"))
    assert await prune_unfollowed(warehouse, source) == 0
    await house.fetch("UPDATE researchflow.feed_position SET seen_at = seen_at - interval '1 day'")
    assert await prune_unfollowed(warehouse, source) > 0
    assert await prune_unfollowed(warehouse, source) == 0
    done = await followed.tail.catch_up()
    assert (done.reason, done.entries) == (None, 1)
    await _shows(followed, "a", "b", "c", "d", "old")
    assert (await house.refresh(VIEWS)).changed == 1


async def test_outbox_of_another_source_is_not_pruned_by_what_was_read_of_the_first(
    followed: Followed,
) -> None:
    house = followed.house
    await house.put(patient("a"), patient("b"))
    await house.refresh(VIEWS)
    await house.fetch("UPDATE researchflow.feed_position SET seen_at = '-infinity'")
    await house.fetch(
        "UPDATE researchflow.feed_position SET identity = jsonb_set(identity, '{system}', '\"7\"')"
    )
    assert await prune_unfollowed(house.database, house.source.database) == 0


async def _put(session: Session, patient_id: str) -> None:
    """On this connection, so that no other is opened."""
    async with session.transaction():
        await Writer().apply(session, [Change("Patient", patient_id, "{}")])


async def test_tail_goes_on_after_its_connection_was_cut(followed: Followed) -> None:
    house = followed.house
    backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    async with house.source.database.session() as session:
        before = {row[0] for row in await session.fetch(backends)}
        async with _running(followed.tail):
            await _put(session, "a")
            await _shows(followed, "a", "old")
            after = {row[0] for row in await session.fetch(backends)}
            for pid in after - before:
                await session.execute("SELECT pg_terminate_backend($1)", pid)
            await _put(session, "b")
            await _shows(followed, "a", "b", "old")


async def test_position_and_entries_are_one_commit(followed: Followed) -> None:
    """A tail that dies before its commit leaves neither; the next one does all of it."""
    house = followed.house
    await followed.tail.catch_up()
    before = await house.fetch("SELECT snapshot FROM researchflow.feed_position ORDER BY reader")
    await house.put(patient("new"))
    patch = pytest.MonkeyPatch()

    async def die(*_args: Any, **_more: Any) -> None:
        raise asyncio.CancelledError

    patch.setattr(round_module, "store_position", die)
    with pytest.raises(asyncio.CancelledError):
        await followed.tail.catch_up()
    patch.undo()
    assert await house.fetch(ENTRIES) == []
    after = await house.fetch("SELECT snapshot FROM researchflow.feed_position ORDER BY reader")
    assert after == before
    await followed.tail.catch_up()
    assert await followed.ids() == ["new", "old"]
