"""How far a reader of the outbox has read, kept in the warehouse beside what it made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Literal

import asyncpg

from researchflow_runners.feed.state import FeedKind, FeedState, Identity, Reason
from researchflow_runners.store.database import Session

Reader = Literal["refresh", "tail"]

#: A reader's position, whose row `position_of` takes.
POSITION = """
SELECT feed, reason, snapshot, identity, witness, types, seen_at
FROM researchflow.feed_position WHERE reader = $1
"""
#: Who comes while another one reads leaves it to that one.
_CLAIM = f"{POSITION} FOR UPDATE SKIP LOCKED"
_BEGIN = """
INSERT INTO researchflow.feed_position (reader, feed, reason, seen_at)
VALUES ($1, 'scan', 'first_read', '-infinity') ON CONFLICT DO NOTHING
"""
_STORE = """
INSERT INTO researchflow.feed_position AS p
    (reader, feed, reason, snapshot, identity, witness, types, seen_at, compared_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8::timestamptz,
        CASE WHEN $9 THEN $8::timestamptz END)
ON CONFLICT (reader) DO UPDATE
SET feed = excluded.feed, reason = excluded.reason, snapshot = excluded.snapshot,
    identity = excluded.identity, witness = excluded.witness, types = excluded.types,
    seen_at = excluded.seen_at, compared_at = coalesce(excluded.compared_at, p.compared_at),
    left_at = NULL
"""
_LEAVE = """
UPDATE researchflow.feed_position SET left_at = now() WHERE reader = 'tail' AND left_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """The snapshot of the last read. `identity` is None when only a comparison can follow it."""

    feed: FeedKind
    reason: Reason | None
    snapshot: str | None
    identity: Identity | None
    witness: str | None
    types: tuple[str, ...]
    seen_at: datetime


async def read_position(session: Session, reader: Reader) -> FeedPosition | None:
    """Where the reader is; None when it has never read."""
    row = await session.fetchrow(POSITION, reader)
    return position_of(row) if row else None


async def claim_position(session: Session, reader: Reader) -> FeedPosition | None:
    """The same, held until the transaction ends; None when another process holds it."""
    row = await session.fetchrow(_CLAIM, reader)
    if row is None and await session.execute(_BEGIN, reader):
        row = await session.fetchrow(_CLAIM, reader)
    return position_of(row) if row else None


async def store_position(
    session: Session,
    reader: Reader,
    state: FeedState,
    *,
    reason: Reason | None,
    types: Sequence[str],
    seen_at: datetime,
) -> None:
    """Moves the reader to the state, in the transaction of what it made of it.

    `reason` tells why everything was compared; None when the outbox told the changes.
    """
    await session.execute(
        _STORE,
        reader,
        state.kind,
        reason,
        state.snapshot,
        json.dumps(asdict(state.identity)) if state.identity else None,
        state.witness,
        list(types),
        seen_at,
        reason is not None,
    )


async def leave_to_refresh(session: Session) -> None:
    """Notes that the tail stays where it is, until a round goes well again."""
    await session.execute(_LEAVE)


def position_of(row: asyncpg.Record) -> FeedPosition:
    """The position in a row with the columns of POSITION."""
    found = {field.name: row[field.name] for field in fields(FeedPosition)}
    identity = Identity(**json.loads(row["identity"])) if row["identity"] else None
    return FeedPosition(**{**found, "identity": identity, "types": tuple(row["types"])})
