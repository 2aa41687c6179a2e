"""A backup in an S3-compatible store comes back like one in a folder."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx2
import obstore
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from researchflow_runners.backup.restore import restore_backup
from researchflow_runners.backup.save import save_backup
from researchflow_runners.backup.target import open_target
from researchflow_runners.batch.anchors import pin_anchor
from researchflow_runners.batch.verify import verify_anchor
from researchflow_runners.errors import BackupError
from s3_server import BUCKET, s3_server
from test_backup import FORGET
from warehouse import PEOPLE, Warehouse, open_warehouse, patient

PLACE = f"s3://{BUCKET}/researchflow/one"


@pytest.fixture(scope="module")
def s3() -> Iterator[ThreadedMotoServer]:
    with pytest.MonkeyPatch.context() as environment, s3_server(environment) as server:
        yield server


@pytest_asyncio.fixture
async def bucket(s3: ThreadedMotoServer) -> str:
    """The address of a bucket that holds nothing."""
    host, port = s3.get_host_and_port()
    async with httpx2.AsyncClient(base_url=f"http://{host}:{port}") as http:
        assert (await http.post("/moto-api/reset")).status_code == 200
        assert (await http.put(f"/{BUCKET}")).status_code == 200
    return f"http://{host}:{port}/{BUCKET}"


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as house:
        await house.put(patient("a"), patient("b", gender="male"))
        await house.refresh([PEOPLE])
        await pin_anchor(house.database, "paper", 1)
        yield house


async def forget(house: Warehouse) -> None:
    async with house.database.session() as session:
        await session.execute(FORGET)
    await house.database.install_schema()


async def test_backup_in_a_bucket_comes_back(house: Warehouse, bucket: str) -> None:
    saved = await save_backup(house.database, open_target(PLACE))
    await forget(house)
    restored = await restore_backup(house.database, open_target(PLACE))
    assert restored.saved == saved
    verdict = await verify_anchor(house.database, "paper")
    assert [(one.view, one.outcome, one.rows) for one in verdict.views] == [("people", "same", 2)]


async def test_bucket_that_holds_a_backup_is_refused(house: Warehouse, bucket: str) -> None:
    await save_backup(house.database, open_target(PLACE))
    with pytest.raises(BackupError) as caught:
        await save_backup(house.database, open_target(PLACE))
    assert caught.value.code == "backup_exists"
    await save_backup(house.database, open_target(f"s3://{BUCKET}/researchflow/two"))


async def test_damaged_and_missing_objects_are_named(house: Warehouse, bucket: str) -> None:
    await save_backup(house.database, open_target(PLACE))
    await forget(house)
    store = S3Store.from_url(PLACE)
    for expected, change in (
        ("backup_damaged", lambda: obstore.put_async(store, "rows-1-0.copy", b"x")),
        ("backup_incomplete", lambda: obstore.delete_async(store, "rows-1-0.copy")),
        ("backup_incomplete", lambda: obstore.delete_async(store, "manifest.json")),
    ):
        await change()
        with pytest.raises(BackupError) as caught:
            await restore_backup(house.database, open_target(PLACE))
        assert caught.value.code == expected
        assert PLACE in caught.value.message


async def test_bucket_that_is_not_there_is_named(house: Warehouse, bucket: str) -> None:
    with pytest.raises(BackupError) as caught:
        await save_backup(house.database, open_target("s3://elsewhere/one"))
    assert caught.value.code == "target_unusable"


@pytest.mark.parametrize(
    ("given", "named"),
    [({}, "no AWS_ACCESS_KEY_ID is set"), ({"AWS_ACCESS_KEY_ID": "test"}, "AWS_* settings")],
)
async def test_settings_that_are_not_there_are_named(
    given: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as no_role:
        thread = Thread(target=no_role.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{no_role.server_port}")
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        try:
            with pytest.raises(BackupError) as caught:
                await open_target(PLACE).exists("manifest.json")
        finally:
            no_role.shutdown()
            thread.join()
    assert (caught.value.code, caught.value.field) == ("target_unusable", "target")
    assert named in caught.value.message
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        assert name in caught.value.hint


async def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "researchflow_runners.backup.object_store", raising=False)
    with pytest.raises(BackupError) as caught:
        open_target(PLACE)
    assert caught.value.code == "s3_not_installed"
    monkeypatch.undo()
    assert importlib.import_module("researchflow_runners.backup.object_store")
