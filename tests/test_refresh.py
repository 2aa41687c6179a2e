"""A refresh brings every view to one instant of the source, wholly or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.batch import compute, staging
from researchflow_runners.batch import refresher as refresher_module
from researchflow_runners.batch.compute import Computed
from researchflow_runners.batch.result import Progress
from researchflow_runners.errors import RefreshError, ResearchFlowError, StoreError
from researchflow_runners.source.resource import Change
from researchflow_runners.source.writer import Writer
from researchflow_runners.store.database import Session
from researchflow_server.embedded import Services
from warehouse import (
    DEFINITIONS,
    NAMES,
    PEOPLE,
    PEOPLE_ACTIVE,
    RESULTS,
    Warehouse,
    open_warehouse,
    patient,
    result,
)

TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'researchflow'::regnamespace AND relname ~ '_[0-9a-f]{8}_[0-9]+$'
  AND relkind = 'r' ORDER BY 1
"""
RUNS = "SELECT outcome, error_code FROM researchflow.refresh_run ORDER BY run_id"
LEDGER = "SELECT res_type, id, res_ver, deleted FROM researchflow.ledger ORDER BY 1, 2"
DEAD = "SELECT view_name, id, res_ver, reason FROM researchflow.dead_letter ORDER BY 1, 2"
CUT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ENTRIES = "SELECT id, version FROM researchflow.overlay_entry ORDER BY 1, 2"


@pytest_asyncio.fixture(params=["one database", "two databases"])
async def house(
    request: pytest.FixtureRequest, postgres_dsn: str, source_dsn: str
) -> AsyncIterator[Warehouse]:
    """Source and warehouse together, and apart."""
    apart = source_dsn if request.param == "two databases" else None
    async with open_warehouse(postgres_dsn, apart) as opened:
        yield opened


@pytest_asyncio.fixture
async def together(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """Source and warehouse in one database."""
    async with open_warehouse(postgres_dsn) as opened:
        yield opened


async def test_first_refresh_publishes_rows_ledger_and_sql_views(house: Warehouse) -> None:
    await house.put(patient("a", birthDate="1980-05"), patient("b", gender="male"))
    await house.put(result("x", "a", 7.5), result("y", "b", 8))
    await house.put({"resourceType": "Organization", "id": "o"})
    await house.delete("Observation/y")

    published = await house.refresh()

    assert published.anchor == 1
    assert published.changed == 4
    assert [(view.name, view.built, view.rows_added) for view in published.views] == [
        ("people", True, 2),
        ("people_names", True, 0),
        ("results", True, 1),
    ]
    assert await house.rows() == [("a", "female", "1980-05"), ("b", "male", None)]
    assert await house.fetch(LEDGER) == [
        ("Observation", "x", 1, False),
        ("Observation", "y", 2, True),
        ("Patient", "a", 1, False),
        ("Patient", "b", 1, False),
    ]
    assert await house.fetch("SELECT * FROM sqlonfhir.people ORDER BY id") == await house.rows()
    assert (
        await house.fetch("SELECT * FROM sqlonfhir_live.people ORDER BY id") == await house.rows()
    )
    assert await house.fetch(RUNS) == [("published", None)]


async def test_changes_of_every_kind_reach_the_next_anchor(house: Warehouse) -> None:
    await house.put(patient("changed"), patient("deleted"), patient("expunged"), patient("again"))
    await house.refresh()
    await house.put(patient("changed", gender="male"), patient("new"))
    await house.delete("Patient/deleted")
    await house.expunge("Patient/expunged")
    await house.expunge("Patient/again")
    await house.put(patient("again", gender="other"))

    published = await house.refresh()

    assert await house.rows() == [
        ("again", "other", None),
        ("changed", "male", None),
        ("new", "female", None),
    ]
    people = published.views[0]
    assert (people.rows_added, people.rows_closed) == (3, 4)
    assert await house.fetch(LEDGER) == [
        ("Patient", "again", 1, False),
        ("Patient", "changed", 2, False),
        ("Patient", "deleted", 2, True),
        ("Patient", "new", 1, False),
    ]
    assert len(await house.rows(at=1)) == 4


async def test_deleted_resource_that_returns_is_found(together: Warehouse) -> None:
    await together.put(patient("a"))
    await together.refresh()
    await together.delete("Patient/a")
    await together.refresh()
    assert await together.rows() == []
    await together.put(patient("a", gender="male"))
    await together.refresh()
    assert await together.rows() == [("a", "male", None)]
    assert [await together.rows(at=anchor) for anchor in (1, 2, 3)] == [
        [("a", "female", None)],
        [],
        [("a", "male", None)],
    ]


@pytest.mark.failure("late-commit")
async def test_transaction_that_commits_late_is_found(house: Warehouse) -> None:
    late = Change("Patient", "late", '{"resourceType":"Patient","gender":"male"}')
    async with house.source.database.transaction() as session:
        await Writer().apply(session, [late])
        before = await house.refresh()
        assert await house.rows() == []
    published = await house.refresh()
    assert await house.rows() == [("late", "male", None)]
    async with house.source.database.session() as session:
        updated_at = await session.fetchval(
            "SELECT res_updated AT TIME ZONE 'UTC' FROM hfj_resource"
        )
    assert updated_at < before.data_as_of < published.data_as_of


async def test_unchanged_source_makes_no_anchor(house: Warehouse) -> None:
    await house.put(patient("a"))
    first = await house.refresh()
    second = await house.refresh()
    assert (first.published, second.published) == (True, False)
    assert (second.anchor, second.data_as_of, second.changed) == (1, first.data_as_of, 0)
    assert second.checked_at > first.checked_at
    assert await house.fetch("SELECT count(*) FROM researchflow.anchor") == [(1,)]
    assert await house.fetch(RUNS) == [("published", None), ("unchanged", None)]
    checks = await house.fetch("SELECT DISTINCT checked_at, pending FROM researchflow.source_check")
    assert checks == [(second.checked_at, 0)]


async def test_unchanged_source_still_absorbs_the_overlay(house: Warehouse) -> None:
    await house.put(patient("a"))
    await house.refresh()
    await house.enter("a", 1, '{"resourceType":"Patient","gender":"female"}')
    assert (await house.refresh()).overlay_dropped == 1
    assert await house.fetch(ENTRIES) == []


async def test_rows_without_order_of_arrival_have_their_number(together: Warehouse) -> None:
    names = [{"family": "B", "given": ["x"]}, {"family": "A", "given": ["y"]}]
    await together.put(patient("a", name=names))
    await together.refresh()
    assert await together.rows("people_names") == [("a", "B", "x"), ("a", "A", "y")]


@pytest.mark.failure("refresher-second")
async def test_second_refresher_is_refused(together: Warehouse) -> None:
    refusals: list[ResearchFlowError] = []

    async def intrude(_step: Progress) -> None:
        with pytest.raises(RefreshError) as caught:
            await together.refresh()
        refusals.append(caught.value)

    await together.refresh(progress=intrude)
    assert {error.code for error in refusals} == {"refresh_running"}
    assert await together.fetch(RUNS) == [("published", None)]


async def test_progress_counts_to_its_total(together: Warehouse) -> None:
    steps: list[Progress] = []

    async def note(step: Progress) -> None:
        steps.append(step)

    await together.put(patient("a"))
    await together.refresh(progress=note)
    await together.put(patient("a", gender="male"))
    await together.refresh(progress=note)
    # Two are built at once, so either may be the first.
    assert {step.view for step in steps[1:4]} == {"people", "people_names", "results"}
    shown = [(step.phase, step.done, step.total, step.view) for step in steps]
    assert [step[:3] for step in shown[1:4]] == [("build", number, 5) for number in (2, 3, 4)]
    assert shown[:1] + shown[4:] == [
        ("compare", 1, 5, None),
        ("publish", 5, 5, None),
        ("compare", 1, 4, None),
        ("compute", 2, 4, "people"),
        ("compute", 3, 4, "people_names"),
        ("publish", 4, 4, None),
    ]


@pytest.mark.parametrize("phase", ["compare", "build"])
async def test_refresh_that_fails_while_computing_leaves_no_trace(
    house: Warehouse, phase: str
) -> None:
    async def fail(step: Progress) -> None:
        if step.phase == phase:
            raise RuntimeError("stop")

    await house.put(patient("a"))
    await house.refresh([PEOPLE])
    tables = await house.fetch(TABLES)
    await house.put(patient("b"))
    with pytest.raises(RuntimeError):
        await house.refresh(progress=fail)
    assert await house.fetch(TABLES) == tables
    assert await house.rows() == [("a", "female", None)]
    assert await house.fetch(RUNS) == [("published", None), ("failed", "interrupted")]
    await house.refresh()
    assert len(await house.rows()) == 2


@pytest.mark.failure("source-down")
async def test_lost_source_is_a_retryable_error(postgres_dsn: str, source_dsn: str) -> None:
    async def cut(step: Progress) -> None:
        if step.phase == "compare":
            async with house.source.database.session() as session:
                await session.execute(CUT_OTHERS)

    async with open_warehouse(postgres_dsn, source_dsn) as house:
        await house.put(patient("a"))
        with pytest.raises(StoreError) as caught:
            await house.refresh(progress=cut)
        assert caught.value.code == "postgres_unavailable"
        assert await house.fetch(RUNS) == [("failed", "postgres_unavailable")]
        await house.refresh()
        assert await house.rows() == [("a", "female", None)]


@pytest.mark.failure("refresh-fails-publishing")
async def test_refresh_that_fails_while_publishing_leaves_no_trace(house: Warehouse) -> None:
    await house.put(patient("a"))
    await house.refresh([PEOPLE])
    tables = await house.fetch(TABLES)
    await house.put(patient("b"), result("x", "a", 1))
    await house.fetch("CREATE TABLE sqlonfhir.results (taken int)")
    with pytest.raises(ResearchFlowError) as caught:
        await house.refresh([PEOPLE, RESULTS])
    assert await house.fetch(TABLES) == tables
    assert await house.rows() == [("a", "female", None)]
    assert await house.fetch(LEDGER) == [("Patient", "a", 1, False)]
    assert await house.fetch("SELECT max(anchor) FROM researchflow.anchor") == [(1,)]
    assert await house.fetch(RUNS) == [("published", None), ("failed", caught.value.code)]


@pytest.mark.failure("resource-does-not-fit")
async def test_resource_that_cannot_be_computed_is_a_dead_letter(house: Warehouse) -> None:
    await house.put(patient("a", name=[{"family": "A", "given": ["x"]}]))
    await house.put(patient("b", name=[{"family": "B", "given": ["x", "secret"]}]))
    await house.put(*(patient(f"c{n}", name=[{"family": "C"}]) for n in range(5)))
    built = await house.refresh()
    assert len(await house.rows()) == 7
    assert [row[1] for row in await house.rows("people_names")] == ["A", *"CCCCC"]
    assert sum(view.dead_letters for view in built.views) == 1
    ((view, resource_id, version, reason),) = await house.fetch(DEAD)
    assert (view, resource_id, version) == ("people_names", "b", 1)
    assert reason == "several values where the column takes one"

    await house.put(patient("a", name=[{"family": "A", "given": ["x", "y"]}]))
    changed = await house.refresh()
    assert sum(view.dead_letters for view in changed.views) == 1
    assert [(row[0], row[1]) for row in await house.fetch(DEAD)] == [
        ("people_names", "a"),
        ("people_names", "b"),
    ]
    assert [row[1] for row in await house.rows("people_names")] == list("CCCCC")


async def test_dead_letter_is_forgiven_when_the_resource_heals_or_goes(
    together: Warehouse,
) -> None:
    await together.put(*(patient(name, name=[{"given": ["x", "y"]}]) for name in "abc"))
    await together.refresh()
    await together.put(patient("a", name=[{"given": ["x"]}]))
    await together.delete("Patient/b")
    await together.expunge("Patient/c")
    await together.refresh()
    assert await together.fetch(DEAD) == []
    assert await together.rows("people_names") == [("a", None, "x")]


async def test_resource_without_readable_content_is_a_dead_letter(house: Warehouse) -> None:
    await house.put(patient("gone"), patient("bare"), patient("broken"), patient("fine"))
    async with house.source.database.transaction() as session:
        await session.execute(
            "DELETE FROM hfj_res_ver v USING hfj_resource r"
            " WHERE v.res_id = r.res_id AND r.fhir_id = 'gone'"
        )
        for text, name in ((None, "bare"), ('{"resourceType": "Pat', "broken")):
            await session.execute(
                "UPDATE hfj_res_ver v SET res_text_vc = $1 FROM hfj_resource r"
                " WHERE v.res_id = r.res_id AND r.fhir_id = $2",
                text,
                name,
            )
    await house.refresh([PEOPLE])
    assert await house.rows() == [("fine", "female", None)]
    assert [row[1] for row in await house.fetch(DEAD)] == ["bare", "broken", "gone"]


async def test_head_without_its_version_falls_back_to_the_one_before(house: Warehouse) -> None:
    await house.put(patient("a", gender="male"))
    async with house.source.database.session() as session:
        await session.execute("UPDATE hfj_resource SET res_ver = 5")
    await house.refresh([PEOPLE])
    assert await house.rows() == [("a", "male", None)]
    assert await house.fetch(DEAD) == []


async def test_new_view_of_a_known_type_is_built_from_the_same_instant(house: Warehouse) -> None:
    await house.put(patient("a", name=[{"family": "A"}]))
    await house.refresh([PEOPLE])
    await house.put(patient("b", name=[{"family": "B"}]))
    published = await house.refresh([PEOPLE, NAMES])
    assert [view.built for view in published.views] == [False, True]
    assert [row[0] for row in await house.rows()] == ["a", "b"]
    assert [row[0] for row in await house.rows("people_names")] == ["a", "b"]


async def test_view_no_longer_defined_is_retired_with_its_type(together: Warehouse) -> None:
    await together.put(patient("a"), result("x", "a", 1))
    await together.refresh([PEOPLE, RESULTS])
    published = await together.refresh([RESULTS])
    assert published.retired == ("people",)
    assert await together.fetch(LEDGER) == [("Observation", "x", 1, False)]
    assert await together.fetch("SELECT to_regclass('sqlonfhir.people')") == [(None,)]
    await together.refresh([RESULTS])
    assert all("people" not in name for (name,) in await together.fetch(TABLES))


async def test_reader_across_a_refresh_keeps_its_anchor(together: Warehouse) -> None:
    await together.put(patient("a"))
    await together.refresh()
    async with together.database.snapshot() as session:
        before = await _seen(session)
        await together.put(patient("a", gender="male"), patient("b"))
        await together.refresh()
        assert await _seen(session) == before == [("a", "female")]


async def test_reader_across_a_redefinition_gets_old_rows_or_an_error(together: Warehouse) -> None:
    await together.put(patient("a"))
    await together.refresh([PEOPLE])
    async with together.database.snapshot() as session:
        tables = await session.fetch("SELECT base_table FROM researchflow.view_catalogue")
        await together.refresh([PEOPLE_ACTIVE])
        old = await session.fetch(f"SELECT _id, gender FROM researchflow.{tables[0][0]}")
        assert [tuple(row) for row in old] == [("a", "female")]
        with pytest.raises(StoreError) as caught:
            await session.fetch("SELECT count(*) FROM sqlonfhir.people")
        assert caught.value.code == "postgres_conflict"
    assert await together.fetch("SELECT id, active FROM sqlonfhir.people") == [("a", None)]


async def test_a_definition_taken_back_is_published_again(together: Warehouse) -> None:
    await together.put(patient("a"))
    for definition in (PEOPLE, PEOPLE_ACTIVE, PEOPLE, PEOPLE_ACTIVE):
        await together.refresh([definition])
        assert await together.fetch("SELECT id FROM sqlonfhir.people") == [("a",)]


async def _seen(session: Session) -> list[tuple[Any, ...]]:
    rows = await session.fetch("SELECT id, gender FROM sqlonfhir.people ORDER BY id")
    return [tuple(row) for row in rows]


async def test_covered_overlay_entries_leave_with_the_refresh(together: Warehouse) -> None:
    await together.put(patient("covered"), patient("ahead"))
    await together.refresh([PEOPLE])
    await together.put(patient("covered", gender="male"))
    await together.enter("covered", 2, '{"resourceType":"Patient","gender":"male"}')
    await together.enter(
        "ahead", 2, '{"resourceType":"Patient","gender":"other"}', origin="provisional"
    )
    live = await together.live()
    published = await together.refresh([PEOPLE])
    assert published.overlay_dropped == 1
    assert await together.fetch(ENTRIES) == [("ahead", 2)]
    assert await together.live() == live == [("ahead", "other", None), ("covered", "male", None)]


async def test_entry_of_an_expunged_resource_leaves(together: Warehouse) -> None:
    await together.put(patient("known"), patient("remade"))
    await together.refresh([PEOPLE])
    await together.put(patient("unknown"))
    text = '{"resourceType":"Patient","gender":"male"}'
    for resource_id, version in (("known", 2), ("remade", 2), ("unknown", 1)):
        await together.enter(resource_id, version, text)
        await together.expunge(f"Patient/{resource_id}")
    await together.put(patient("remade", gender="other"))
    await together.refresh([PEOPLE])
    assert await together.fetch(ENTRIES) == []
    assert await together.live() == [("remade", "other", None)]


async def test_provisional_entry_leaves_with_the_incarnation_it_changed(
    together: Warehouse,
) -> None:
    await together.put(patient("a"))
    await together.refresh([PEOPLE])
    text = '{"resourceType":"Patient","gender":"male"}'
    await together.enter("a", 2, text, origin="provisional")
    await together.enter("b", 1, text, origin="provisional")
    await together.expunge("Patient/a")
    await together.put(patient("a", gender="other"))
    await together.refresh([PEOPLE])
    assert await together.fetch(ENTRIES) == [("b", 1)]
    assert await together.live() == [("a", "other", None), ("b", "male", None)]


async def test_entry_that_arrives_while_computing_is_kept(house: Warehouse) -> None:
    text = '{"resourceType":"Patient","gender":"male"}'

    async def arrive(step: Progress) -> None:
        if step.phase == "compare":
            await house.enter("late", 2, text)

    await house.refresh([PEOPLE])
    await house.put(patient("late"))
    await house.refresh([PEOPLE], progress=arrive)
    assert await house.fetch(ENTRIES) == [("late", 2)]
    assert await house.rows() == [("late", "female", None)]
    assert await house.live() == [("late", "male", None)]


async def test_new_view_shows_the_entries_that_are_waiting(together: Warehouse) -> None:
    await together.put(patient("a", name=[{"family": "Old"}]))
    await together.refresh([PEOPLE])
    changed = '{"resourceType":"Patient","id":"a","name":[{"family":"New"}]}'
    await together.enter("a", 2, changed, origin="provisional")
    await together.refresh([PEOPLE, NAMES])
    assert await together.rows("people_names") == [("a", "Old", None)]
    assert await together.live("people_names") == [("a", "New", None)]


async def test_source_entry_counts_again_when_its_cover_is_dropped(together: Warehouse) -> None:
    await together.put(patient("a"))
    await together.refresh([PEOPLE])
    await together.put(patient("a", gender="male"))
    await together.enter(
        "a", 2, '{"gender":"other"}', origin="provisional", valid_until="2999-01-01"
    )

    async def arrive(step: Progress) -> None:
        if step.phase == "compare":
            await together.enter("a", 3, '{"gender":"unknown"}', valid_from="2999-01-01")

    await together.refresh([PEOPLE], progress=arrive)
    assert await together.fetch(ENTRIES) == [("a", 3)]
    assert await together.live() == [("a", "unknown", None)]


@pytest.mark.failure("refresher-killed")
async def test_killed_backend_leaves_a_run_that_the_next_one_buries(
    own_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kill(session: Session, *_more: Any, **_named: Any) -> None:
        pid = await session.fetchval("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGKILL)
        await session.fetchval("SELECT 1")

    async with open_warehouse(own_services.postgres_dsn) as house:
        await house.put(patient("a"))
        await house.refresh([PEOPLE])
        await house.put(patient("b"))
        with monkeypatch.context() as patched:
            patched.setattr(refresher_module, "publish", kill)
            with pytest.raises(StoreError) as caught:
                await house.refresh(DEFINITIONS)
        assert caught.value.code == "postgres_unavailable"

        published = await _refresh_when_up(house)

        assert published.anchor == 2
        assert [row[0] for row in await house.rows()] == ["a", "b"]
        assert (await house.fetch(RUNS))[1][0] == "failed"
        assert len(await house.fetch(TABLES)) == 3 * len(DEFINITIONS)


async def _refresh_when_up(house: Warehouse) -> Any:
    """PostgreSQL restarts itself after a killed backend; retryable errors are retried."""
    for _attempt in range(600):
        try:
            return await house.refresh(DEFINITIONS)
        except StoreError as error:
            last = error
    raise AssertionError("PostgreSQL did not come back") from last


DATED = {
    "name": "dated",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "family", "path": "name.family"},
                {"name": "born", "path": "birthDate"},
            ]
        }
    ],
}


async def test_dead_letter_names_the_column_and_the_reason(house: Warehouse) -> None:
    await house.put(patient("a", name=[{"family": "X"}, {"family": "Y"}]))
    await house.put(patient("b", birthDate="2020-02-30"))
    await house.put(patient("c", birthDate="soon"))
    await house.refresh([DATED])
    assert await house.fetch(
        "SELECT id, column_name, reason FROM researchflow.dead_letter ORDER BY id"
    ) == [
        ("a", "family", "several values where the column takes one"),
        ("b", "born", "a date or time that does not exist"),
        ("c", "born", "not a date or time as FHIR writes them"),
    ]


@pytest.fixture
def builders(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The backends on which views were built."""
    pids: set[int] = set()
    build = compute._build_into

    async def noted(computed: Computed, session: Session, *more: Any) -> None:
        pids.add(await session.fetchval("SELECT pg_backend_pid()"))
        await build(computed, session, *more)

    monkeypatch.setattr(compute, "_build_into", noted)
    return pids


async def test_views_are_built_on_two_connections_in_one_snapshot(
    together: Warehouse, builders: set[int]
) -> None:
    await together.put(patient("a"), result("r", "a", 1))

    async def put_more(step: Progress) -> None:
        if step.phase == "compare":
            await together.put(patient("b"), result("s", "b", 2))

    await together.refresh(progress=put_more)
    assert len(builders) == 2
    assert [row[0] for row in await together.rows()] == ["a"]
    assert [row[0] for row in await together.rows("results")] == ["r"]
    assert (await together.refresh()).changed == 2


async def test_views_are_built_on_one_connection_where_there_is_no_other(
    together: Warehouse, builders: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def full(*_asked: object) -> AsyncIterator[None]:
        raise StoreError("full", code="postgres_unavailable", hint="-")
        yield

    monkeypatch.setattr(staging, "_imported", full)
    await together.put(patient("a"), result("r", "a", 1))
    assert (await together.refresh()).published
    assert len(builders) == 1
    assert [row[0] for row in await together.rows("results")] == ["r"]


async def test_build_that_breaks_on_one_connection_leaves_nothing(together: Warehouse) -> None:
    await together.put(patient("a"), result("r", "a", 1))

    async def cut(step: Progress) -> None:
        if step.phase == "build":
            await together.fetch(CUT_OTHERS)

    with pytest.raises(StoreError) as caught:
        await together.refresh(progress=cut)
    assert caught.value.code == "postgres_unavailable"
    assert await together.fetch(TABLES) == []
    assert (await together.refresh()).anchor == 1
