"""The tail: what is committed in the source shows in live answers before a refresh absorbs it.

One round reads what changed since the position and commits its overlay entries together with the
new position, so a tail that is killed loses nothing and repeats nothing. A notification only wakes
it: without any it looks every POLL_S. Without an outbox, and after a gap in it, a round compares.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from researchflow_runners.batch.pending import check_source
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.feed.outbox import CHANNEL, prune_outbox
from researchflow_runners.feed.position import FeedPosition, read_position
from researchflow_runners.feed.probed import ProbedSource
from researchflow_runners.feed.round import Round, TailRound
from researchflow_runners.feed.state import FeedKind, Reason
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.store.database import Database, Session

logger = logging.getLogger(__name__)

POLL_S = 1.0
SCAN_INTERVAL_S = 30.0
#: A comparison of everything costs: it may be asked for more often than it is made.
SCAN_PAUSE_S = 2.0
PRUNE_INTERVAL_S = 10.0
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 5.0
STATEMENT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TailState:
    """How the tail fares; while it fails, live answers lack what came since `failing_since`.

    `leaves`: there is more than it takes at once, and a refresh has to absorb it.
    """

    running: bool = False
    feed: FeedKind | None = None
    reason: Reason | None = None
    entries_total: int = 0
    dead_letters_total: int = 0
    compared_total: int = 0
    failing_since: datetime | None = None
    last_error_code: str | None = None
    leaves: bool = False


class Tail:
    """Follows one source into the overlay of one warehouse; any number of processes may."""

    def __init__(
        self,
        warehouse: Database,
        source: HapiSource,
        views: Sequence[CompiledView],
        *,
        scan_interval_s: float = SCAN_INTERVAL_S,
    ) -> None:
        self._warehouse = warehouse
        self._source = ProbedSource(source)
        self._views: Mapping[str, CompiledView] = {view.name: view for view in views}
        self._scan_interval_s = scan_interval_s
        self._state = TailState()
        self._prune_at = 0.0
        self._woken = asyncio.Event()

    @property
    def state(self) -> TailState:
        """A snapshot of the state."""
        return self._state

    def wake(self) -> None:
        """Says that something changed at the source: the next round is soon."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until `stop` is set; an outage is waited out with growing pauses."""
        self._state = replace(self._state, running=True)
        pause_s = BACKOFF_FIRST_S
        try:
            while not stop.is_set():
                try:
                    async with self._source.source.database.dedicated(
                        statement_timeout_s=STATEMENT_TIMEOUT_S
                    ) as session:
                        await self._follow(session, stop)
                except ResearchFlowError as error:
                    self._fail(error)
                    await _first_of(stop, timeout_s=pause_s)
                    pause_s = min(BACKOFF_LAST_S, pause_s * 2)
                else:
                    pause_s = BACKOFF_FIRST_S
        finally:
            self._state = replace(self._state, running=False)

    async def catch_up(self) -> Round:
        """One round on a connection of its own."""
        async with self._source.source.database.dedicated(
            statement_timeout_s=STATEMENT_TIMEOUT_S
        ) as session:
            return await self._round(session)

    async def _follow(self, session: Session, stop: asyncio.Event) -> None:
        """Round after round on one connection, which the notifications come by too."""
        listening = False
        while not stop.is_set():
            self._woken.clear()
            done = await self._round(session)
            if done.kind == "outdated":
                continue
            if done.feed == "outbox" and not listening:
                # What was committed before this is found by the next round, which is at once.
                await session.listen(CHANNEL, self.wake)
                listening = True
                continue
            await self._prune(session, done)
            if done.feed == "scan":
                await _first_of(stop, timeout_s=min(SCAN_PAUSE_S, self._scan_interval_s))
            wait_s = self._scan_interval_s if done.feed == "scan" else POLL_S
            await _first_of(stop, self._woken, timeout_s=wait_s)

    async def _round(self, session: Session) -> Round:
        done = await TailRound(self._warehouse, self._source, self._views, session).perform()
        leaves = done.kind == "too_many"
        if leaves and not self._state.leaves:
            # Live answers count what waits for the refresh, not nothing as of the round before.
            await check_source(self._warehouse, self._source.source, done.types)
        self._state = replace(
            self._state,
            feed=done.feed or self._state.feed,
            reason=done.reason if done.feed else self._state.reason,
            entries_total=self._state.entries_total + done.entries,
            dead_letters_total=self._state.dead_letters_total + done.dead_letters,
            compared_total=self._state.compared_total + done.compared,
            failing_since=None,
            last_error_code=None,
            leaves=leaves,
        )
        return done

    async def _prune(self, session: Session, done: Round) -> None:
        """Lets go of what every reader has read, now and then."""
        now = asyncio.get_running_loop().time()
        if done.feed != "outbox" or now < self._prune_at:
            return
        self._prune_at = now + PRUNE_INTERVAL_S
        try:
            await self._let_go(session)
        except ResearchFlowError as error:
            # What was read is in live answers; a source that is away is told by the next round.
            logger.warning("the outbox keeps what was read: %s", error.code)

    async def _let_go(self, session: Session) -> None:
        async with self._warehouse.session() as held:
            refresh, tail = await read_position(held, "refresh"), await read_position(held, "tail")
        if _is_read(refresh) and _is_read(tail):
            assert refresh is not None
            assert tail is not None
            await prune_outbox(session, refresh, tail)

    def _fail(self, error: ResearchFlowError) -> None:
        if error.code != self._state.last_error_code:
            logger.warning("the tail waits: %s", error.code)
        since = self._state.failing_since or datetime.now(UTC)
        self._state = replace(self._state, failing_since=since, last_error_code=error.code)


def _is_read(position: FeedPosition | None) -> bool:
    """Whether the reader goes on from its snapshot, and so needs nothing from before it."""
    return position is not None and position.identity is not None


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Waits for one of the events, at most so long."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
