"""Changes written as HAPI writes them: a head, a row per version, tags in tables of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from researchflow_runners.source.resource import Change, Tag
from researchflow_runners.store.database import Session

#: HAPI's sequences grow by 50; each value stands for the 50 keys from there on.
SEQUENCE_STEP = 50
#: Development tables have one writer at a time.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('researchflow hapi writer', 0))"
_CLOCK = "SELECT (date_trunc('milliseconds', clock_timestamp()) AT TIME ZONE 'UTC')"
_KEYS = "SELECT nextval($1::text::regclass) FROM generate_series(1, $2::int)"
_HEADS = """
SELECT r.res_type, r.fhir_id, r.res_id, r.res_ver, r.hash_sha256, r.res_published,
       r.res_deleted_at IS NOT NULL AS deleted
  FROM hfj_resource r
  JOIN (SELECT DISTINCT * FROM unnest($1::text[], $2::text[])) AS k (res_type, fhir_id)
    ON r.res_type = k.res_type AND r.fhir_id = k.fhir_id
"""
_UPDATE = """
UPDATE hfj_resource r
   SET res_ver = k.res_ver, hash_sha256 = k.hash, has_tags = k.has_tags, res_updated = $1,
       res_deleted_at = CASE WHEN k.deleted THEN $1::timestamp END
  FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::boolean[])
       AS k (res_id, res_ver, hash, has_tags, deleted)
 WHERE r.res_id = k.res_id
"""
_DROP_TAGS = "DELETE FROM hfj_res_tag WHERE res_id = ANY ($1::bigint[])"
_TAG_DEFINITIONS = "SELECT tag_id, tag_type, tag_system, tag_code, tag_display FROM hfj_tag_def"
_EXPUNGE = """
WITH gone AS (SELECT res_id FROM hfj_resource WHERE res_type = $1 AND fhir_id = $2),
     tags AS (DELETE FROM hfj_res_tag t USING gone WHERE t.res_id = gone.res_id),
     versions AS (DELETE FROM hfj_res_ver v USING gone WHERE v.res_id = gone.res_id)
DELETE FROM hfj_resource r USING gone WHERE r.res_id = gone.res_id
"""

FLAG_COLUMNS = (
    "sp_has_links", "sp_coords_present", "sp_date_present", "sp_number_present",
    "sp_quantity_nrml_present", "sp_quantity_present", "sp_string_present", "sp_token_present",
    "sp_uri_present",
)  # fmt: skip
_FLAGS = (False,) * len(FLAG_COLUMNS)
HEAD_COLUMNS = [
    "res_id", "res_type", "fhir_id", "res_ver", "res_version", "has_tags", "hash_sha256",
    "res_deleted_at", "res_published", "res_updated", *FLAG_COLUMNS,
]  # fmt: skip
VERSION_COLUMNS = [
    "pid", "res_id", "res_type", "res_ver", "res_version", "has_tags", "res_deleted_at",
    "res_published", "res_updated", "res_encoding", "res_text_vc", "source_uri",
]  # fmt: skip
TAG_COLUMNS = ["pid", "res_id", "res_type", "tag_id"]
TAG_DEFINITION_COLUMNS = ["tag_id", "tag_type", "tag_system", "tag_code", "tag_display"]


@dataclass(slots=True)
class Tally:
    """What became of the changes."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0

    @property
    def total(self) -> int:
        """All changes."""
        return self.created + self.updated + self.unchanged + self.deleted

    def add(self, other: Tally) -> None:
        """Adds the other's counts."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.deleted += other.deleted


@dataclass(slots=True)
class _Head:
    res_id: int
    version: int
    digest: str | None
    deleted: bool
    published: datetime
    is_new: bool = False
    tags: tuple[Tag, ...] = ()


@dataclass
class Writer:
    """Applies batches of changes; keep one for a whole load, it remembers the tags."""

    _tag_ids: dict[Tag, int] = field(default_factory=dict)

    async def apply(self, session: Session, changes: Sequence[Change]) -> Tally:
        """Stores the changes in order; the caller's transaction makes them visible.

        A content equal to the newest one makes no version. A deletion of what is not there
        changes nothing.
        """
        await session.execute(_LOCK)
        instant: datetime = await session.fetchval(_CLOCK)
        heads = await self._heads(session, changes)
        batch = _Batch(instant, heads, _Keys(await self._keys(session, changes, heads)))
        for change in changes:
            batch.add(change)
        await self._store(session, batch)
        return batch.tally

    async def _heads(
        self, session: Session, changes: Sequence[Change]
    ) -> dict[tuple[str, str], _Head]:
        rows = await session.fetch(
            _HEADS, [change.res_type for change in changes], [change.id for change in changes]
        )
        return {
            (row["res_type"], row["fhir_id"]): _Head(
                row["res_id"], row["res_ver"], row["hash_sha256"], row["deleted"],
                row["res_published"],
            )
            for row in rows
        }  # fmt: skip

    async def _keys(
        self, session: Session, changes: Sequence[Change], heads: dict[tuple[str, str], _Head]
    ) -> list[int]:
        """Enough keys for every change to be a resource that is not there yet."""
        if len(heads) >= len({(change.res_type, change.id) for change in changes}):
            return []
        return await _next_keys(session, "seq_resource_id", len(changes))

    async def _store(self, session: Session, batch: _Batch) -> None:
        await session.copy_records("hfj_resource", columns=HEAD_COLUMNS, records=batch.new_heads())
        changed = batch.changed_heads()
        if changed:
            await session.execute(_UPDATE, batch.instant, *map(list, zip(*changed, strict=True)))
            await session.execute(_DROP_TAGS, [row[0] for row in changed])
        pids = await _next_keys(session, "seq_resource_history_id", len(batch.versions))
        await session.copy_records(
            "hfj_res_ver",
            columns=VERSION_COLUMNS,
            records=[(pid, *version) for pid, version in zip(pids, batch.versions, strict=False)],
        )
        await self._store_tags(session, batch)

    async def _store_tags(self, session: Session, batch: _Batch) -> None:
        tagged = [(key, head) for key, head in batch.dirty.items() if head.tags]
        await self._define(session, {tag for _, head in tagged for tag in head.tags})
        rows = [
            (head.res_id, res_type, self._tag_ids[tag])
            for (res_type, _), head in tagged
            for tag in head.tags
        ]
        pids = await _next_keys(session, "seq_restag_id", len(rows))
        await session.copy_records(
            "hfj_res_tag",
            columns=TAG_COLUMNS,
            records=[(pid, *row) for pid, row in zip(pids, rows, strict=False)],
        )

    async def _define(self, session: Session, tags: set[Tag]) -> None:
        """Every tag has a definition; those that other writers made are found again."""
        if tags <= self._tag_ids.keys():
            return
        for tag_id, *parts in await session.fetch(_TAG_DEFINITIONS):
            self._tag_ids.setdefault(Tag(*parts), tag_id)
        missing = sorted(tags - self._tag_ids.keys(), key=repr)
        keys = await _next_keys(session, "seq_tagdef_id", len(missing))
        made = dict(zip(missing, keys, strict=False))
        await session.copy_records(
            "hfj_tag_def",
            columns=TAG_DEFINITION_COLUMNS,
            records=[(tag_id, *tag) for tag, tag_id in made.items()],
        )
        self._tag_ids |= made


class _Keys:
    def __init__(self, keys: Iterable[int]) -> None:
        self.take = iter(keys).__next__


class _Batch:
    """The rows that a batch of changes comes to."""

    def __init__(self, instant: datetime, heads: dict[tuple[str, str], _Head], keys: _Keys) -> None:
        self.instant = instant
        self.tally = Tally()
        self.dirty: dict[tuple[str, str], _Head] = {}
        self.versions: list[tuple[object, ...]] = []
        self._heads = heads
        self._keys = keys

    def add(self, change: Change) -> None:
        """One change on top of those before it."""
        key = (change.res_type, change.id)
        head = self._heads.get(key)
        if change.text is None:
            if head is None or head.deleted:
                self.tally.unchanged += 1
                return
            digest = None
            self.tally.deleted += 1
        else:
            digest = change.digest
            if head is not None and not head.deleted and head.digest == digest:
                self.tally.unchanged += 1
                return
            if head is None:
                head = self._heads[key] = _Head(
                    self._keys.take(), 0, None, False, self.instant, is_new=True
                )
                self.tally.created += 1
            else:
                self.tally.updated += 1
        self._advance(key, head, change, digest)

    def _advance(
        self, key: tuple[str, str], head: _Head, change: Change, digest: str | None
    ) -> None:
        head.version += 1
        head.digest = digest
        head.deleted = change.text is None
        head.tags = change.tags
        self.dirty[key] = head
        self.versions.append(
            (
                head.res_id, change.res_type, head.version, "R4", bool(change.tags),
                self.instant if head.deleted else None, head.published, self.instant,
                "DEL" if head.deleted else "JSON", change.text, change.source,
            )
        )  # fmt: skip

    def new_heads(self) -> list[tuple[object, ...]]:
        """Rows of HEAD_COLUMNS."""
        return [
            (
                head.res_id, res_type, resource_id, head.version, "R4", bool(head.tags),
                head.digest, self.instant if head.deleted else None, head.published,
                self.instant, *_FLAGS,
            )
            for (res_type, resource_id), head in self.dirty.items()
            if head.is_new
        ]  # fmt: skip

    def changed_heads(self) -> list[tuple[int, int, str | None, bool, bool]]:
        """Key, version, digest, tags or not, deleted or not, of heads that were there before."""
        return [
            (head.res_id, head.version, head.digest, bool(head.tags), head.deleted)
            for head in self.dirty.values()
            if not head.is_new
        ]


async def _next_keys(session: Session, sequence: str, count: int) -> list[int]:
    """At least `count` new keys."""
    blocks = -(-count // SEQUENCE_STEP)
    firsts = [row[0] for row in await session.fetch(_KEYS, sequence, blocks)] if blocks else []
    return [first + offset for first in firsts for offset in range(SEQUENCE_STEP)]


async def expunge_rows(session: Session, res_type: str, resource_id: str) -> bool:
    """Removes every trace of the resource; whether there was one."""
    await session.execute(_LOCK)
    return await session.execute(_EXPUNGE, res_type, resource_id) > 0
