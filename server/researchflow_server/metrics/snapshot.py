"""What PostgreSQL's bookkeeping says about freshness, overlay and refreshes, at one instant.

A background task reads it, so that neither a scrape nor a tool call waits for the database.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from researchflow_runners.errors import StoreError
from researchflow_runners.feed.position import Reader
from researchflow_runners.feed.state import FeedKind, Reason
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.store.database import Database
from researchflow_runners.store.set_aside import SetAside, views_set_aside
from researchflow_server.metrics.tally import RefreshState, RefreshTally

SNAPSHOT_TIMEOUT_S = 10.0
#: Three of the longest intervals that the settings allow.
SNAPSHOT_AGE_MAX_S = 60.0
REDIS_TIMEOUT_S = 1.0


def _sql(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text()


_VIEWS = _sql("views.sql")
_OVERLAY = _sql("overlay.sql")
_FEEDS = _sql("feeds.sql")
_RECONCILED = _sql("reconciled.sql")
_LEFT_AT = "SELECT left_at FROM researchflow.feed_position WHERE reader = 'tail'"


@dataclass(frozen=True, slots=True)
class ViewState:
    """Freshness of one published view; None is unknown, never zero.

    `set_aside` is why it cannot be computed for now; it then has the anchor that it answers for.
    """

    view: str
    resource_type: str
    anchor: int | None
    data_as_of: datetime | None
    checked_at: datetime | None
    pending: int | None
    oldest_pending_at: datetime | None
    dead_letters: int
    set_aside: str | None = None

    def number(self, attribute: str) -> float:
        """The attribute as a metric tells it: instants in seconds since 1970."""
        value = getattr(self, attribute)
        return float(value.timestamp() if isinstance(value, datetime) else value)

    def staleness_s(self, now: datetime) -> float | None:
        """Seconds since the oldest change that waits; 0 when none does, None when unknown."""
        if self.pending == 0:
            return 0.0
        if self.oldest_pending_at is None:
            return None
        return max(0.0, round((now - self.oldest_pending_at).total_seconds(), 3))


@dataclass(frozen=True, slots=True)
class OverlayState:
    """How many changes of one type count now, by origin."""

    resource_type: str
    origin: str
    entries: int


@dataclass(frozen=True, slots=True)
class FeedReading:
    """How far a reader of the source is; `reason` is why it compared everything the last time."""

    reader: Reader
    feed: FeedKind
    reason: Reason | None
    seen_at: datetime
    compared_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """In how many types source and ledger differed when they were summed last, None if never.

    `is_missing`: the last refresh that was to sum them could not.
    """

    differing: int
    counted_at: datetime | None
    is_missing: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of one look; without a warehouse there is nothing to tell but that.

    `taken_at` is the database's clock where it answered, `seen_at` always the host's. Since
    `left_at` the tail leaves what changed to a refresh.
    """

    taken_at: datetime
    seen_at: datetime
    warehouse_up: bool
    redis_up: bool
    views: tuple[ViewState, ...] = ()
    overlay: tuple[OverlayState, ...] = ()
    feeds: tuple[FeedReading, ...] = ()
    reconciled: Reconciled | None = None
    refresh: RefreshState | None = None
    set_aside: tuple[SetAside, ...] = ()
    left_at: datetime | None = None

    def is_recent(self, now: datetime) -> bool:
        """Whether the look still tells how things are; its task may have stalled since."""
        return abs((now - self.seen_at).total_seconds()) <= SNAPSHOT_AGE_MAX_S


async def take_snapshot(database: Database, redis: RedisClient, tally: RefreshTally) -> Snapshot:
    """A new look at both stores; a store that does not answer is down, not an error."""
    redis_up = await _redis_up(redis)
    try:
        return await _look(database, redis_up, tally)
    except StoreError:
        now = datetime.now(UTC)
        return Snapshot(taken_at=now, seen_at=now, warehouse_up=False, redis_up=redis_up)


async def _redis_up(redis: RedisClient) -> bool:
    """Whether Redis answers and is fit to hold changes."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_S):
            await redis.connection.check_server()
    except (StoreError, TimeoutError):
        return False
    return True


async def _look(database: Database, redis_up: bool, tally: RefreshTally) -> Snapshot:
    async with database.transaction(
        isolation="repeatable read", readonly=True, statement_timeout_s=SNAPSHOT_TIMEOUT_S
    ) as session:
        taken_at = await session.fetchval("SELECT now()")
        views = await session.fetch(_VIEWS)
        overlay = await session.fetch(_OVERLAY)
        feeds = await session.fetch(_FEEDS)
        reconciled = await session.fetchrow(_RECONCILED)
        assert reconciled is not None
        refreshes = await tally.look(session)
        aside = await views_set_aside(session)
        left_at = await session.fetchval(_LEFT_AT)
    return Snapshot(
        taken_at=taken_at,
        seen_at=datetime.now(UTC),
        warehouse_up=True,
        redis_up=redis_up,
        views=tuple(ViewState(*row.values()) for row in views),
        overlay=tuple(OverlayState(*row.values()) for row in overlay),
        feeds=tuple(FeedReading(*row.values()) for row in feeds),
        reconciled=Reconciled(*reconciled.values()),
        refresh=refreshes,
        set_aside=aside,
        left_at=left_at,
    )
