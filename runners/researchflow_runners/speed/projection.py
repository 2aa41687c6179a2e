"""One resource type's log applied to the overlay, in one transaction of PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.speed.change_log import PAGE, START, ChangeLog, Changes, Position
from researchflow_runners.speed.entry import Entry
from researchflow_runners.speed.overlay import insert_views
from researchflow_runners.speed.overlay_entry import (
    expire,
    held_versions,
    merge,
    retire,
    stored_page,
)
from researchflow_runners.speed.overlay_views import overlay_views
from researchflow_runners.speed.redis_client import ENTRIES_MAX
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import PLAN_ONCE, Database, Session
from researchflow_runners.store.locks import LOCK_OVERLAY_SHARED

_POSITIONS = "SELECT res_type, epoch, stream_id FROM researchflow.projection"
_FIRST = f"{PLAN_ONCE}; {LOCK_OVERLAY_SHARED}"
_LOCK = """
SELECT epoch, stream_id FROM researchflow.projection WHERE res_type = $1 FOR UPDATE
"""
_BEGIN = """
INSERT INTO researchflow.projection (res_type, epoch, stream_id) VALUES ($1, '', $2)
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE researchflow.projection
SET epoch = $2, stream_id = $3, applied_at = clock_timestamp() WHERE res_type = $1
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one transaction did, up to where, and where the log ended when it was read."""

    entries: int
    dead_letters: int
    position: Position
    head: Position


@dataclass(frozen=True, slots=True)
class _Page:
    """What the log has after a position."""

    after: Position
    changes: Changes
    entries: tuple[Entry, ...]


async def positions(session: Session) -> dict[str, Position]:
    """How far each type's log is applied; types never seen are left out."""
    rows = await session.fetch(_POSITIONS)
    return {row["res_type"]: Position(row["epoch"], row["stream_id"]) for row in rows}


class Projection:
    """The log of one resource type on its way into the overlay."""

    def __init__(
        self,
        resource_type: str,
        *,
        database: Database,
        log: ChangeLog,
        views: Mapping[str, CompiledView],
    ) -> None:
        self._type = resource_type
        self._database = database
        self._log = log
        self._views = views

    async def advance(self, expected: Position | None = None) -> Applied:
        """Applies the next page of changes and commits it with the new position.

        `expected` is where the log is thought to be applied: what follows is read before the lock
        is asked for, and once more where it was not so.
        """
        page = None if expected is None else await self._page(expected)
        try:
            return await self._advance(page, guarded=False)
        except StatementError as error:
            if not is_data_error(error):
                raise
            return await self._advance(page, guarded=True)

    async def _advance(self, page: _Page | None, *, guarded: bool) -> Applied:
        covered: set[str] = set()
        async with self._database.transaction(first=_FIRST) as session:
            applied = await self._locked(session)
            if page is None or page.after != applied:
                page = await self._page(applied)
            if page.changes.continues:
                done = await self._follow(session, page, covered, guarded=guarded)
            else:
                done = await self._reconcile(session, covered)
            if done.position != applied:
                await session.execute(
                    _MOVE, self._type, done.position.epoch, done.position.stream_id
                )
        await self._forget(covered, done.position)
        return done

    async def _page(self, applied: Position) -> _Page:
        """What the log has after that position."""
        changes = await self._log.after(self._type, applied)
        found = []
        if changes.continues and changes.ids:
            found = await self._log.entries(self._type, changes.ids)
        return _Page(applied, changes, tuple(found))

    async def forget_covered(self) -> int:
        """Drops expired entries, and from Redis what the batch layer covers; gives how many."""
        async with self._database.transaction(first=_FIRST) as session:
            applied = await self._locked(session)
            await expire(session, self._type)
        forgotten = 0
        async for ids in self._log.cached_ids(self._type):
            forgotten += await self._forget(ids, applied)
        return forgotten

    async def retire(self, reports: Mapping[str, str]) -> None:
        """Drops reports that the source does not bear out: by id, their place in the stream."""
        async with self._database.transaction(first=_FIRST) as session:
            applied = await self._locked(session)
            await retire(session, self._type, reports)
        await self._forget(reports, applied)

    async def _forget(self, ids: Collection[str], applied: Position) -> int:
        """Drops from Redis what is applied up to there and PostgreSQL does not hold."""
        if not ids:
            return 0
        async with self._database.session() as session:
            held = await held_versions(session, self._type, ids)
        return await self._log.forget(self._type, held, applied)

    async def _locked(self, session: Session) -> Position:
        """The applied position; until the transaction ends nobody else projects the type."""
        row = await session.fetchrow(_LOCK, self._type)
        if row is None:
            await session.execute(_BEGIN, self._type, START)
            row = await session.fetchrow(_LOCK, self._type)
        assert row is not None
        return Position(row["epoch"], row["stream_id"])

    async def _follow(
        self, session: Session, page: _Page, covered: set[str], *, guarded: bool
    ) -> Applied:
        """Applies the newest state of each changed resource.

        Redis may still hold an older entry beside it that was applied and then dropped, by a
        refresh or because it expired: that one must not come back.
        """
        applied, changes = page.after, page.changes
        new = [one for one in page.entries if not applied.reaches(applied.at(one.stream_id))]
        dead = await self._apply(session, new, covered, guarded=guarded) if new else 0
        return Applied(len(changes.ids), dead, changes.last, changes.head)

    async def _reconcile(self, session: Session, covered: set[str]) -> Applied:
        """Begins an epoch: each store is given what only the other one holds."""
        head = await self._log.begin_epoch(self._type)
        entries = dead = 0
        async for ids in self._log.cached_ids(self._type):
            found = await self._log.entries(self._type, ids)
            dead += await self._apply(session, found, covered, guarded=True)
            entries += len(found)
        await self._put_back(session)
        return Applied(entries, dead, head, head)

    async def _put_back(self, session: Session) -> None:
        after = 0
        for _page in range(ENTRIES_MAX):
            stored, after = await stored_page(session, self._type, after=after, page=PAGE)
            await self._log.put_back(stored)
            if len(stored) < PAGE:
                return

    async def _apply(
        self, session: Session, entries: Sequence[Entry], covered: set[str], *, guarded: bool
    ) -> int:
        """Merges the entries and computes their rows; adds to `covered`, gives dead letters."""
        merged = await merge(session, self._type, entries)
        covered.update(merged.covered)
        if not merged.entry_ids:
            return 0
        targets = (await overlay_views(session, [self._type], self._views))[self._type]
        return await insert_views(session, targets, merged.entry_ids, guarded=guarded)
