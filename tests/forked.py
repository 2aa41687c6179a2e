"""Processes of the product, forked from one that has imported it: to start one takes no seconds.

Each is a process of its own in every other way, to be killed and stopped.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from researchflow_runners.batch.result import Progress
from researchflow_runners.errors import ResearchFlowError
from researchflow_server.cli import main
from researchflow_server.embedded.process import until
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings

END_S = 60

_context = multiprocessing.get_context("forkserver")
# The module of `serve` is imported when the command is parsed.
_context.set_forkserver_preload(
    ["pytest", "researchflow_server.cli", "researchflow_server.cli.serve",
     "researchflow_server.feeds.endpoint", "researchflow_server.http.app"]
)  # fmt: skip


class Forked:
    """A running process; what it prints goes to the file `said`."""

    def __init__(self, process: BaseProcess, said: Path) -> None:
        self._process = process
        self.said = said

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    @property
    def is_stopped(self) -> bool:
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] == "T"

    def signal(self, number: signal.Signals) -> None:
        """Sent, unless it has ended."""
        if self.code is None:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """The exit code, once it has ended."""

        async def is_over() -> bool:
            return self.code is not None

        assert await until(is_over, timeout_s=END_S)
        assert self.code is not None
        return self.code

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def lines(self, count: int) -> list[str]:
        """The first lines that it prints."""
        found: list[str] = []

        async def are_there() -> bool:
            found[:] = self.said.read_text().splitlines() if self.said.exists() else []
            return len(found) >= count or self.code is not None

        assert await until(are_there, timeout_s=END_S)
        assert len(found) >= count, (self.code, found)
        return found


def command(environment: dict[str, str], home: Path, *words: str) -> Forked:
    """`researchflow` with these words; its log goes to the file `log` of the home."""
    return _start(_run_command, environment, home, list(words))


def refresher(
    environment: dict[str, str], home: Path, phase: str, number: signal.Signals
) -> Forked:
    """A refresh that sends itself the signal at each step of the phase; prints its end."""
    return _start(_run_refresher, environment, home, [phase, number.name])


def _start(
    target: Callable[..., None], environment: dict[str, str], home: Path, words: list[str]
) -> Forked:
    said = home / f"said-{len(list(home.glob('said-*')))}"
    process = _context.Process(
        target=target, args=(environment, str(said), str(home / "log"), words), daemon=True
    )
    process.start()
    return Forked(process, said)


def _settle_in(environment: dict[str, str], said: str, log: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((said, sys.stdout), (log, sys.stderr)):
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _run_command(environment: dict[str, str], said: str, log: str, words: list[str]) -> None:
    _settle_in(environment, said, log)
    sys.exit(main(words))


def _run_refresher(environment: dict[str, str], said: str, log: str, words: list[str]) -> None:
    _settle_in(environment, said, log)
    phase, name = words
    print(asyncio.run(_refreshed(phase, signal.Signals[name])))  # noqa: T201


async def _refreshed(phase: str, number: signal.Signals) -> str:
    async def at(step: Progress) -> None:
        if step.phase == phase:
            os.kill(os.getpid(), number)

    try:
        async with open_runtime(read_settings(), background=False) as runtime:
            await runtime.require_source()
            return f"anchor {(await runtime.refresher.refresh(at)).anchor}"
    except ResearchFlowError as error:
        return error.code
