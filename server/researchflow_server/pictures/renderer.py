"""Specifications to PNG, by a process of its own that starts when asked and ends when idle.

Its memory does not stay in the server, and one that hangs is killed.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from researchflow_runners.errors import ResearchFlowError

#: The worker is no module of the package to its own process: what it speaks is told in both.
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("worker.py")))
LENGTH = struct.Struct("!I")
OK = b"\0"
RENDER_TIMEOUT_S = 15.0
IDLE_S = 300.0
#: Pictures that wait for the one renderer; each takes about a tenth of a second.
WAITING_MAX = 16
#: Beyond this a client of the protocol would not take the answer.
PNG_BYTES_MAX = 600_000


class PictureError(ResearchFlowError):
    """A picture that cannot be rendered; nothing is wrong with the answer that it shows."""


class PictureWaitError(PictureError):
    """The same, of now."""

    retryable = True


class Renderer:
    """One process that renders one picture after the other."""

    def __init__(
        self,
        *,
        command: Sequence[str] = COMMAND,
        module: str = "vl_convert",
        timeout_s: float = RENDER_TIMEOUT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._command = command
        self._module = module
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process, None where none runs."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    def require(self) -> None:
        """PictureError `extra_missing` where the renderer is not installed."""
        if find_spec(self._module) is None:
            raise PictureError(
                'pictures need the extra "draw", which is not installed',
                code="extra_missing",
                hint="on the server: pip install 'researchflow[draw]'; "
                "query_view gives the same rows without a picture",
            )

    async def png(self, specification: Mapping[str, Any]) -> bytes:
        """The picture.

        PictureError `extra_missing`, `picture_failed` or `picture_too_large`; and to try again
        `picture_timeout`, and `busy` where WAITING_MAX others wait already.
        """
        self.require()
        if self._waiting >= WAITING_MAX:
            raise PictureWaitError(
                f"{WAITING_MAX} pictures are waiting to be drawn",
                code="busy",
                hint="try again in a moment",
            )
        self._waiting += 1
        try:
            async with self._turn:
                png = await self._rendered(orjson.dumps(specification))
        finally:
            self._waiting -= 1
        if len(png) > PNG_BYTES_MAX:
            raise PictureError(
                "the picture is larger than a tool result may be",
                code="picture_too_large",
                hint="draw fewer marks or series",
            )
        return png

    async def close(self) -> None:
        """Ends the process."""
        async with self._turn:
            await self._end()

    async def _rendered(self, specification: bytes) -> bytes:
        if self._idle is not None:
            self._idle.cancel()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._answered(specification)
        except TimeoutError:
            await self._end()
            raise PictureWaitError(
                f"the picture took longer than {self._timeout_s:g} s and was given up",
                code="picture_timeout",
                hint="draw fewer marks, or try again",
            ) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            await self._end()
            raise _failed() from error
        except asyncio.CancelledError:
            # Half of an answer may be on its way, which the next would take for its own.
            await self._end()
            raise
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
        if answer[:1] != OK:
            raise _failed()
        return answer[1:]

    async def _answered(self, specification: bytes) -> bytes:
        if self.pid is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/"
            )
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(specification)) + specification)
        await process.stdin.drain()
        size = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
        return await process.stdout.readexactly(size)

    def _retire(self) -> None:
        """Lets an idle process see the end of what it is asked."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _failed() -> PictureError:
    return PictureError(
        "the picture could not be rendered",
        code="picture_failed",
        hint="ask the rows with query_view; report which chart it was",
    )
