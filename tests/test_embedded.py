"""The embedded services through their public door."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded import (
    PostgresServer,
    Services,
    embedded_services,
    placement,
    running,
    services_in,
    stop_services,
)
from researchflow_server.embedded import redis as redis_module


async def _value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.failure("server-killed")
async def test_what_was_committed_survives_a_kill_of_both_services(own_services: Services) -> None:
    connection = await asyncpg.connect(own_services.postgres_dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    connection.terminate()
    client = Redis.from_url(own_services.redis_url)
    await client.set("kept", "8")
    await client.aclose()

    await own_services.postgres.kill()
    await own_services.redis.kill()
    assert own_services.postgres.pid() is None
    assert own_services.redis.pid() is None
    await own_services.start()

    assert await _value(own_services.postgres_dsn, "SELECT n FROM kept") == 7
    client = Redis.from_url(own_services.redis_url)
    assert await client.get("kept") == b"8"
    await client.aclose()


async def test_the_second_user_keeps_the_services_after_the_first_left(own_directory: Path) -> None:
    first = embedded_services(own_directory, volatile=True)
    started = await first.__aenter__()
    pid = started.postgres.pid()
    async with embedded_services(own_directory, volatile=True) as second:
        assert second.postgres.pid() == pid
        await first.__aexit__(None, None, None)
        assert await _value(second.postgres_dsn, "SELECT 1") == 1
        assert running(own_directory)
    assert not running(own_directory)
    assert started.postgres.pid() is None
    assert started.redis.pid() is None


async def test_explicit_stop_ends_services_that_were_kept(own_directory: Path) -> None:
    async with embedded_services(own_directory, volatile=True, keep_running=True):
        pass
    assert running(own_directory)
    assert await stop_services(own_directory) is True
    assert not running(own_directory)
    assert await stop_services(own_directory) is False


async def test_text_sorts_by_byte_and_case_knows_unicode(services: Services) -> None:
    order = "SELECT string_agg(t, '' ORDER BY t) FROM unnest(array['b','B','a','ä','A']) t"
    assert await _value(services.postgres_dsn, order) == "ABabä"
    assert await _value(services.postgres_dsn, "SELECT lower('ÄÖÜ')") == "äöü"
    assert await _value(services.postgres_dsn, "SHOW jit") == "off"


async def test_redis_never_evicts_and_appends(services: Services) -> None:
    client = Redis.from_url(services.redis_url)
    policy = await client.config_get("maxmemory-policy")
    append = await client.config_get("appendonly")
    await client.aclose()
    assert policy == {"maxmemory-policy": "noeviction"}
    assert append == {"appendonly": "yes"}


async def test_what_the_services_write_is_for_their_user_alone(own_directory: Path) -> None:
    home = own_directory / "new" / "embedded"
    async with embedded_services(home, volatile=True) as started:
        client = Redis.from_url(started.redis_url)
        await client.set("fhir:{Patient}:1", "a name")
        await client.aclose()
        cluster = (home / "postgres").resolve()
        written = [home, cluster, cluster.with_name(f"{cluster.name}.log"), *home.rglob("*")]
        assert any("aof" in path.name for path in written)
        open_to_others = [
            path for path in written if not path.is_symlink() and path.stat().st_mode & 0o077
        ]
        assert [path for path in open_to_others if not path.is_socket()] == []
        assert home.stat().st_mode & 0o777 == 0o700


def test_what_a_command_writes_is_for_its_user_alone(own_directory: Path) -> None:
    report = own_directory / "report.json"
    cases = own_directory / "cases"
    cases.mkdir()
    suite = {"title": "none", "fhirVersion": ["4.0.1"], "resources": [], "tests": []}
    (cases / "none.json").write_text(json.dumps(suite))
    code = "import sys; from researchflow_server.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "conformance", str(cases), "--report", str(report)]
    environment = {**os.environ, "RESEARCHFLOW_HOME": str(own_directory / "home")}
    subprocess.run(command, check=False, env=environment, capture_output=True, timeout=60)
    written = [path for path in own_directory.rglob("*") if cases not in (path, path.parent)]
    assert report in written
    assert [path for path in written if path.stat().st_mode & 0o077] == []


async def test_another_major_version_is_refused_by_name(own_directory: Path) -> None:
    cluster = own_directory / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("15\n")
    with pytest.raises(ServiceError) as caught:
        await PostgresServer(own_directory).start()
    assert caught.value.code == "data_directory_version"
    assert "postgresql 15" in caught.value.message
    assert str(own_directory) in caught.value.message


async def test_unknown_major_version_lists_the_known_ones(own_directory: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        await PostgresServer(own_directory, major=12).start()
    assert caught.value.code == "binary_missing"
    assert caught.value.allowed == ("18", "16")


async def test_missing_redis_server_says_what_to_install(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(redis_module, "find_spec", lambda name: None)
    with pytest.raises(ServiceError) as caught:
        await services_in(own_directory).redis.start()
    assert caught.value.code == "binary_missing"


def _server_that_says(folder: Path, name: str, told: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "told", "is_chosen"),
    [
        ("redis-server", "Redis server v=99.0.1 sha=0:0 malloc=libc", True),
        ("valkey-server", "Valkey server v=99.0.1 sha=0:0 malloc=libc", True),
        ("redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc", False),
        ("redis-server", "no server of ours", False),
    ],
)
def test_the_newest_redis_is_started(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str, is_chosen: bool
) -> None:
    _server_that_says(own_directory, name, told)
    monkeypatch.setenv("PATH", str(own_directory))
    assert (redis_module._program().parent == own_directory) is is_chosen


async def test_the_file_of_an_older_redis_is_read_back(own_directory: Path) -> None:
    home = own_directory / "redis"
    home.mkdir()
    command = [b"SET", b"kept", b"8"]
    text = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)
    (home / "appendonly.aof").write_bytes(b"*3\r\n" + text)
    server = services_in(own_directory).redis
    await server.start()
    client = Redis.from_url(server.url)
    assert await client.get("kept") == b"8"
    await client.aclose()
    await server.stop()


async def test_directory_below_a_file_is_refused(own_directory: Path) -> None:
    (own_directory / "file").write_text("")
    with pytest.raises(ServiceError) as caught:
        services_in(own_directory / "file" / "data")
    assert caught.value.code == "directory_unusable"


async def test_long_paths_still_get_sockets(own_directory: Path) -> None:
    deep = own_directory / ("d" * 60) / ("e" * 60)
    async with embedded_services(deep, volatile=True) as started:
        assert await _value(started.postgres_dsn, "SELECT 1") == 1
        client = Redis.from_url(started.redis_url)
        assert await client.ping()
        await client.aclose()


async def test_each_test_gets_an_empty_hapi_database(postgres_dsn: str, source_dsn: str) -> None:
    assert postgres_dsn != source_dsn
    assert await _value(postgres_dsn, "SELECT count(*) FROM hfj_resource") == 0
    assert await _value(source_dsn, "SELECT count(*) FROM hfj_res_ver") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account run PostgreSQL")
async def test_root_may_keep_its_directory_where_no_other_account_reaches(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "ROOT_HOME", own_directory / "open")
    closed = own_directory / "closed"
    closed.mkdir(mode=0o700)
    async with embedded_services(closed / "data", volatile=True) as started:
        assert await _value(started.postgres_dsn, "SELECT 1") == 1
    assert (closed / "data" / "postgres").resolve().parent == own_directory / "open"
    assert closed.stat().st_mode & 0o777 == 0o700
    async with embedded_services(closed / "data", volatile=True) as started:
        assert await _value(started.postgres_dsn, "SELECT 2") == 2


def test_programs_out_of_reach_are_copied_once(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "ROOT_HOME", own_directory / "open")
    programs = own_directory / "closed" / "pginstall"
    (programs / "bin").mkdir(parents=True)
    (programs / "bin" / "postgres").write_text("binary")
    nobody = placement.Account("nobody", 65534, 65534)
    assert placement.reachable_programs(programs, nobody) == programs
    (own_directory / "closed").chmod(0o700)
    copy = placement.reachable_programs(programs, nobody)
    assert (copy / "bin" / "postgres").read_text() == "binary"
    assert placement.is_reachable(copy / "bin", nobody)
    assert placement.reachable_programs(programs, nobody) == copy


async def test_socket_folder_of_somebody_else_is_refused(own_directory: Path) -> None:
    (own_directory / "target").mkdir()
    (own_directory / "redis-socket").symlink_to(own_directory / "target")
    with pytest.raises(ServiceError) as caught:
        await services_in(own_directory).redis.start()
    assert caught.value.code == "directory_unusable"


async def test_a_killed_user_does_not_keep_the_services(own_directory: Path) -> None:
    program = (
        "import asyncio, os, pathlib, sys\n"
        "from researchflow_server.embedded import embedded_services\n"
        "async def main():\n"
        "    async with embedded_services(pathlib.Path(sys.argv[1]), volatile=True):\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(own_directory)]
    ended = await asyncio.to_thread(subprocess.run, command, check=False)
    assert ended.returncode == -9
    assert running(own_directory)
    async with embedded_services(own_directory, volatile=True):
        pass
    assert not running(own_directory)
