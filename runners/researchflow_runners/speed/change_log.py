"""The cache as a log: which resources changed since a position, and whether anything was lost.

Each stream entry names the one before it. When the first entry after a position does not name
that position, or none follows and the head is elsewhere, or the epoch is another, then Redis was
emptied or restored and does not hold what was applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from researchflow_runners.speed.entry import ORIGINS, Entry, milliseconds
from researchflow_runners.speed.keys import changes_key, entry_key, index_key, state_key
from researchflow_runners.speed.redis_client import (
    CHANGES_MAX,
    ENTRIES_MAX,
    RedisClient,
    upsert_keys,
)
from researchflow_runners.speed.redis_connection import redis_errors

START = "0-0"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Position:
    """A point in the log of one resource type; epoch is empty when there is no log."""

    epoch: str
    stream_id: str

    def at(self, stream_id: str) -> Position:
        """Another point of the same log."""
        return Position(self.epoch, stream_id)

    def reaches(self, other: Position) -> bool:
        """Whether this point is at or after the other; one of another epoch leads nowhere."""
        return self.epoch != other.epoch or _order(self.stream_id) >= _order(other.stream_id)


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows a position: the changed ids, where they end, and where the log ends."""

    ids: tuple[str, ...]
    last: Position
    head: Position
    continues: bool


class ChangeLog:
    """The log of every resource type of one Redis."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._connection = redis.connection

    async def heads(self, resource_types: Sequence[str]) -> dict[str, Position]:
        """Where the log of each type ends; types without a log are left out."""
        commands = [("HMGET", state_key(name), "epoch", "head") for name in resource_types]
        answers = await self._connection.pipeline(commands)
        return {
            name: _position(answer)
            for name, answer in zip(resource_types, answers, strict=True)
            if answer != [None, None]
        }

    async def after(self, resource_type: str, applied: Position) -> Changes:
        """The next changes after `applied`, which is durable: what precedes it is trimmed."""
        changes = changes_key(resource_type)
        _trimmed, state, items = await self._connection.pipeline(
            [
                ("XTRIM", changes, "MINID", applied.stream_id),
                ("HMGET", state_key(resource_type), "epoch", "head"),
                ("XRANGE", changes, f"({applied.stream_id}", "+", "COUNT", PAGE),
            ],
            atomic=True,
        )
        head = _position(state)
        before = items[0][1]["before"] if items else head.stream_id
        last = items[-1][0] if items else head.stream_id
        return Changes(
            ids=tuple(dict.fromkeys(fields["id"] for _stream_id, fields in items)),
            last=Position(head.epoch, last),
            head=head,
            continues=head.epoch == applied.epoch and before == applied.stream_id,
        )

    async def begin_epoch(self, resource_type: str) -> Position:
        """Names the log anew after a loss and gives where it ends now."""
        epoch = uuid4().hex
        key = state_key(resource_type)
        _set, state = await self._connection.pipeline(
            [("HSET", key, "epoch", epoch), ("HMGET", key, "epoch", "head")], atomic=True
        )
        return _position(state)

    async def entries(self, resource_type: str, ids: Sequence[str]) -> list[Entry]:
        """Every entry of the ids, expired ones included."""
        by_id, _now = await self._redis.held(resource_type, ids)
        self._redis.looked(asked=len(by_id), found=sum(map(bool, by_id.values())))
        return [entry for resource_id in ids for entry in by_id[resource_id]]

    async def cached_ids(self, resource_type: str) -> AsyncIterator[list[str]]:
        """The cached ids in pages; an id may come twice, none that stays is left out."""
        cursor = "0"
        for _page in range(ENTRIES_MAX):
            command = ("ZSCAN", index_key(resource_type), cursor, "COUNT", PAGE)
            ((next_cursor, scored),) = await self._connection.pipeline([command])
            yield [resource_id for resource_id, _score in scored]
            cursor = str(next_cursor)
            if cursor == "0":
                return

    async def put_back(self, entries: Sequence[Entry]) -> None:
        """Caches entries again as they were, without logging them as changes."""
        calls = [(upsert_keys(one.resource_type, one.resource_id), _again(one)) for one in entries]
        if calls:
            await self._connection.run_scripts(self._connection.upsert, calls)

    async def forget(
        self, resource_type: str, held: Mapping[str, Mapping[str, int]], applied: Position
    ) -> int:
        """Drops what is applied and not among `held`, and what has expired; gives how many.

        `held` gives for each id the version that PostgreSQL holds of each origin.
        """
        calls = [
            (
                [
                    entry_key(resource_type, resource_id),
                    index_key(resource_type),
                    state_key(resource_type),
                ],
                [
                    resource_id,
                    *(versions.get(origin, "") for origin in ORIGINS),
                    applied.epoch,
                    applied.stream_id,
                ],
            )
            for resource_id, versions in held.items()
        ]
        if not calls:
            return 0
        answers = await self._connection.run_scripts(self._connection.forget, calls)
        return sum(int(answer) for answer in answers)

    async def wait(self, positions: Mapping[str, str], timeout_s: float) -> dict[str, str]:
        """The types, of those given with a stream id, that have an entry after it, and its place.

        Returns as soon as there is one; empty when there is none within the time.
        """
        names = {changes_key(name): name for name in positions}
        with redis_errors():
            found = await self._connection.redis.execute_command(
                "XREAD",
                "COUNT",
                1,
                "BLOCK",
                max(1, round(timeout_s * 1000)),
                "STREAMS",
                *names,
                *positions.values(),
            )
        return {names[key]: entries[0][0] for key, entries in found or ()}


def later(one: str, other: str) -> str:
    """The later of two places in a log."""
    return max(one, other, key=_order)


def _order(stream_id: str) -> tuple[int, int]:
    milliseconds_part, _dash, sequence = stream_id.partition("-")
    return int(milliseconds_part), int(sequence)


def _position(state: list[str | None]) -> Position:
    return Position(state[0] or "", state[1] or START)


def _again(entry: Entry) -> list[str | int]:
    return [
        entry.resource_id,
        entry.version,
        entry.origin,
        int(entry.deleted),
        entry.text or "",
        entry.provenance,
        uuid4().hex,
        "",
        "",
        ENTRIES_MAX,
        CHANGES_MAX,
        milliseconds(entry.received_at),
        milliseconds(entry.expires_at),
        entry.stream_id,
        entry.incarnation or "",
    ]
