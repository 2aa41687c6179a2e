"""What the demonstration stands on: fresh services, a filled source, views, a server process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from rich.progress import Progress

from researchflow_runners.batch.result import Progress as RefreshProgress
from researchflow_runners.batch.result import RefreshResult
from researchflow_runners.source.load import Progress as LoadProgress
from researchflow_runners.source.load import load, load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.store.database import Database
from researchflow_server.demo.client import DemoError
from researchflow_server.runtime import Runtime
from researchflow_server.settings import Settings, child_environment

BATCH = 1_000
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOG_NAME = "server.log"
#: Long enough for the step that refreshes by hand, short enough to be waited for.
REFRESH_OBJECTIVE_S = 6.0
ENDPOINT, METRICS = "MCP endpoint", "metrics"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    url: str
    metrics_url: str


@contextmanager
def fresh_home(*, keep: bool) -> Iterator[Path]:
    """An empty directory of this run; gone afterwards unless it is to be kept."""
    home = Path(tempfile.mkdtemp(prefix="researchflow-demo-"))
    # PostgreSQL's own account must pass through it when we are root.
    home.chmod(0o711)
    try:
        yield home
    finally:
        if not keep:
            rmtree(home, ignore_errors=True)


def demo_settings(home: Path) -> Settings:
    """Embedded services and free ports, whatever the environment says."""
    return Settings(
        home=home,
        http_port=0,
        metrics_port=0,
        snapshot_s=1.0,
        refresh_objective_s=REFRESH_OBJECTIVE_S,
    )


async def fill(source: Database, data: Path | None, bar: Progress) -> int:
    """The synthetic hospital, or the FHIR files of a directory; gives how many resources."""
    task = bar.add_task("filling the FHIR server's tables", total=None)
    if data is None:
        resources = list(hospital())
        bar.update(task, total=len(resources))
        for first in range(0, len(resources), BATCH):
            batch = resources[first : first + BATCH]
            await load_resources(source, batch)
            bar.advance(task, len(batch))
        return len(resources)

    def show(progress: LoadProgress) -> None:
        bar.update(task, completed=progress.bytes_read, total=progress.bytes_total)

    report = await load(source, [data], progress=show)
    return report.resources


async def materialise(runtime: Runtime, bar: Progress) -> RefreshResult:
    """The first anchor."""
    task = bar.add_task("materialising the views", total=None)

    async def show(progress: RefreshProgress) -> None:
        bar.update(task, completed=progress.done, total=progress.total)

    return await runtime.refresher.refresh(show)


@asynccontextmanager
async def server_process(settings: Settings) -> AsyncIterator[Server]:
    """`researchflow serve --http` as a process of its own, until the end of the block."""
    log = settings.home / LOG_NAME
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "researchflow_server", "serve", "--http"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=child_environment(settings) | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        yield await _started(process, log)
    finally:
        await _stopped(process)


async def _started(process: asyncio.subprocess.Process, log: Path) -> Server:
    """The addresses that the server prints once it listens."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not found.keys() >= {ENDPOINT, METRICS}:
                line = (await process.stdout.readline()).decode()
                if not line:
                    break
                for name in (ENDPOINT, METRICS):
                    if line.startswith(name):
                        found[name] = line.removeprefix(name).strip()
    except TimeoutError:
        found.clear()
    if not found.keys() >= {ENDPOINT, METRICS}:
        raise DemoError(
            f"the server process did not start: {_last_line(log)}",
            code="server_not_started",
            hint="run `researchflow serve --http` by hand to see all of it",
        )
    return Server(found[ENDPOINT], found[METRICS])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote no log"


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
