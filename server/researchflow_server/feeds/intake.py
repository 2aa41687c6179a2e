"""Deliveries taken together: many that wait become one read of the source and one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.errors import ResearchFlowError, StoreError
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_runners.speed.known import Key
from researchflow_runners.speed.writer import ChangeWriter

#: What may wait: beyond it the sender is told to come back, in place of memory that grows.
WAITING_MAX = 2_000
WAITING_BYTES_MAX = 64 * 1024 * 1024
TAKEN_MAX = 250
PROVENANCE = "subscription"
#: Codes of a batch that fails for one type of resource while others could go on.
OF_ONE_TYPE = frozenset({"speed_layer_full"})


@dataclass(slots=True, eq=False)
class _Waiting:
    """A report that waits, and who waits for it."""

    report: Change | Key
    size_bytes: int
    told: asyncio.Future[ChangeOutcome]


class Intake:
    """The queue before the writer; `take` returns when what it took is durable."""

    def __init__(self, writer: ChangeWriter) -> None:
        self._writer = writer
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._working: asyncio.Task[None] | None = None

    async def take(self, reports: Sequence[Change | Key], size_bytes: int) -> list[ChangeOutcome]:
        """One outcome each, in order; `size_bytes` is what they hold together.

        StoreError `feed_busy` when as much waits as may, or a store's own.
        """
        is_full = len(self._waiting) + len(reports) > WAITING_MAX and self._waiting
        if is_full or self._waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            raise _busy()
        loop = asyncio.get_running_loop()
        share = size_bytes // max(1, len(reports))
        mine = [_Waiting(report, share, loop.create_future()) for report in reports]
        self._waiting += mine
        self._waiting_bytes += share * len(mine)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        # A sender that leaves must not undo the work of the others.
        outcomes = await asyncio.gather(
            *(asyncio.shield(one.told) for one in mine), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, ChangeOutcome)]

    async def _work(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:TAKEN_MAX], self._waiting[TAKEN_MAX:]
                self._waiting_bytes -= sum(one.size_bytes for one in taken)
                await self._hear(taken)
        finally:
            self._working = None

    async def _hear(self, taken: Sequence[_Waiting]) -> None:
        """Tells each sender what became of its report; a fault of one type is that type's own."""
        try:
            outcomes = await self._outcomes([one.report for one in taken])
        except ResearchFlowError as error:
            types = {_type(one.report) for one in taken}
            if error.code in OF_ONE_TYPE and len(types) > 1:
                for name in sorted(types):
                    await self._hear([one for one in taken if _type(one.report) == name])
                return
            _fail(taken, error)
        except BaseException as error:
            _fail(taken, _interrupted())
            raise error
        else:
            for one, outcome in zip(taken, outcomes, strict=True):
                if not one.told.done():
                    one.told.set_result(outcome)

    async def _outcomes(self, reports: Sequence[Change | Key]) -> list[ChangeOutcome]:
        changes = [one for one in reports if isinstance(one, Change)]
        keys = [one for one in reports if not isinstance(one, Change)]
        heard = await self._writer.hear(changes, provenance=PROVENANCE) if changes else []
        confirmed = await self._writer.confirm(keys, provenance=PROVENANCE) if keys else []
        told, named = iter(heard), iter(confirmed)
        return [next(told) if isinstance(one, Change) else next(named) for one in reports]


def _type(report: Change | Key) -> str:
    """The type that the address names; what names it only in its body goes together."""
    return report.resource_type or "" if isinstance(report, Change) else report[0]


def _fail(taken: Sequence[_Waiting], error: ResearchFlowError) -> None:
    for one in taken:
        if not one.told.done():
            one.told.set_exception(error)
            # Who left does not ask for it.
            one.told.exception()


def _busy() -> StoreError:
    return StoreError(
        "as many deliveries wait as may",
        code="feed_busy",
        hint="deliver again in a moment; nothing is lost, a refresh reads what was dropped",
    )


def _interrupted() -> StoreError:
    return StoreError(
        "the server stops", code="feed_interrupted", hint="deliver again to the next server"
    )
