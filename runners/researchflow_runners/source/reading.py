"""Files read by a process of their own: parsing and checking cost as much as storing does.

In one process the reader and the connection to PostgreSQL take turns at the interpreter, and each
message waits for its turn. The process is this module: it is told the files on its standard input
and writes what it read to its standard output, at most one batch ahead. When nobody takes it any
more, because the load ended or was killed, it ends.
"""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.files import ChangeReader, Rejections
from researchflow_runners.source.resource import Change

#: Less is read before the process has started.
APART_BYTES_MIN = 8 * 1024 * 1024
_COMMAND = [sys.executable, "-c", f"from {__name__} import read_for_another as r; r()"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read up to here; without changes at the end."""

    changes: list[Change]
    bytes_read: int
    rejections: Rejections


class Reading:
    """Batches of files, read here; `last` is the newest."""

    def __init__(self, files: list[Path]) -> None:
        self._reader = ChangeReader(files)
        self.bytes_total = self._reader.bytes_total
        self.last = Batch([], 0, Rejections())

    def next(self) -> list[Change]:
        """The next changes; empty at the end. SourceDataError `reader_lost`."""
        self.last = self._read()
        return self.last.changes

    def _read(self) -> Batch:
        return _next(self._reader)


class ReadingApart(Reading):
    """The same, read by `process`."""

    def __init__(self, files: list[Path], process: Popen[bytes]) -> None:
        super().__init__(files)
        self._process = process

    def _read(self) -> Batch:
        assert self._process.stdout is not None
        try:
            batch: Batch = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            raise SourceDataError(
                "the process that reads the files ended before they did",
                code="reader_lost",
                hint="see that the machine has memory for it, then load again",
            ) from error
        return batch


@asynccontextmanager
async def reading(files: list[Path]) -> AsyncIterator[Reading]:
    """Reads the files, apart when they are large."""
    here = Reading(files)
    if here.bytes_total < APART_BYTES_MIN:
        yield here
        return
    # What goes wrong there may name what was read; that it did shows here.
    started = Popen(_COMMAND, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)  # noqa: ASYNC220
    with started as process:
        try:
            assert process.stdin is not None
            # One that has ended by now is found out when it is read.
            with suppress(BrokenPipeError), process.stdin as told:
                pickle.dump(files, told)
            yield ReadingApart(files, process)
        finally:
            process.kill()


def _next(reader: ChangeReader) -> Batch:
    return Batch(reader.next_batch(), reader.bytes_read, reader.rejections)


def read_for_another() -> None:
    """The process: reads the files that it is told, batch by batch."""
    # What JSON holds has no cycles.
    gc.disable()
    output = sys.stdout.buffer
    reader = ChangeReader(pickle.load(sys.stdin.buffer))
    while True:
        batch = _next(reader)
        pickle.dump(batch, output, protocol=pickle.HIGHEST_PROTOCOL)
        output.flush()
        if not batch.changes:
            return
