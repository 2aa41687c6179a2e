"""The cache of changed resources in Redis.

Every write is guarded by its version, so deliveries may be late, repeated or out of order and
still end in one state. A cancelled or failed write has an unknown outcome: repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from researchflow_runners.errors import QueryError, StoreError
from researchflow_runners.fhir import model
from researchflow_runners.speed.entry import (
    PROVISIONAL_TTL_S,
    Draft,
    Entry,
    Origin,
    WriteResult,
    entries_of,
    instant,
    milliseconds,
    newest,
)
from researchflow_runners.speed.keys import changes_key, entry_key, index_key, state_key
from researchflow_runners.speed.redis_connection import RedisConnection
from researchflow_runners.speed.resource import (
    check_id,
    check_type,
    check_version,
    parse_resource,
)

#: Per resource type. A refresh empties the cache; a projector that is away fills the log.
ENTRIES_MAX = 100_000
CHANGES_MAX = 100_000
SCAN_RESOURCES_MAX = 10_000
SCAN_PAGE = 500
VERSION_ATTEMPTS_MAX = 8


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """How often a resource that was looked for was there, since this client was made.

    Who looks: `get_fhir_resource`, `scan_recent_resources` and the projector, which fetches the
    bodies that changes announce; one that is gone meanwhile is a miss.
    """

    hits: int
    misses: int


class RedisClient:
    """The cached resources of one Redis."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self._hits = 0
        self._misses = 0

    @classmethod
    async def connect(cls, url: str) -> RedisClient:
        """A client; StoreError `redis_unavailable`, `redis_eviction_enabled`, `redis_too_old`."""
        return cls(await RedisConnection.connect(url))

    async def close(self) -> None:
        """Closes the pool."""
        await self.connection.close()

    async def is_up(self) -> bool:
        """Whether Redis answers now."""
        try:
            await self.connection.pipeline([("PING",)])
        except StoreError:
            return False
        return True

    @property
    def statistics(self) -> CacheStatistics:
        """Cache hits and misses so far."""
        return CacheStatistics(self._hits, self._misses)

    async def set_fhir_resource(
        self,
        resource_type: str,
        resource_id: str,
        resource: Mapping[str, Any] | str | bytes,
        *,
        version: int | None = None,
        origin: Origin = "provisional",
        provenance: str = "unknown",
        ttl_s: float = PROVISIONAL_TTL_S,
    ) -> WriteResult:
        """Caches one version of a resource.

        Without `version`, meta.versionId counts, else the newest version in Redis plus one:
        Redis alone does not know the batch layer's versions, ChangeWriter does.
        `ttl_s` applies to a provisional entry only.
        """
        parsed = parse_resource(resource, resource_type=resource_type, resource_id=resource_id)
        draft = Draft(
            resource_type=parsed.resource_type,
            resource_id=parsed.resource_id,
            version=0,
            text=parsed.text,
            origin=origin,
            provenance=provenance,
            ttl_s=ttl_s if origin == "provisional" else None,
        )
        return await self._write_at(draft, parsed.version if version is None else version)

    async def delete(
        self,
        resource_type: str,
        resource_id: str,
        *,
        version: int | None = None,
        origin: Origin = "provisional",
        provenance: str = "unknown",
        ttl_s: float = PROVISIONAL_TTL_S,
    ) -> WriteResult:
        """Caches that the resource is deleted as of `version`; see set_fhir_resource."""
        draft = Draft(
            resource_type=check_type(resource_type),
            resource_id=check_id(resource_id),
            version=0,
            text=None,
            origin=origin,
            provenance=provenance,
            ttl_s=ttl_s if origin == "provisional" else None,
        )
        return await self._write_at(draft, version)

    async def write(self, drafts: Sequence[Draft]) -> list[WriteResult]:
        """Writes checked drafts in order, in one round trip; one answer each."""
        calls = [_upsert_call(draft) for draft in drafts]
        answers = await self.connection.run_scripts(self.connection.upsert, calls) if calls else []
        return [_result(draft, answer) for draft, answer in zip(drafts, answers, strict=True)]

    async def get_fhir_resource(self, resource_type: str, resource_id: str) -> Entry | None:
        """The newest cached entry, a tombstone included; None when nothing is cached."""
        found = await self.entries(check_type(resource_type), [check_id(resource_id)])
        return found[0] if found else None

    async def entries(self, resource_type: str, ids: Sequence[str]) -> list[Entry]:
        """The newest counting entry of each id that has one, in the order of `ids`."""
        found = await self._newest(resource_type, ids)
        self.looked(asked=len(ids), found=len(found))
        return found

    def looked(self, *, asked: int, found: int) -> None:
        """Counts a look for `asked` resources, of which `found` were there."""
        self._hits += found
        self._misses += asked - found

    async def _newest(self, resource_type: str, ids: Sequence[str]) -> list[Entry]:
        by_id, now = await self.held(resource_type, ids)
        counting = [newest(by_id[resource_id], now) for resource_id in ids]
        return [entry for entry in counting if entry is not None]

    async def held(
        self, resource_type: str, ids: Sequence[str]
    ) -> tuple[dict[str, list[Entry]], datetime]:
        """Every entry of each id, expired ones included, and Redis' time."""
        commands: list[tuple[Any, ...]] = [("TIME",)]
        commands += [("HGETALL", entry_key(resource_type, resource_id)) for resource_id in ids]
        (seconds, micros), *hashes = await self.connection.pipeline(commands)
        now = instant(str(int(seconds) * 1000 + int(micros) // 1000))
        assert now is not None
        return {
            resource_id: entries_of(resource_type, resource_id, fields)
            for resource_id, fields in zip(ids, hashes, strict=True)
        }, now

    async def scan_recent_resources(
        self, resource_type: str, since: datetime | None = None, max_resources: int = 1000
    ) -> list[Entry]:
        """The newest entries that are not tombstones, newest first, at most `max_resources`.

        `since` (aware, inclusive, to the millisecond) is compared with the time Redis received
        the entry; QueryError `naive_datetime` or `max_resources_invalid`.
        """
        check_type(resource_type)
        _check_scan(since, max_resources)
        lowest = milliseconds(since) or "-inf"
        command = ("ZREVRANGEBYSCORE", index_key(resource_type), "+inf", lowest)
        (ids,) = await self.connection.pipeline([(*command, "LIMIT", 0, ENTRIES_MAX)])
        found: list[Entry] = []
        for start in range(0, len(ids), SCAN_PAGE):
            page = await self.entries(resource_type, ids[start : start + SCAN_PAGE])
            found += [entry for entry in page if not entry.deleted]
            if len(found) >= max_resources:
                break
        return found[:max_resources]

    async def count(self, resource_type: str) -> int:
        """How many resources of the type are cached, tombstones included."""
        (count,) = await self.connection.pipeline([("ZCARD", index_key(check_type(resource_type)))])
        return int(count)

    async def flush_all(self) -> int:
        """Empties the cache of every type and gives how many resources it held.

        Nothing acknowledged is lost: the next projection puts back what PostgreSQL holds.
        Other keys of the Redis database stay.
        """
        names = model().resource_names()
        held = await self.connection.pipeline([("EXISTS", state_key(name)) for name in names])
        flushed = 0
        for name in (name for name, exists in zip(names, held, strict=True) if exists):
            flushed += await self._flush_type(name)
        return flushed

    async def _flush_type(self, resource_type: str) -> int:
        own = (changes_key(resource_type), state_key(resource_type))
        await self.connection.pipeline([("UNLINK", *own)])
        flushed = 0
        for _page in range(0, ENTRIES_MAX + SCAN_PAGE, SCAN_PAGE):
            index = index_key(resource_type)
            (ids,) = await self.connection.pipeline([("ZRANGE", index, 0, SCAN_PAGE - 1)])
            if not ids:
                break
            keys = [entry_key(resource_type, resource_id) for resource_id in ids]
            await self.connection.pipeline([("UNLINK", *keys), ("ZREM", index, *ids)])
            flushed += len(ids)
        return flushed

    async def _write_at(self, draft: Draft, version: int | None) -> WriteResult:
        """Writes at `version`, or right after the newest that Redis knows."""
        if version is not None:
            (result,) = await self.write([_at(draft, check_version(version))])
            return result
        found = await self._newest(draft.resource_type, [draft.resource_id])
        known = found[0].version if found else 0
        for _attempt in range(VERSION_ATTEMPTS_MAX):
            (result,) = await self.write([_at(draft, known + 1)])
            if result.outcome == "stored":
                return result
            known = result.newest_version
        raise StoreError(
            f'"{draft.resource_type}/{draft.resource_id}" is written by too many at once',
            code="write_contended",
            hint="try again, or pass the version",
        )


def _at(draft: Draft, version: int) -> Draft:
    return Draft(
        resource_type=draft.resource_type,
        resource_id=draft.resource_id,
        version=version,
        text=draft.text,
        origin=draft.origin,
        provenance=draft.provenance,
        ttl_s=draft.ttl_s,
        incarnation=draft.incarnation,
    )


def _upsert_call(draft: Draft) -> tuple[list[str], list[str | int]]:
    return upsert_keys(draft.resource_type, draft.resource_id), [
        draft.resource_id,
        draft.version,
        draft.origin,
        int(draft.deleted),
        draft.text or "",
        draft.provenance,
        uuid4().hex,
        "" if draft.ttl_s is None else max(1, round(draft.ttl_s * 1000)),
        uuid4().hex,
        ENTRIES_MAX,
        CHANGES_MAX,
        "",
        "",
        "",
        draft.incarnation or "",
    ]


def upsert_keys(resource_type: str, resource_id: str) -> list[str]:
    """The keys that upsert.lua touches."""
    return [
        entry_key(resource_type, resource_id),
        index_key(resource_type),
        changes_key(resource_type),
        state_key(resource_type),
    ]


def _result(draft: Draft, answer: list[str]) -> WriteResult:
    outcome, newest_version, same, stream_id, received_at, expires_at = answer
    if outcome in ("cache_full", "log_full"):
        raise StoreError(
            f'the speed layer holds as much of "{draft.resource_type}" as it may',
            code="speed_layer_full",
            hint="run a refresh so that covered entries leave, and check that the projector runs",
        )
    return WriteResult(
        outcome=outcome,  # type: ignore[arg-type]
        version=draft.version,
        newest_version=int(newest_version),
        same_content=same == "1",
        stream_id=stream_id,
        received_at=instant(received_at),
        expires_at=instant(expires_at),
    )


def _check_scan(since: datetime | None, max_resources: int) -> None:
    if since is not None and since.utcoffset() is None:
        raise QueryError(
            '"since" has no time zone',
            code="naive_datetime",
            hint="pass an aware datetime, such as datetime.now(UTC)",
            field="since",
        )
    if not 1 <= max_resources <= SCAN_RESOURCES_MAX:
        raise QueryError(
            f'max_resources "{max_resources}" is out of range',
            code="max_resources_invalid",
            hint=f"ask for 1 to {SCAN_RESOURCES_MAX}",
            field="max_resources",
        )
