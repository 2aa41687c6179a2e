"""Who uses a data directory: file locks, which end with their process however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.process import until

LOCK_TIMEOUT_S = 180.0


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def changing(directory: Path) -> AsyncIterator[None]:
    """Alone in starting or stopping the directory's services."""
    with _opened(directory / "change.lock") as descriptor:

        async def is_ours() -> bool:
            return _try(descriptor, fcntl.LOCK_EX)

        if not await until(is_ours, timeout_s=LOCK_TIMEOUT_S):
            raise ServiceError(
                f'another process has been starting or stopping "{directory}" '
                f"for {LOCK_TIMEOUT_S:g} s",
                code="directory_busy",
                hint="end that process, or choose another data directory",
                field="directory",
            )
        yield


class Lease:
    """One user of the directory, among others."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(
            directory / "use.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def give_up(self) -> bool:
        """Gives the lease up; whether nobody else holds one. Call it inside `changing`."""
        try:
            return _try(self._descriptor, fcntl.LOCK_EX)
        finally:
            os.close(self._descriptor)
