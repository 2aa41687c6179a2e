"""A refresh that learns its changes from the outbox misses none, and compares when it must."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from researchflow_runners.batch.pending import check_source
from researchflow_runners.errors import SourceDataError, StoreError
from researchflow_runners.feed.prepare import (
    check_outbox,
    install_outbox,
    remove_outbox,
    show_outbox,
)
from researchflow_runners.feed.state import TRIGGERS, capped
from researchflow_runners.source.load import put_resource
from researchflow_runners.source.resource import Change
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.source.writer import Writer
from researchflow_runners.store.database import Database
from researchflow_server.embedded import PostgresServer
from warehouse import PEOPLE, PEOPLE_ACTIVE, RESULTS, Warehouse, open_warehouse, patient, result

VIEWS = (PEOPLE, RESULTS)
POSITION = "SELECT feed, reason FROM researchflow.feed_position WHERE reader = 'refresh'"
TAGS = {
    **PEOPLE,
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "meta.tag.first().code", "name": "tag"},
            ]
        }
    ],
}


in_both = pytest.mark.parametrize("house", ["one database", "two databases"], indirect=True)


@pytest_asyncio.fixture
async def house(
    request: pytest.FixtureRequest, postgres_dsn: str, source_dsn: str
) -> AsyncIterator[Warehouse]:
    """With the outbox installed and a first anchor over one patient, `old`; in two databases
    unless in_both."""
    apart = None if getattr(request, "param", "") == "one database" else source_dsn
    async with open_warehouse(postgres_dsn, apart) as opened:
        await _settle(opened)
        yield opened


@pytest_asyncio.fixture
async def together(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """The same in one database."""
    async with open_warehouse(postgres_dsn) as opened:
        await _settle(opened)
        yield opened


async def _settle(house: Warehouse) -> None:
    await install_outbox(house.source.database)
    await house.put(patient("old"))
    await house.refresh(VIEWS)


async def _ids(house: Warehouse) -> list[str]:
    return [row[0] for row in await house.rows()]


@in_both
async def test_first_refresh_compares_and_the_next_is_told_by_the_outbox(house: Warehouse) -> None:
    assert await house.fetch(POSITION) == [("outbox", "first_read")]
    await house.put(patient("new"), result("r", "new", 1.0))
    refreshed = await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("outbox", None)]
    assert (refreshed.changed, await _ids(house)) == (2, ["new", "old"])
    assert (await house.refresh(VIEWS)).changed == 0


async def test_told_refresh_reads_no_other_keys(house: Warehouse) -> None:
    """A ledger that was tampered with stays wrong: nothing but the told keys is looked at."""
    await house.fetch("UPDATE researchflow.ledger SET res_ver = 9")
    await house.put(patient("new"))
    assert (await house.refresh(VIEWS)).changed == 1


@pytest.mark.failure("late-commit")
@in_both
async def test_late_commit_is_told(house: Warehouse) -> None:
    async with house.source.database.transaction() as late:
        await Writer().apply(late, [Change("Patient", "late", '{"resourceType":"Patient"}')])
        await house.refresh(VIEWS)
        assert await _ids(house) == ["old"]
    assert (await house.refresh(VIEWS)).changed == 1
    assert await house.fetch(POSITION) == [("outbox", None)]
    assert await _ids(house) == ["late", "old"]


async def test_long_transaction_holds_up_no_other_change(house: Warehouse) -> None:
    # Writer locks the tables against other writers of ours, HAPI does not: so by hand.
    async with house.source.database.transaction() as long:
        await long.execute("UPDATE hfj_resource SET res_ver = 2 WHERE fhir_id = 'old'")
        for number in range(3):
            await house.put(patient(f"n{number}"))
            assert (await house.refresh(VIEWS)).changed == 1
        assert await _ids(house) == ["n0", "n1", "n2", "old"]
        await long.execute("UPDATE hfj_res_ver SET res_ver = 2 WHERE res_id = 1")
    assert (await house.refresh(VIEWS)).changed == 1
    ledger = "SELECT res_ver FROM researchflow.ledger WHERE id = 'old'"
    assert await house.fetch(ledger) == [(2,)]


async def test_rolled_back_change_is_not_told(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("BEGIN")
        await Writer().apply(session, [Change("Patient", "old", None)])
        await session.execute("ROLLBACK")
    assert (await house.refresh(VIEWS)).changed == 0
    assert await _ids(house) == ["old"]


@in_both
async def test_deleted_recreated_and_expunged_resources_are_told(house: Warehouse) -> None:
    await house.put(patient("a"), patient("b"), patient("c"))
    await house.refresh(VIEWS)
    await house.delete("Patient/a")
    await house.expunge("Patient/b")
    await house.expunge("Patient/c")
    await house.put(patient("c", gender="male"))
    await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("outbox", None)]
    assert [row[:2] for row in await house.rows()] == [("c", "male"), ("old", "female")]
    await house.put(patient("a"))
    await house.refresh(VIEWS)
    assert await _ids(house) == ["a", "c", "old"]


async def test_created_and_expunged_between_two_refreshes_leaves_nothing(house: Warehouse) -> None:
    await house.put(patient("brief"))
    await house.expunge("Patient/brief")
    assert (await house.refresh(VIEWS)).changed == 0


async def test_changes_of_one_millisecond_are_all_told(house: Warehouse) -> None:
    """res_updated is the request's start and the same for all entries of a Bundle."""
    await house.put(*(patient(f"p{number}") for number in range(20)))
    async with house.source.database.session() as session:
        await session.execute("UPDATE hfj_resource SET res_updated = '2020-01-01'")
    assert (await house.refresh(VIEWS)).changed == 21
    assert len(await _ids(house)) == 21


async def test_tag_without_a_new_version_is_told(house: Warehouse) -> None:
    await house.refresh((TAGS,))
    assert await house.rows() == [("old", None)]
    async with house.source.database.session() as session:
        await session.execute(
            "INSERT INTO hfj_tag_def (tag_id, tag_type, tag_system, tag_code)"
            " VALUES (1, 0, 'urn:s', 'study')"
        )
        await session.execute(
            "INSERT INTO hfj_res_tag (pid, res_id, res_type, tag_id) VALUES (1, 1, 'Patient', 1)"
        )
        await session.execute("UPDATE hfj_resource SET has_tags = true WHERE res_id = 1")
    assert (await house.refresh((TAGS,))).changed == 1
    assert await house.rows() == [("old", "study")]
    async with house.source.database.session() as session:
        await session.execute("DELETE FROM hfj_res_tag WHERE res_id = 1")
    assert (await house.refresh((TAGS,))).changed == 1
    assert await house.rows() == [("old", None)]


async def test_version_rewritten_in_place_is_told(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute(
            'UPDATE hfj_res_ver SET res_text_vc = \'{"resourceType":"Patient","gender":"male"}\''
        )
    assert (await house.refresh(VIEWS)).changed == 1
    assert [row[:2] for row in await house.rows()] == [("old", "male")]


async def test_search_index_made_anew_is_no_change(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("UPDATE hfj_resource SET sp_index_status = 1, sp_has_links = true")
    assert (await house.refresh(VIEWS)).changed == 0


async def _recreate_trigger(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("DROP TRIGGER researchflow_rows ON hfj_resource")
        await house.put(patient("unseen"))
    await install_outbox(house.source.database)


async def _switch_trigger_off_and_on(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("ALTER TABLE hfj_resource DISABLE TRIGGER ALL")
        await house.put(patient("unseen"))
        await session.execute("ALTER TABLE hfj_resource ENABLE TRIGGER ALL")


async def _empty_outbox(house: Warehouse) -> None:
    await house.put(patient("unseen"))
    async with house.source.database.session() as session:
        await session.execute("TRUNCATE researchflow_outbox.change")


async def _reinstall(house: Warehouse) -> None:
    await remove_outbox(house.source.database)
    await house.put(patient("unseen"))
    await install_outbox(house.source.database)


async def _truncate_tables(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("TRUNCATE hfj_resource, hfj_res_ver, hfj_res_tag")
    await house.put(patient("old"), patient("unseen"))


@pytest.mark.failure("outbox-gap")
@pytest.mark.parametrize(
    ("gap", "reason"),
    [
        (_recreate_trigger, "triggers_replaced"),
        (_switch_trigger_off_and_on, "triggers_replaced"),
        (_empty_outbox, "changes_missing"),
        (_reinstall, "tables_replaced"),
        (_truncate_tables, "table_emptied"),
    ],
)
async def test_gap_in_the_outbox_leads_to_a_comparison(
    house: Warehouse, gap: Callable[[Warehouse], Awaitable[None]], reason: str
) -> None:
    await gap(house)
    await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("outbox", reason)]
    assert await _ids(house) == ["old", "unseen"]
    await house.put(patient("later"))
    await house.refresh(VIEWS)
    await house.put(patient("last"))
    await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("outbox", None)]
    assert await _ids(house) == ["last", "later", "old", "unseen"]


@pytest.mark.failure("outbox-gap")
async def test_upgrade_that_makes_a_table_anew_is_noticed_and_said(house: Warehouse) -> None:
    async with house.source.database.session() as session:
        await session.execute("CREATE TABLE kept AS SELECT * FROM hfj_res_tag")
        await session.execute("DROP TABLE hfj_res_tag")
        await session.execute("ALTER TABLE kept RENAME TO hfj_res_tag")
    await house.put(patient("unseen"))
    await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("scan", "triggers_missing")]
    assert await _ids(house) == ["old", "unseen"]
    state = await check_outbox(house.source.database)
    assert state.missing == ("hfj_res_tag.researchflow_rows", "hfj_res_tag.researchflow_truncate")
    assert (await install_outbox(house.source.database)).kind == "outbox"
    await house.refresh(VIEWS)
    assert await house.fetch(POSITION) == [("outbox", "first_read")]


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("system", "1", "source_replaced"),
        ("timeline", "00000009", "source_replaced"),
        ("database", "1", "source_replaced"),
        ("tables", "hfj_resource:1", "tables_replaced"),
    ],
)
async def test_other_source_under_the_same_address_is_compared(
    together: Warehouse, part: str, value: str, reason: str
) -> None:
    """As after a point-in-time recovery or a restored dump."""
    await together.fetch(
        "UPDATE researchflow.feed_position SET identity = identity || jsonb_build_object($1::text,"
        " $2::text)",
        part,
        value,
    )
    await together.fetch("UPDATE researchflow.ledger SET res_ver = 9")
    assert (await together.refresh(VIEWS)).changed == 1
    assert await together.fetch(POSITION) == [("outbox", reason)]


@pytest.mark.failure("source-restored")
async def test_source_restored_from_an_older_copy_is_compared(
    postgres_dsn: str, own_directory: Path
) -> None:
    """The same cluster, database and tables; its transactions have passed the position again."""
    server = PostgresServer(own_directory, volatile=True)
    await server.start()
    try:
        source = await Database.connect(server.dsn)
        await create_hapi_tables(source)
        await install_outbox(source)
        await put_resource(source, patient("old"))
        await source.close()
        await server.stop()
        files = own_directory / "postgres"
        await anyio.run_process(["cp", "-a", str(files), str(own_directory / "copy")])
        await server.start()
        async with open_warehouse(postgres_dsn, server.dsn) as house:
            await house.refresh(VIEWS)
            await house.put(patient("lost"))
            await house.refresh(VIEWS)
            assert await house.fetch(POSITION) == [("outbox", None)]
        await server.stop()
        shutil.rmtree(files)
        (own_directory / "copy").rename(files)
        await server.start()
        async with open_warehouse(postgres_dsn, server.dsn) as house:
            await house.put(*(patient(f"p{number}") for number in range(5)))
            await house.refresh(VIEWS)
            assert await house.fetch(POSITION) == [("outbox", "changes_missing")]
            assert await _ids(house) == ["old", *(f"p{number}" for number in range(5))]
    finally:
        await server.stop()


async def test_source_whose_transactions_lie_behind_the_position_is_compared(
    together: Warehouse,
) -> None:
    await together.fetch("UPDATE researchflow.feed_position SET snapshot = '900000000:900000000:'")
    await together.refresh(VIEWS)
    assert await together.fetch(POSITION) == [("outbox", "source_older")]


@in_both
async def test_new_view_is_built_from_a_comparison(house: Warehouse) -> None:
    await house.put(patient("new", active=True))
    await house.refresh((PEOPLE_ACTIVE, RESULTS))
    assert await house.fetch(POSITION) == [("outbox", "view_built")]
    assert await house.rows() == [("new", True), ("old", None)]


async def test_show_is_what_install_runs_and_check_names_what_is_missing(
    together: Warehouse,
) -> None:
    source = together.source.database
    await remove_outbox(source)
    state = await check_outbox(source)
    assert (state.kind, state.reason, set(state.missing)) == ("scan", "not_installed", TRIGGERS)
    ddl = await show_outbox(source, role="reader of researchflow")
    assert 'GRANT SELECT, DELETE ON researchflow_outbox.change TO "reader of researchflow"' in ddl
    await together.fetch("SELECT 1")
    async with source.session() as session:
        await session.execute(await show_outbox(source))
    assert (await check_outbox(source)).kind == "outbox"


async def test_reading_role_needs_the_grants_and_no_more(
    together: Warehouse, postgres_dsn: str
) -> None:
    source = together.source.database
    async with source.session() as session:
        await session.execute("DROP ROLE IF EXISTS rf_reader; CREATE ROLE rf_reader LOGIN")
        await session.execute("GRANT SELECT ON hfj_resource, hfj_res_ver, hfj_res_tag TO rf_reader")
    reader = await Database.connect(_as(postgres_dsn, "rf_reader"))
    try:
        assert (await check_outbox(reader)).reason == "no_rights"
        with pytest.raises(SourceDataError) as refused:
            await install_outbox(reader)
        assert refused.value.code == "source_rights_missing"
        await install_outbox(source, role="rf_reader")
        assert (await check_outbox(reader)).kind == "outbox"
    finally:
        await reader.close()
        async with source.session() as session:
            await session.execute("DROP OWNED BY rf_reader; DROP ROLE rf_reader")


async def test_writers_need_no_right_on_the_outbox(together: Warehouse, postgres_dsn: str) -> None:
    async with together.source.database.session() as session:
        await session.execute("DROP ROLE IF EXISTS rf_hapi; CREATE ROLE rf_hapi LOGIN")
        await session.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO rf_hapi")
        await session.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO rf_hapi")
    hapi = await Database.connect(_as(postgres_dsn, "rf_hapi"))
    try:
        await put_resource(hapi, patient("theirs"))
    finally:
        await hapi.close()
        async with together.source.database.session() as session:
            await session.execute("DROP OWNED BY rf_hapi; DROP ROLE rf_hapi")
    assert (await together.refresh(VIEWS)).changed == 1


async def test_role_that_is_not_there_is_named_and_nothing_is_installed(
    together: Warehouse,
) -> None:
    source = together.source.database
    await remove_outbox(source)
    with pytest.raises(SourceDataError) as refused:
        await install_outbox(source, role="nobody here")
    assert refused.value.code == "role_unknown"
    assert "nobody here" in refused.value.message
    assert (await check_outbox(source)).reason == "not_installed"


async def test_install_gives_up_behind_a_long_transaction(
    together: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.feed.prepare.LOCK_TIMEOUT_S", 0.1)
    await remove_outbox(together.source.database)
    async with together.source.database.transaction() as long:
        await long.execute("UPDATE hfj_resource SET res_ver = res_ver")
        with pytest.raises(StoreError) as refused:
            await install_outbox(together.source.database)
    assert (refused.value.code, refused.value.retryable) == ("source_busy", True)


@pytest.mark.parametrize(
    ("snapshot", "newest", "expected"),
    [
        ("10:20:12,15", 30, "10:31:12,15"),
        ("10:20:12,15", 14, "10:15:12"),
        ("10:20:12,15", 5, "6:6:"),
        ("20:20:", 18, "19:19:"),
    ],
)
def test_position_ends_with_the_newest_change(snapshot: str, newest: int, expected: str) -> None:
    assert capped(snapshot, newest) == expected


def _as(dsn: str, role: str) -> str:
    """The same database for another role."""
    return dsn.replace("://postgres@", f"://{role}@")


async def test_newest_row_is_that_of_the_highest_number(together: Warehouse) -> None:
    """Not as text: 9 comes before 10."""
    async with together.source.database.session() as session:
        await session.execute("TRUNCATE researchflow_outbox.change")
        await session.execute(
            "INSERT INTO researchflow_outbox.change (xid) VALUES ('9'), ('10'), ('11')"
        )
    state = await check_outbox(together.source.database)
    assert state.witness is not None
    assert state.witness.startswith("11 ")


@in_both
async def test_pending_changes_are_told_with_the_date_of_the_change(house: Warehouse) -> None:
    """Dates of versions are the server's request times; tags and expunged resources have none."""
    await house.put(patient("a"), patient("b"))
    await house.refresh(VIEWS)
    async with house.source.database.session() as session:
        before = await session.fetchval("SELECT clock_timestamp()")
    await house.expunge("Patient/a")
    await house.put(patient("c"), result("r", "c", 1.0))
    await house.fetch("UPDATE researchflow.ledger SET res_ver = 9 WHERE id = 'b'")
    found = await check_source(house.database, house.source, ["Patient", "Observation"])
    assert {one.resource_type: one.pending for one in found} == {"Patient": 2, "Observation": 1}
    assert all(one.oldest_pending_at and one.oldest_pending_at >= before for one in found)
    await house.refresh(VIEWS)
    found = await check_source(house.database, house.source, ["Patient", "Observation"])
    assert [(one.pending, one.oldest_pending_at) for one in found] == [(0, None), (0, None)]
