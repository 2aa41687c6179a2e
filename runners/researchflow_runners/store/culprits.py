"""Which resources a view cannot be computed over, and which of its columns is at fault.

Both are found by halving: the resources, then the columns. A statement over all columns of a wide
view takes PostgreSQL longer to parse and plan than to run, so each is prepared once and run with
other resources. The time is bounded whatever the view and the data: past it the view is at fault.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError, StoreError, ViewFailsError
from researchflow_runners.sql import Sql, compose, fixed, ident, join, slot
from researchflow_runners.store.data_faults import is_data_error, reason
from researchflow_runners.store.database import Prepared, Session

#: More failing resources than this, or a longer search, mean that the view is wrong, not the data.
CULPRITS_MAX = 10_000
SEARCH_TIMEOUT_S = 60.0
#: A culprit whose column is not found in this time keeps none.
NAMING_TIMEOUT_S = 15.0
#: Resources of the first statements: few enough that most of them hold no culprit.
SPAN_MAX = 1_024
#: Resources of other statements have no effect on how one is best planned.
_SETTINGS = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL statement_timeout = {}"
_MEMBERS = "(SELECT * FROM {} AS r WHERE r.res_id = ANY ({}) OFFSET 0)"

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Culprit:
    """A resource without rows, and why; no value of it."""

    res_id: int
    reason: str
    column: str | None = None


class OutOfTimeError(Exception):
    """The search has used up its time."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock."""

    at_s: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        """That long from now."""
        return cls(clock() + seconds, clock)

    def left_ms(self) -> int:
        """Milliseconds to go, at least 1; OutOfTimeError when there are none."""
        left_s = self.at_s - self.clock()
        if left_s <= 0:
            raise OutOfTimeError
        return max(1, round(left_s * 1000))


@dataclass(frozen=True, slots=True)
class Probe:
    """Computes some columns of a view over some resources and stores nothing."""

    session: Session
    statement: Prepared
    deadline: Deadline

    @classmethod
    async def of(
        cls,
        session: Session,
        view: CompiledView,
        resources: Sql,
        *,
        counted: Sql,
        deadline: Deadline,
    ) -> Probe:
        """The probe that computes what `counted` says of the row `q`."""
        members = compose(_MEMBERS, resources, slot("ids", "bigint[]"))
        counting = compose("SELECT count({}) FROM ({}) AS q", counted, view.select(members))
        async with session.savepoint():
            prepared = await session.prepare(counting)
        return cls(session, prepared, deadline)

    async def fault(self, ids: Sequence[int]) -> StatementError | None:
        """The data error over these resources, or None; OutOfTimeError."""
        try:
            async with _bounded(self.session, self.deadline):
                await self.statement.fetchval(ids=ids)
        except StatementError as error:
            if is_data_error(error):
                return error
            raise
        return None

    async def failing(self, ids: Sequence[int]) -> list[tuple[int, StatementError]]:
        """The resources that fail alone, with their errors, in order; OutOfTimeError."""
        found = []
        stack = [ids[start : start + SPAN_MAX] for start in range(0, len(ids), SPAN_MAX)][::-1]
        while stack:
            span = stack.pop()
            error = await self.fault(span)
            if error is None:
                continue
            if len(span) == 1:
                found.append((span[0], error))
                if len(found) > CULPRITS_MAX:
                    break
                continue
            middle = len(span) // 2
            stack += [span[middle:], span[:middle]]
        return found


async def find_culprits(
    session: Session, view: CompiledView, resources: Sql, *, clock: Clock = time.monotonic
) -> list[Culprit]:
    """The resources that fail alone, with the column.

    ViewFailsError when it is no resource that fails, when more than CULPRITS_MAX do,
    or when they are not found within SEARCH_TIMEOUT_S.
    """
    deadline = Deadline.after(SEARCH_TIMEOUT_S, clock)
    try:
        probe = await _sound_probe(session, view, resources, deadline)
        found = await probe.failing(await _ids(session, resources, deadline))
    except OutOfTimeError:
        raise ViewFailsError(
            view.name, f"fails on more resources than are found in {SEARCH_TIMEOUT_S:g} s"
        ) from None
    if len(found) > CULPRITS_MAX:
        raise ViewFailsError(view.name, f"fails on more than {CULPRITS_MAX} resources")
    columns = await failing_columns(
        session, view, resources, [res_id for res_id, _error in found], clock=clock
    )
    return [Culprit(res_id, reason(error), columns.get(res_id)) for res_id, error in found]


@asynccontextmanager
async def _bounded(session: Session, deadline: Deadline) -> AsyncIterator[None]:
    """Ends statements at the deadline with OutOfTimeError, and undoes them."""
    try:
        async with session.undone(settings=_SETTINGS.format(deadline.left_ms())):
            yield
    except StoreError as error:
        if error.code != "statement_timeout":
            raise
        raise OutOfTimeError from error


async def _ids(session: Session, resources: Sql, deadline: Deadline) -> list[int]:
    """The keys of the resources, in order."""
    statement = compose("SELECT array_agg(res_id ORDER BY res_id) FROM {} AS r", resources)
    async with _bounded(session, deadline):
        return await session.fetchval(statement) or []


async def _sound_probe(
    session: Session, view: CompiledView, resources: Sql, deadline: Deadline
) -> Probe:
    """The probe of all columns, which succeeds where there are no resources."""
    try:
        probe = await Probe.of(session, view, resources, counted=fixed("q"), deadline=deadline)
        error = await probe.fault([])
    except StatementError as refused:
        error = refused
    if error is not None:
        raise ViewFailsError(
            view.name, f'fails on any data (SQLSTATE "{error.sqlstate}")'
        ) from error
    return probe


async def failing_columns(
    session: Session,
    view: CompiledView,
    resources: Sql,
    ids: Sequence[int],
    *,
    clock: Clock = time.monotonic,
) -> dict[int, str]:
    """The first column that fails alone, by resource, as far as NAMING_TIMEOUT_S allows.

    A resource is missing from it when no single column is at fault: a filter, an iteration.
    """
    naming = _Naming(session, view, resources, Deadline.after(NAMING_TIMEOUT_S, clock))
    with suppress(OutOfTimeError):
        await naming.name(list(ids))
    return naming.columns


@dataclass
class _Naming:
    """Halves the columns, and of each half only what some resource fails on."""

    session: Session
    view: CompiledView
    resources: Sql
    deadline: Deadline

    def __post_init__(self) -> None:
        self.columns: dict[int, str] = {}

    async def name(self, ids: list[int]) -> None:
        """Fills `columns`; OutOfTimeError."""
        shared = await self._probe(fixed("*"))
        at_fault = {res_id for res_id, _error in await shared.failing(ids)}
        left = [res_id for res_id in ids if res_id not in at_fault]
        stack = [[column.name for column in self.view.columns]]
        while stack and left:
            names = stack.pop()
            probe = await self._probe(self._row(names))
            if await probe.fault(left) is None:
                continue
            if len(names) > 1:
                middle = len(names) // 2
                stack += [names[middle:], names[:middle]]
                continue
            self.columns |= dict.fromkeys(
                (res_id for res_id, _error in await probe.failing(left)), names[0]
            )
            left = [res_id for res_id in left if res_id not in self.columns]

    async def _probe(self, counted: Sql) -> Probe:
        self.deadline.left_ms()
        return await Probe.of(
            self.session, self.view, self.resources, counted=counted, deadline=self.deadline
        )

    def _row(self, names: Sequence[str]) -> Sql:
        """The columns with their companions as one value."""
        wanted = set(names)
        parts = [
            ident("q", part)
            for column in self.view.columns
            if column.name in wanted
            for part, _type in column.physical
        ]
        return compose("ROW({})", join(", ", parts))
