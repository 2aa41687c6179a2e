"""What cannot be rebuilt comes back from a backup; everything else comes back from the source."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from clinic import lab, patient
from composed import sql_view
from researchflow_runners.backup.restore import restore_backup
from researchflow_runners.backup.save import Saved, save_backup
from researchflow_runners.backup.target import FolderTarget
from researchflow_runners.batch.anchors import describe_anchor, pin_anchor
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.verify import verify_anchor
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import BackupError, ResearchFlowError
from researchflow_runners.query.model import Query
from researchflow_runners.source.load import delete_resource, put_resource
from researchflow_runners.speed.change import Change
from researchflow_server.cli.restore import restore
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.runtime.views import keep_composed
from researchflow_server.settings import Settings
from warehouse import PEOPLE, PEOPLE_ACTIVE, Warehouse, open_warehouse

OVER_PEOPLE = sql_view("census", "SELECT gender, count(*) AS n FROM people GROUP BY gender",
                       people="people")  # fmt: skip
FORGET = """
DROP SCHEMA IF EXISTS researchflow CASCADE; DROP SCHEMA IF EXISTS sqlonfhir CASCADE;
DROP SCHEMA IF EXISTS sqlonfhir_live CASCADE
"""


@pytest.fixture
def settings(postgres_dsn: str, source_dsn: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        database_url=postgres_dsn,
        source_url=source_dsn,
        redis_url=redis_url,
    )


@pytest_asyncio.fixture
async def lived_in(settings: Settings) -> AsyncIterator[Runtime]:
    """Pins of three definitions of `people`, one of them held no more, and changes that wait.

    Of the second pin a patient is missing who is gone since.
    """
    async with open_runtime(settings, background=False) as runtime:
        await put(runtime, patient("a"), lab("x", "a", 5.5))
        await runtime.refresher.refresh()
        await register(runtime, PEOPLE_ACTIVE)
        await pin_anchor(runtime.stores.warehouse, "first", 2)
        await register(runtime, PEOPLE)
        await keep_composed(runtime, OVER_PEOPLE)
        await put(runtime, patient("a", gender="male", birthDate="1980-02"), patient("b"))
        await put(runtime, patient("ill", birthDate="soon"))
        await runtime.refresher.refresh()
        await pin_anchor(runtime.stores.warehouse, "second", 4)
        await pin_anchor(runtime.stores.warehouse, "again", 4)
        for gone in ("a", "ill"):
            await delete_resource(runtime.stores.source, "Patient", gone)
        await runtime.refresher.refresh()
        await cache(runtime, Change.put(patient("new", active=True)))
        await cache(runtime, Change.delete("Patient", "b"))
        yield runtime


async def put(runtime: Runtime, *resources: dict[str, Any]) -> None:
    for one in resources:
        await put_resource(runtime.stores.source, one)


async def register(runtime: Runtime, definition: dict[str, Any]) -> None:
    change = CatalogueChange(register=compile_view(definition))
    await runtime.refresher.refresh(change=change)


async def cache(runtime: Runtime, change: Change) -> None:
    (outcome,) = await runtime.writer.apply([change], provenance="test")
    assert outcome.outcome == "stored"


async def lose_everything(settings: Settings) -> None:
    """The warehouse dropped, Redis flushed; the FHIR server's database is another one."""
    assert settings.database_url is not None
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(FORGET)
    await connection.close()
    redis = Redis.from_url(str(settings.redis_url))
    await redis.flushall()
    await redis.aclose()


async def rows(runtime: Runtime, view: str, **asked: Any) -> list[Any]:
    answer = await runtime.hybrid.query(Query.model_validate({"view": view, **asked}))
    return sorted(answer.rows, key=repr)


async def state(runtime: Runtime, *, pins: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every row that can be asked for, live and at the pins, what proves them, what is missing."""
    told: dict[str, Any] = {}
    for view in ("people", "census", "patient_simple", "observation_labs"):
        told[view] = await rows(runtime, view)
        for pin in pins:
            if (view, pin) != ("census", "first"):
                told[view, pin] = await rows(runtime, view, as_of=pin)
    async with runtime.stores.warehouse.snapshot() as session:
        for pin in pins:
            content = await describe_anchor(session, pin)
            told[pin] = (content.info, content.content_hash, content.views)
    return told


PINS = ("first", "second", "again")


async def test_drill_ends_in_equal_rows(
    lived_in: Runtime, settings: Settings, tmp_path: Path
) -> None:
    before = await state(lived_in, pins=PINS)
    assert before["people", "first"] == [("a", None)]
    assert before["people", "second"] == [("a", "male", "1980-02"), ("b", "female", None)]
    assert before["people"] == [("new", "female", None)]
    missing = {one.view: one.missing for one in before["second"][2]}
    assert [missing[view] for view in ("people", "census", "observation_labs")] == [1, 1, 0]
    target = FolderTarget(tmp_path / "backup")
    saved = await save_backup(lived_in.stores.warehouse, target)
    assert (saved.anchors, saved.pins, saved.provisional) == (2, 3, 2)
    assert (saved.registered, saved.composed) == (1, 1)
    await lose_everything(settings)
    async with open_runtime(settings, background=False) as runtime:
        restored, refused = await restore(runtime, target)
        assert (restored.saved, refused) == (saved, [])
        assert await state(runtime, pins=PINS) == before
        for pin in PINS:
            assert (await verify_anchor(runtime.stores.warehouse, pin)).holds
        with pytest.raises(ResearchFlowError) as caught:
            await rows(runtime, "people", as_of=3)
        assert caught.value.code == "anchor_expired"


async def test_provisional_changes_are_given_back_to_redis(
    lived_in: Runtime, settings: Settings, tmp_path: Path
) -> None:
    target = FolderTarget(tmp_path / "backup")
    await save_backup(lived_in.stores.warehouse, target)
    await lose_everything(settings)
    async with open_runtime(settings, background=False) as runtime:
        await restore(runtime, target)
        await runtime.projector.drain()
        found = await runtime.stores.redis.scan_recent_resources("Patient")
        assert "new" in {one.resource_id for one in found}
        assert await rows(runtime, "people") == [("new", "female", None)]


async def test_everything_else_is_rebuilt_from_the_source(
    lived_in: Runtime, settings: Settings
) -> None:
    """Without a backup: the shipped views are what they were, provisional changes are gone."""
    names = ("patient_simple", "observation_labs")
    anchored = [await rows(lived_in, name, freshness="anchored") for name in names]
    hashes = await content_hashes(lived_in)
    await lose_everything(settings)
    async with open_runtime(settings, background=False) as runtime:
        await runtime.refresher.refresh()
        assert [await rows(runtime, name) for name in names] == anchored
        assert await content_hashes(runtime) == hashes


async def content_hashes(runtime: Runtime) -> dict[str, Any]:
    """By shipped view, of the current anchor."""
    async with runtime.stores.warehouse.snapshot() as session:
        anchor = await session.fetchval("SELECT max(anchor) FROM researchflow.anchor")
        views = (await describe_anchor(session, anchor)).views
    return {one.view: one.content_hash for one in views if one.view in runtime.shipped}


async def test_empty_warehouse_gives_an_empty_backup_that_restores(
    settings: Settings, tmp_path: Path
) -> None:
    async with open_runtime(settings, background=False) as runtime:
        target = FolderTarget(tmp_path / "backup")
        saved = await save_backup(runtime.stores.warehouse, target)
        assert saved == Saved(0, 0, 0, 0, 0, 0, 0)
        restored, refused = await restore(runtime, target)
        assert (restored.saved, refused) == (saved, [])
        assert await rows(runtime, "patient_simple") == []


@pytest.mark.failure("restore-view-refused")
async def test_definition_that_is_refused_now_is_named_and_the_rest_restored(
    lived_in: Runtime, settings: Settings, tmp_path: Path
) -> None:
    target = FolderTarget(tmp_path / "backup")
    async with lived_in.stores.warehouse.session() as session:
        await session.execute(
            "UPDATE researchflow.view_catalogue SET definition ="
            " jsonb_set(definition, '{resource}', '\"Nothing\"') WHERE view_name = 'people'"
        )
    await save_backup(lived_in.stores.warehouse, target)
    await lose_everything(settings)
    async with open_runtime(settings, background=False) as runtime:
        _restored, refused = await restore(runtime, target)
        assert [name for name, _error in refused] == ["people", "census"]
        assert await rows(runtime, "people", as_of="first") == [("a", None)]
        assert len(await rows(runtime, "patient_simple")) == 1


async def test_view_with_parameters_takes_its_values_after_a_restore(
    settings: Settings, lived_in: Runtime, tmp_path: Path
) -> None:
    sql = "SELECT id FROM people WHERE gender = :gender"
    taking = {
        **sql_view("of_gender", sql, people="people"),
        "parameter": [{"name": "gender", "use": "in", "type": "code"}],
    }
    await keep_composed(lived_in, taking)
    target = FolderTarget(tmp_path / "backup")
    await save_backup(lived_in.stores.warehouse, target)
    await lose_everything(settings)
    async with open_runtime(settings, background=False) as runtime:
        _restored, refused = await restore(runtime, target)
        assert refused == []
        counts = {
            gender: len(await rows(runtime, "of_gender", parameters={"gender": gender}))
            for gender in ("female", "male")
        }
        assert counts == {"female": 1, "male": 0}


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    """A pin of a definition since replaced, and a change that waits."""
    async with open_warehouse(postgres_dsn) as house:
        await house.put(patient("a"), patient("b"))
        await house.refresh([PEOPLE])
        await pin_anchor(house.database, "first", 1)
        await house.refresh([PEOPLE_ACTIVE])
        await house.enter("c", 1, None, origin="provisional")
        yield house


async def test_files_belong_to_their_owner_alone(house: Warehouse, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "backup"
    await save_backup(house.database, FolderTarget(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}
    assert modes == {0o600}
    assert not list(folder.glob("*.part"))


@pytest.mark.failure("backup-exists")
async def test_place_that_holds_a_backup_is_refused(house: Warehouse, tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "backup")
    await save_backup(house.database, target)
    with pytest.raises(BackupError) as caught:
        await save_backup(house.database, target)
    assert caught.value.code == "backup_exists"


@pytest.mark.failure("anchor-differs")
async def test_rows_that_were_changed_behind_our_back_are_not_saved(
    house: Warehouse, tmp_path: Path
) -> None:
    async with house.database.session() as session:
        table = await session.fetchval("SELECT base_table FROM researchflow.former_view")
        await session.execute(f"UPDATE researchflow.{table} SET gender = 'other'")
    with pytest.raises(BackupError) as caught:
        await save_backup(house.database, FolderTarget(tmp_path / "backup"))
    assert caught.value.code == "anchor_differs"
    with pytest.raises(BackupError) as caught:
        await restore_backup(house.database, FolderTarget(tmp_path / "backup"))
    assert caught.value.code == "backup_incomplete"


@pytest_asyncio.fixture
async def backup(house: Warehouse, tmp_path: Path) -> Path:
    """A backup, and nothing else any more."""
    await save_backup(house.database, FolderTarget(tmp_path / "backup"))
    async with house.database.session() as session:
        await session.execute(FORGET)
    await house.database.install_schema()
    return tmp_path / "backup"


def _largest(folder: Path) -> Path:
    return max(folder.glob("*.copy"), key=lambda one: one.stat().st_size)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _rewrite(folder: Path, **parts: Any) -> None:
    """The manifest with other parts and a fitting sum."""
    file = folder / "manifest.json"
    inner = {**json.loads(json.loads(file.read_text())["manifest"]), **parts}
    text = json.dumps(inner)
    file.write_text(
        json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "manifest": text})
    )


DAMAGE: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "backup_incomplete", "manifest.json"),
    "half a manifest": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:-40]),
        "backup_damaged",
        "manifest.json",
    ),
    "changed manifest": (
        lambda f: (f / "manifest.json").write_text(
            (f / "manifest.json").read_text().replace("Patient", "Person")
        ),
        "backup_damaged",
        "manifest.json",
    ),
    "other format": (lambda f: _rewrite(f, format="x"), "backup_damaged", "manifest.json"),
    "newer": (lambda f: _rewrite(f, version=3, more=1), "backup_newer", "3"),
    "no rows": (lambda f: _largest(f).unlink(), "backup_incomplete", ".copy"),
    "one bit": (lambda f: _flip(_largest(f)), "backup_damaged", ".copy"),
    "cut rows": (lambda f: _largest(f).write_bytes(b""), "backup_damaged", ".copy"),
    "more lines": (
        lambda f: (f / "provisional.ndjson").write_bytes(
            (f / "provisional.ndjson").read_bytes() * 2
        ),
        "backup_damaged",
        "provisional.ndjson",
    ),
}


@pytest.mark.failure("backup-damaged")
@pytest.mark.failure("backup-incomplete")
@pytest.mark.failure("backup-newer")
@pytest.mark.parametrize("damage", DAMAGE)
async def test_damaged_backup_is_refused_by_name_and_restores_nothing(
    house: Warehouse, backup: Path, damage: str
) -> None:
    harm, code, named = DAMAGE[damage]
    harm(backup)
    with pytest.raises(BackupError) as caught:
        await restore_backup(house.database, FolderTarget(backup))
    assert caught.value.code == code
    assert named in caught.value.message
    async with house.database.session() as session:
        for table in ("anchor", "pin", "former_view", "overlay_entry", "content", "missing"):
            assert await session.fetchval(f"SELECT count(*) FROM researchflow.{table}") == 0


async def test_backup_of_before_it_was_kept_says_that_what_is_missing_is_unknown(
    house: Warehouse, backup: Path
) -> None:
    inner = json.loads(json.loads((backup / "manifest.json").read_text())["manifest"])
    anchors = [{k: v for k, v in one.items() if k != "missing_kept"} for one in inner["anchors"]]
    files = {name: file for name, file in inner["files"].items() if name != "missing.ndjson"}
    _rewrite(backup, version=1, anchors=anchors, files=files)
    await restore_backup(house.database, FolderTarget(backup))
    async with house.database.snapshot() as session:
        content = await describe_anchor(session, "first")
    assert [(one.view, one.missing) for one in content.views] == [("people", None)]


async def test_rows_that_do_not_give_their_hash_are_refused(house: Warehouse, backup: Path) -> None:
    inner = json.loads(json.loads((backup / "manifest.json").read_text())["manifest"])
    inner["rows"][0]["content_hash"] = "sha256:0"
    _rewrite(backup, rows=inner["rows"])
    with pytest.raises(BackupError) as caught:
        await restore_backup(house.database, FolderTarget(backup))
    assert caught.value.code == "backup_damaged"


@pytest.mark.failure("restore-not-empty")
async def test_warehouse_that_holds_something_is_left_alone(
    house: Warehouse, tmp_path: Path
) -> None:
    target = FolderTarget(tmp_path / "backup")
    await save_backup(house.database, target)
    before = await house.rows()
    with pytest.raises(BackupError) as caught:
        await restore_backup(house.database, target)
    assert caught.value.code == "warehouse_not_empty"
    assert await house.rows() == before


@pytest.mark.failure("backup-place-unusable")
async def test_folder_that_cannot_be_written_is_named(house: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError) as caught:
        await save_backup(house.database, FolderTarget(tmp_path / "file" / "backup"))
    assert caught.value.code == "target_unusable"
