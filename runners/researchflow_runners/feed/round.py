"""One round of the tail: read the source's changes, write their entries, move the position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from researchflow_runners.batch.diff import compare_keys
from researchflow_runners.batch.staging import Origin, open_staging
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.feed.entries import Written, gone_states, lock_types, write_entries
from researchflow_runners.feed.outbox import changes_after, continue_from
from researchflow_runners.feed.position import (
    POSITION,
    FeedPosition,
    claim_position,
    leave_to_refresh,
    position_of,
    store_position,
)
from researchflow_runners.feed.probed import ProbedSource
from researchflow_runners.feed.resource_state import ResourceState, read_states
from researchflow_runners.feed.state import FeedKind, FeedState, Reason, look_at_feed
from researchflow_runners.source.reader import SourceSnapshot
from researchflow_runners.source.replay import known_before
from researchflow_runners.sql import compose, param
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import PLAN_ONCE, Database, Session

#: More changes than this are left to a refresh: computing them twice would be slower.
CHANGES_MAX = 20_000
PAGE = 500
#: A tail that is stopped in the middle of a round loses its claim after so long.
_FIRST = f"{PLAN_ONCE}; SET LOCAL idle_in_transaction_session_timeout = '60s'"
COMPARE_TIMEOUT_S = 300.0

_BATCH = f"""
SELECT p.*, (SELECT max(anchor) FROM researchflow.anchor) AS anchor, now() AS now,
       ARRAY(SELECT DISTINCT resource_type FROM researchflow.view_catalogue ORDER BY 1)
           AS view_types,
       ARRAY(SELECT c.res_type FROM researchflow.source_check AS c
             WHERE c.reads_meta ORDER BY 1) AS tagged_types
FROM ({POSITION}) AS p
"""  # noqa: S608  POSITION is a constant
_TOLD = """
SELECT c.res_id, string_agg(DISTINCT c.xid::text, ' ') AS xids FROM {} AS c
GROUP BY c.res_id LIMIT {}
"""
#: What the ledger lacks and the overlay does not say (of tags it cannot tell), and what the overlay
#: says against a ledger that has it right.
_UNSAID = """
SELECT c.res_id FROM rf_changed AS c
WHERE NOT EXISTS (
    SELECT FROM researchflow.overlay_entry AS e
    WHERE e.res_type = c.res_type AND e.id = c.id AND e.origin = 'source'
      AND e.incarnation = c.res_id AND e.version = c.res_ver
      AND e.deleted = (c.state <> 'present')
      AND NOT EXISTS (SELECT FROM researchflow.ledger AS l
                      WHERE l.res_id = c.res_id AND l.res_ver = c.res_ver AND NOT e.deleted))
UNION
SELECT e.incarnation FROM researchflow.overlay_entry AS e
WHERE e.origin = 'source' AND e.res_type = ANY ($1::text[]) AND e.incarnation IS NOT NULL
  AND NOT EXISTS (SELECT FROM rf_changed AS c WHERE c.res_id = e.incarnation)
  AND NOT EXISTS (
    SELECT FROM researchflow.ledger AS l
    WHERE l.res_id = e.incarnation AND l.res_ver = e.version AND l.deleted = e.deleted)
  AND (NOT e.deleted OR EXISTS (
    SELECT FROM researchflow.ledger AS l WHERE l.res_id = e.incarnation))
LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    done: the position moved. taken: another process is at it. idle: nothing is published yet.
    outdated: a refresh published meanwhile, begin again. too_many: a refresh has to absorb them,
    and nothing of these `types` moved.
    """

    kind: Literal["done", "taken", "idle", "outdated", "too_many"]
    feed: FeedKind | None = None
    reason: Reason | None = None
    entries: int = 0
    dead_letters: int = 0
    compared: bool = False
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the batch layer shows as the round begins; whatever is read after is newer."""

    anchor: int
    types: list[str]
    tagged_types: list[str]
    now: datetime
    refresh: FeedPosition


@dataclass(frozen=True, slots=True)
class _News:
    """What the source has beyond what live answers show, in one snapshot of it.

    `xids` has for each res_id the transactions that changed it. `reason` is why everything was
    compared, None when the outbox told.
    """

    state: FeedState
    reason: Reason | None
    xids: dict[int, str]
    replayed_at: datetime | None = None

    @property
    def ids(self) -> list[int]:
        """The keys of what changed."""
        return list(self.xids)

    @property
    def provenance(self) -> FeedKind:
        """Whom the entries come from."""
        return "scan" if self.reason else "outbox"


class TailRound:
    """`session` is the source's, outside of any transaction."""

    def __init__(
        self,
        warehouse: Database,
        source: ProbedSource,
        views: Mapping[str, CompiledView],
        session: Session,
    ) -> None:
        self._warehouse = warehouse
        self._source = source
        self._views = views
        self._session = session

    async def perform(self) -> Round:
        """One transaction of the warehouse; StoreError and others undo all of it.

        Contents that do not fit are looked for, at some round trips, once there is one.
        """
        try:
            return await self._perform(guarded=False)
        except StatementError as error:
            if not is_data_error(error):
                raise
            return await self._perform(guarded=True)

    async def _perform(self, *, guarded: bool) -> Round:
        async with self._warehouse.transaction(first=_FIRST) as held:
            position = await claim_position(held, "tail")
            if position is None:
                return Round("taken")
            batch = await _batch(held)
            if batch is None:
                return Round("idle")
            told = await self._told(held, position, batch, guarded=guarded)
            return told or await self._compared(held, batch)

    async def _told(
        self, held: Session, position: FeedPosition, batch: _Batch, *, guarded: bool
    ) -> Round | None:
        """A round by the outbox; None when it does not tell everything."""
        async with self._source.snapshot(self._session) as source:
            state = await look_at_feed(source.session)
            news = await _news(source.session, state, position, batch)
            if news is None:
                return None
            return await self._write(held, source, batch, news, guarded=guarded)

    async def _compared(self, held: Session, batch: _Batch) -> Round:
        """A round by comparison, on a session of its own for its temporary tables."""
        async with (
            self._warehouse.dedicated(statement_timeout_s=COMPARE_TIMEOUT_S) as own,
            open_staging(
                own,
                self._warehouse,
                Origin(self._source.source, frozenset(batch.tagged_types)),
                timeout_s=COMPARE_TIMEOUT_S,
            ) as staging,
        ):
            state = await look_at_feed(staging.source.session)
            continued = await continue_from(staging.source.session, state, batch.refresh)
            keys = await staging.keys(batch.types)
            await compare_keys(own, keys, types=batch.types, tagged_types=batch.tagged_types)
            rows = await own.fetch(_UNSAID, batch.types, CHANGES_MAX + 1)
            reason = continued.reason or "first_read"
            # Whoever sees this transaction, which has not begun, sees all that was compared.
            next_xid = staging.snapshot.split(":")[1]
            news = _News(state, reason, {row[0]: next_xid for row in rows}, staging.replayed_at)
            return await self._write(held, staging.source, batch, news, guarded=True)

    async def _write(
        self, held: Session, source: SourceSnapshot, batch: _Batch, news: _News, *, guarded: bool
    ) -> Round:
        """Entries and position; nothing when a refresh has published since the round began."""
        feed, reason = news.state.kind, news.reason
        if len(news.ids) > CHANGES_MAX:
            await leave_to_refresh(held)
            return Round("too_many", feed, reason, types=tuple(batch.types))
        if await lock_types(held, batch.types) != batch.anchor:
            return Round("outdated")
        pages = [news.ids[first : first + PAGE] for first in range(0, len(news.ids), PAGE)]
        written = [
            await self._write_page(held, source, batch, news, page, guarded=guarded)
            for page in pages
        ]
        await store_position(
            held, "tail", news.state, reason=reason, types=batch.types, seen_at=batch.now
        )
        return Round(
            "done",
            feed,
            reason,
            entries=sum(one.entries for one in written),
            dead_letters=sum(one.dead_letters for one in written),
            compared=reason is not None,
        )

    async def _write_page(
        self,
        held: Session,
        source: SourceSnapshot,
        batch: _Batch,
        news: _News,
        page: Sequence[int],
        *,
        guarded: bool,
    ) -> Written:
        states = await read_states(source, batch.types, page, guarded=guarded)
        gone = set(page) - {state.res_id for state in states}
        states += await gone_states(held, batch.types, sorted(gone), states)
        return await write_entries(
            held,
            _newest(states),
            self._views,
            provenance=news.provenance,
            xids=news.xids,
            read_at=batch.now,
            answered_before=known_before(news.replayed_at) or batch.now,
            guarded=guarded,
        )


async def _batch(held: Session) -> _Batch | None:
    row = await held.fetchrow(_BATCH, "refresh")
    if row is None or row["anchor"] is None:
        return None
    refresh = position_of(row)
    return _Batch(row["anchor"], row["view_types"], row["tagged_types"], row["now"], refresh)


async def _news(
    session: Session, state: FeedState, position: FeedPosition, batch: _Batch
) -> _News | None:
    """What the outbox tells since the tail's position, else since the anchor's; None: neither.

    A type that was published since is not in what the tail has read.
    """
    start = position if set(batch.types) <= set(position.types) else batch.refresh
    continued = await continue_from(session, state, start)
    if continued.changes is None and start is position:
        start = batch.refresh
        continued = await continue_from(session, state, start)
    if continued.changes is None:
        return None
    assert start.snapshot is not None
    changes = changes_after(start.snapshot, unseen_in=_absorbed(state, batch.refresh))
    rows = await session.fetch(compose(_TOLD, changes, param(CHANGES_MAX + 1, "bigint")))
    return _News(state, None, {row["res_id"]: row["xids"] for row in rows})


def _absorbed(state: FeedState, refresh: FeedPosition) -> str | None:
    """The anchor's snapshot, when it is one of this very source."""
    if state.identity is None or refresh.identity is None:
        return None
    return refresh.snapshot if state.identity.differs(refresh.identity) is None else None


def _newest(states: Sequence[ResourceState]) -> list[ResourceState]:
    """One for each (type, id): the present one, else the one made last."""
    ordered = sorted(states, key=lambda one: (one.text is not None, one.res_id))
    return list({(one.resource_type, one.id): one for one in ordered}.values())
