"""A real Prometheus that scrapes one port every second with our rules, for a test."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

INTERVAL = "1s"
REQUEST_TIMEOUT_S = 5
STOP_TIMEOUT_S = 10
POLL_S = 0.2


class PrometheusServer:
    """The HTTP API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def api(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; a query that Prometheus refuses raises."""
        return json.loads(await self._get(f"api/v1/{path}?{urllib.parse.urlencode(parameters)}"))[
            "data"
        ]

    async def series(self, expression: str) -> list[dict[str, Any]]:
        """What the expression gives now: each with its `metric` and `value`."""
        found: list[dict[str, Any]] = (await self.api("query", query=expression))["result"]
        return found

    async def values(self, expression: str) -> list[float]:
        """The value of every series that the expression gives now."""
        return [float(series["value"][1]) for series in await self.series(expression)]

    async def is_ready(self) -> bool:
        try:
            await self._get("-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    async def _get(self, path: str) -> bytes:
        def get() -> bytes:
            with urllib.request.urlopen(f"{self._url}/{path}", timeout=REQUEST_TIMEOUT_S) as answer:
                body: bytes = answer.read()
                return body

        return await asyncio.to_thread(get)


@contextmanager
def prometheus_server(
    program: str, configuration: Path, *, target_port: int, directory: Path
) -> Iterator[PrometheusServer]:
    """Prometheus with this configuration, but hurried and pointed at the port; not yet ready."""
    path = directory / "prometheus.yml"
    path.write_text(_hurried(configuration, target_port))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        program,
        f"--config.file={path}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield PrometheusServer(f"http://{address}")
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


async def until(holds: Callable[[], Awaitable[bool]], *, timeout_s: float) -> bool:
    """Whether the condition came true in time; asks again and again."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await holds():  # noqa: ASYNC110  another process sets no event
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


def _hurried(configuration: Path, target_port: int) -> str:
    parsed = yaml.safe_load(configuration.read_text())
    parsed["global"] = dict.fromkeys(parsed["global"], INTERVAL)
    parsed["rule_files"] = [str(configuration.parent / glob) for glob in parsed["rule_files"]]
    (scrape,) = parsed["scrape_configs"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{target_port}"]}]
    return str(yaml.safe_dump(parsed))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
