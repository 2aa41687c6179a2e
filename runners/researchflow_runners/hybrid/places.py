"""Places for SQL that users wrote: fewer than connections, so that it starves nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager

from researchflow_runners.errors import StoreError
from researchflow_runners.store.database import Session
from researchflow_runners.store.privileges import step_down


class Places:
    """The places of one pool. Whoever finds none is told at once: waiting would keep the
    connection that another needs."""

    def __init__(self, connections_max: int, *, lingering: Sized = ()) -> None:
        """Less than half of the connections, one at least. Statements that were given up and still
        work, `lingering`, have a place each."""
        self.places_max = max(1, connections_max // 2 - 1)
        self._lingering = lingering
        self._taken = 0

    @asynccontextmanager
    async def one(self, session: Session) -> AsyncIterator[None]:
        """A place for users' SQL, with fewer rights to the end of the transaction; StoreError
        `busy`."""
        if self._taken + len(self._lingering) >= self.places_max:
            raise StoreError(
                f"{self.places_max} statements of SQL run already, which is all that may at once",
                code="busy",
                hint="try again in some seconds; typed queries of views are answered meanwhile",
            )
        self._taken += 1
        try:
            await step_down(session)
            yield
        finally:
            self._taken -= 1
