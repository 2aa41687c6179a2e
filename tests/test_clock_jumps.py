"""The server's clock jumps by a day, either way: ages are the database's, and nothing stops."""

from __future__ import annotations

import asyncio
import glob
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from clinic import patient
from prometheus_server import until
from researchflow_server.settings import Settings, child_environment, read_settings

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
START_S = 40
DAY_S = 86_400

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")


@asynccontextmanager
async def serving(settings: Settings, clock: Path) -> AsyncIterator[str]:
    """The address of a server whose clock is as far off as the file says."""
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "researchflow_server", "serve", "--http"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**child_environment(settings), **faked},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            greeting = (await process.stdout.readline()).decode()
        assert "http://" in greeting
        yield greeting.split()[-1]
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    file = tmp_path / "clock"
    file.write_text("+0d")
    return file


async def structured(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


@pytest.mark.parametrize("jump", ["+1d", "-1d"])
@pytest.mark.failure("clock-jumps")
async def test_a_clock_that_jumps_ages_no_answer(
    postgres_dsn: str, redis_url: str, tmp_path: Path, clock: Path, jump: str
) -> None:
    urls = {"database_url": postgres_dsn, "redis_url": redis_url}
    ports = {"http_port": 0, "metrics_port": 0}
    settings = read_settings({}, home=tmp_path, **urls, **ports, snapshot_s=0.2)
    async with serving(settings, clock) as url, Client(url) as client:
        await structured(client, "refresh_views")
        await structured(client, "cache_resources", resources=[patient("ada")])
        before = await structured(client, "query_view", view="patient_simple", detail="full")
        await asyncio.to_thread(clock.write_text, jump)
        after = await structured(client, "query_view", view="patient_simple", detail="full")
        assert after["rows"] == before["rows"]
        for age in ("age_s", "staleness_s"):
            assert 0 <= after[age] < DAY_S / 2
        stored = await structured(client, "cache_resources", resources=[patient("bea")])
        assert stored["rows"][0][1] == "stored"
        fresh = await structured(
            client, "query_view", view="patient_simple", max_staleness_s=600, detail="full"
        )
        assert fresh["row_count"] == 2
        refreshed = await structured(client, "refresh_views")
        assert refreshed["status"] in ("published", "unchanged")

        async def is_told() -> bool:
            return bool((await structured(client, "get_statistics", detail="full"))["warehouse_up"])

        assert await until(is_told, timeout_s=10)
