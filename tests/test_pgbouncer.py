"""Behind PgBouncer: a session of one's own is taken, a shared one is refused by name."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from clinic import patient
from prometheus_server import until
from researchflow_runners.errors import AddressError
from researchflow_runners.store.database import Database
from researchflow_server.embedded.placement import service_account
from tool_server import tool_server

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
START_S = 10
CONFIGURATION = """
[databases]
{database} = host={sockets} port=5432 dbname={database} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
logfile = {home}/pgbouncer.log
"""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")


@asynccontextmanager
async def pooled(dsn: str, home: Path, *, mode: str) -> AsyncIterator[str]:
    """The database by way of a PgBouncer of that mode, its settings Debian's otherwise."""
    assert PROGRAM is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = urlsplit(dsn).path[1:]
    sockets = parse_qs(urlsplit(dsn).query)["host"][0]
    file = home / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(database=database, sockets=sockets, port=port, mode=mode, home=home)
    )
    account = service_account()
    if account is not None:
        os.chown(home, account.uid, account.gid)
    as_account = {} if account is None else {"user": account.uid, "group": account.gid}
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "-q", str(file)), stderr=asyncio.subprocess.DEVNULL, **as_account
    )
    try:
        assert await until(lambda: listens(port), timeout_s=START_S)
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
    finally:
        process.kill()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_session_of_ones_own_serves_every_tool(
    postgres_dsn: str, redis_url: str, own_directory: Path, tmp_path: Path
) -> None:
    async with (
        pooled(postgres_dsn, own_directory, mode="session") as url,
        tool_server(url, redis_url, tmp_path) as server,
    ):
        await server.put(patient("ada"))
        await server.call("refresh_views")
        await server.call("cache_resources", resources=[patient("bea")])
        for _time in range(3):
            answer = await server.call("query_view", view="patient_simple", columns=["id"])
            assert [row[0] for row in answer["rows"]] == ["ada", "bea"]


async def test_deadlines_hold_behind_a_pooler(postgres_dsn: str, own_directory: Path) -> None:
    async with pooled(postgres_dsn, own_directory, mode="session") as url:
        database = await Database.connect(url, statement_timeout_s=7)
        async with database.session() as session:
            assert await session.fetchval("SHOW statement_timeout") == "7s"
            assert await session.fetchval("SHOW jit") == "off"
        await database.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.failure("pooler-shares-sessions")
async def test_a_shared_session_is_refused_by_name(
    postgres_dsn: str, own_directory: Path, mode: str
) -> None:
    async with pooled(postgres_dsn, own_directory, mode=mode) as url:
        for _time in range(3):
            with pytest.raises(AddressError) as refused:
                await Database.connect(url)
            assert refused.value.code == "pooler_unfit"
            assert "session" in refused.value.hint
