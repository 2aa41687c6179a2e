"""What the source holds of single resources now: asked with few round trips."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.errors import StatementError
from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.reader import HapiSource, SourceSnapshot
from researchflow_runners.source.replay import replayed_at
from researchflow_runners.speed.known import Key
from researchflow_runners.sql import compose, param
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Session

#: A server that is upgraded while we run gains columns, seldom.
PROBE_INTERVAL_S = 60.0

#: Where ids are told apart by partition, the constraint has that column too.
_NAMES_ARE_UNIQUE = """
SELECT EXISTS (
    SELECT FROM pg_index AS i
    WHERE i.indrelid = to_regclass('hfj_resource') AND i.indisunique AND i.indpred IS NULL
      AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute AS a
           WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
          = ARRAY['fhir_id', 'res_type'])
"""
_HEADS = """
SELECT k.res_id, k.id, k.res_ver, k.deleted FROM {keys} AS k WHERE k.id = ANY ({ids})
"""
#: The text as the server would give it; jsonb keeps the digits of decimals.
_CONTENT = """
SELECT c.res_id, (c.text::jsonb || jsonb_build_object('id', c.id, 'meta', c.meta))::text AS text
FROM {current} AS c
"""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the source holds of a resource now; `text` only where it was asked for.

    It is None for a deleted resource, and for one whose content cannot be read.
    """

    res_id: int
    version: int
    deleted: bool
    text: str | None = None


@dataclass(frozen=True, slots=True)
class States:
    """The source at one instant: of a key that is missing here it holds nothing.

    `ambiguous` are keys of several living resources, one a partition; they are not in `by_key`.
    `replayed_at` is set for a replica: what happened later may not be there yet.
    """

    by_key: Mapping[Key, Confirmed]
    ambiguous: frozenset[Key]
    replayed_at: datetime | None


class SourceStates:
    """The newest states of the source's resources; its layout is probed seldom."""

    def __init__(self, source: HapiSource) -> None:
        self._source = source
        self._layout: HapiLayout | None = None
        self._names_are_unique = False
        self._probe_at = 0.0

    @property
    def names_are_unique(self) -> bool:
        """Whether the source is known to hold one resource of each type and id."""
        return self._names_are_unique

    async def confirm(self, wanted: Mapping[Key, int]) -> dict[Key, Confirmed]:
        """The state of each resource that the source knows, with the text where it is confirmed.

        `wanted` gives the version to confirm, 0 where none is and the newest number is enough.
        """
        if not any(wanted.values()) and self._layout is not None and not self._is_due():
            # Numbers alone are a statement a type: what is known of each is of one instant.
            async with self._source.database.session() as session:
                return (await _heads(SourceSnapshot(session, self._layout), wanted))[0]
        async with self._snapshot() as snapshot:
            heads, _ambiguous = await _heads(snapshot, wanted)
            asked = [key for key, head in heads.items() if head.version >= wanted[key] > 0]
            return {**heads, **await _contents(snapshot, {key: heads[key] for key in asked})}

    async def read(self, keys: Collection[Key]) -> States:
        """The state of each resource that the source knows, with its text."""
        async with self._snapshot() as snapshot:
            replayed = await replayed_at(snapshot.session)
            heads, ambiguous = await _heads(snapshot, keys)
            by_key = {**heads, **await _contents(snapshot, heads)}
            return States(by_key, ambiguous, replayed)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[SourceSnapshot]:
        """One snapshot; where contents must be unpacked first, that is seen to."""
        if self._layout is not None and self._layout.has_large_objects:
            async with self._source.snapshot() as snapshot:
                yield snapshot
            return
        database = self._source.database
        async with database.transaction(isolation="repeatable read", readonly=True) as session:
            snapshot = SourceSnapshot(session, await self._probed(session))
            if not snapshot.layout.has_large_objects:
                yield snapshot
                return
        async with self._source.snapshot() as snapshot:
            yield snapshot

    async def _probed(self, session: Session) -> HapiLayout:
        if self._layout is None or self._is_due():
            self._layout = await self._source.probe(session)
            self._names_are_unique = await session.fetchval(_NAMES_ARE_UNIQUE)
            self._probe_at = time.monotonic() + PROBE_INTERVAL_S
        return self._layout

    def _is_due(self) -> bool:
        """Whether the layout is to be looked at anew."""
        return time.monotonic() >= self._probe_at


async def _heads(
    snapshot: SourceSnapshot, keys: Iterable[Key]
) -> tuple[dict[Key, Confirmed], frozenset[Key]]:
    """The newest version of each resource, and the keys that several living ones have.

    Where an id is in several partitions, the one that is not deleted counts, as in a refresh.
    """
    found: dict[Key, Confirmed] = {}
    living: Counter[Key] = Counter()
    for resource_type, ids in _by_type(keys).items():
        narrowed = snapshot.layout.candidates(ids)
        relation = snapshot.layout.keys_relation([resource_type], only=narrowed)
        query = compose(_HEADS, keys=relation, ids=param(ids, "text[]"))
        for row in await snapshot.session.fetch(query):
            key = (resource_type, row["id"])
            living[key] += not row["deleted"]
            if key not in found or not row["deleted"]:
                found[key] = Confirmed(row["res_id"], row["res_ver"], row["deleted"])
    ambiguous = frozenset(key for key, count in living.items() if count > 1)
    return {key: head for key, head in found.items() if key not in ambiguous}, ambiguous


async def _contents(
    snapshot: SourceSnapshot, heads: Mapping[Key, Confirmed]
) -> dict[Key, Confirmed]:
    """The states of what is not deleted, with version and text of what can be read."""
    contents: dict[Key, Confirmed] = {}
    living = [key for key, head in heads.items() if not head.deleted]
    for resource_type, ids in _by_type(living).items():
        keys = {heads[resource_type, one].res_id: (resource_type, one) for one in ids}
        texts = await _texts(snapshot, resource_type, list(keys))
        for res_id, key in keys.items():
            contents[key] = Confirmed(res_id, heads[key].version, False, texts.get(res_id))
    return contents


async def _texts(
    snapshot: SourceSnapshot, resource_type: str, res_ids: list[int]
) -> dict[int, str]:
    """The texts by key; one that is no JSON is left out, found by halving."""
    texts: dict[int, str] = {}
    pending = [res_ids]
    while pending:
        some = pending.pop()
        try:
            async with snapshot.session.savepoint():
                texts |= await _parsed(snapshot, resource_type, some)
        except StatementError as error:
            if not is_data_error(error):
                raise
            half = len(some) // 2
            pending += [part for part in (some[half:], some[:half]) if len(some) > 1]
    return texts


async def _parsed(
    snapshot: SourceSnapshot, resource_type: str, res_ids: list[int]
) -> dict[int, str]:
    only = compose("(SELECT res_id FROM unnest({}) AS k (res_id))", param(res_ids, "bigint[]"))
    current = await snapshot.current(resource_type, with_meta=True, only=only)
    rows = await snapshot.session.fetch(compose(_CONTENT, current=current))
    return {row["res_id"]: row["text"] for row in rows}


def _by_type(keys: Iterable[Key]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for resource_type, resource_id in keys:
        ids.setdefault(resource_type, []).append(resource_id)
    return ids
