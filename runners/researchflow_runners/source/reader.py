"""The source as one consistent state: HAPI's tables as one transaction sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from researchflow_runners.errors import SourceDataError, StatementError
from researchflow_runners.source.clock import AHEAD_MAX
from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.legacy import CREATE_LEGACY_TABLE, stage_large_objects
from researchflow_runners.source.meta import with_meta_of_text
from researchflow_runners.source.options import SourceOptions
from researchflow_runners.source.probe import probe
from researchflow_runners.source.replay import replayed_at
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.database import Database, Session

READ_ONLY_STATE = "25006"
CURRENT_COLUMNS = ("res_id", "id", "version", "text")

_COUNTS = """
SELECT r.res_type, count(*) AS n FROM hfj_resource r
 WHERE r.res_deleted_at IS NULL{own} GROUP BY r.res_type ORDER BY r.res_type COLLATE "C"
"""
_HEADS = """SELECT k.res_id, k.id, k.res_ver, k.deleted, k.updated_at
  FROM {keys} k WHERE k.id = ANY ({ids})"""
#: What lies further ahead than any zone could is no date of a change; a local time that comes twice
#: in the year proves nothing.
_NEWEST = """
SELECT CASE WHEN n.newest AT TIME ZONE {zone}
                 <= (n.newest - interval '1 h') AT TIME ZONE {zone} + interval '1 h'
            THEN n.newest AT TIME ZONE {zone} END
  FROM (SELECT max(res_updated) AS newest FROM hfj_resource
         WHERE res_updated <= now() AT TIME ZONE {zone} + {ahead_max}) AS n
"""
_UNREADABLE = "SELECT u.res_id, u.reason FROM {} u"
_UNREADABLE_COUNT = "SELECT count(*) FROM {} u"
_RESOURCE = "SELECT c.id, c.version, c.text, c.meta::text AS meta FROM {current} c"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of one resource; a deletion is a version of its own."""

    res_id: int
    id: str
    version: int
    deleted: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Content:
    """The newest content of one resource; `meta` is JSON, rebuilt as the server would."""

    id: str
    version: int
    text: str
    meta: str


@dataclass(frozen=True, slots=True)
class HapiSource:
    """HAPI's tables in one database, and what its operator says of them."""

    database: Database
    options: SourceOptions = field(default_factory=SourceOptions)

    @asynccontextmanager
    async def snapshot(
        self, *, statement_timeout_s: float | None = None
    ) -> AsyncIterator[SourceSnapshot]:
        """One REPEATABLE READ, READ ONLY transaction on a pooled connection.

        It becomes read-only after its temporary table, if it needs one, has been made.
        """
        async with self.database.session() as session:
            replayed = await replayed_at(session)
            async with session.transaction(
                isolation="repeatable read",
                readonly=None,
                statement_timeout_s=statement_timeout_s,
            ):
                attached = await self.attach(session)
                await session.execute("SET TRANSACTION READ ONLY")
                yield replace(attached, replayed_at=replayed)

    async def attach(self, session: Session) -> SourceSnapshot:
        """The source inside a transaction that the caller keeps, on a session of `database`.

        It is one snapshot when that transaction is REPEATABLE READ.
        """
        layout = await self.probe(session)
        if layout.has_large_objects:
            await _make_legacy_table(session)
        return SourceSnapshot(session, layout)

    async def probe(self, session: Session) -> HapiLayout:
        """The layout of the tables; see `probe.probe`."""
        return await probe(session, self.options)


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """HAPI's tables as one transaction sees them; `replayed_at` as that of `source.replay`."""

    session: Session
    layout: HapiLayout
    replayed_at: datetime | None = None

    async def now(self) -> datetime:
        """The start of the transaction."""
        instant: datetime = await self.session.fetchval("SELECT now()")
        return instant

    async def complete_at(self) -> datetime:
        """The source is complete up to this instant: now, or what a replica has replayed."""
        now = await self.now()
        return now if self.replayed_at is None else min(now, self.replayed_at)

    async def counts(self) -> dict[str, int]:
        """Resources by type, deleted ones not counted."""
        statement = compose(_COUNTS, own=self.layout.own())
        return {row["res_type"]: row["n"] for row in await self.session.fetch(statement)}

    async def newest_at(self) -> datetime | None:
        """The newest date of all resources, read in the zone of the options.

        None without any, and when its local time can mean two instants.
        """
        zone = param(self.layout.options.zone, "text")
        statement = compose(_NEWEST, zone=zone, ahead_max=param(AHEAD_MAX, "interval"))
        newest: datetime | None = await self.session.fetchval(statement)
        return newest

    def keys(
        self,
        resource_types: Iterable[str],
        *,
        tag_types: Iterable[str] = (),
        only: Sql | None = None,
    ) -> Sql:
        """See `HapiLayout.keys_relation`."""
        return self.layout.keys_relation(resource_types, tag_types=tag_types, only=only)

    async def current(
        self,
        resource_type: str,
        *,
        with_meta: bool,
        only: Sql | None = None,
        is_strict: bool = False,
    ) -> Sql:
        """See `HapiLayout.current_relation`; its meta is whole, as the server would give it."""
        rows = await self.stored(resource_type, with_meta=with_meta, only=only, is_strict=is_strict)
        return with_meta_of_text(rows, CURRENT_COLUMNS) if with_meta else rows

    async def stored(
        self,
        resource_type: str,
        *,
        with_meta: bool,
        only: Sql | None = None,
        is_strict: bool = False,
    ) -> Sql:
        """The same, to be copied: its meta is what the tables know, and no text is parsed.

        Large objects that it reads have been read.
        """
        await stage_large_objects(self.session, self.layout, resource_type, only)
        return self.layout.current_relation(
            resource_type, with_meta=with_meta, only=only, is_strict=is_strict
        )

    async def unreadable(
        self, resource_type: str, *, only: Sql | None = None
    ) -> list[tuple[int, str]]:
        """Key of each resource of the type that is there and has no content to read, and why."""
        relation = await self._unreadable(resource_type, only)
        rows = await self.session.fetch(compose(_UNREADABLE, relation))
        return [(row["res_id"], row["reason"]) for row in rows]

    async def unreadable_count(self, resource_type: str) -> int:
        """How many they are."""
        relation = await self._unreadable(resource_type, None)
        return int(await self.session.fetchval(compose(_UNREADABLE_COUNT, relation)))

    async def _unreadable(self, resource_type: str, only: Sql | None) -> Sql:
        await stage_large_objects(self.session, self.layout, resource_type, only)
        return self.layout.unreadable_relation(resource_type, only=only)

    async def heads(self, resource_type: str, ids: Sequence[str]) -> dict[str, Head]:
        """The newest state of each of these resources that exists, by id."""
        query = compose(
            _HEADS,
            keys=self.layout.keys_relation([resource_type], only=self.layout.candidates(ids)),
            ids=param(list(ids), "text[]"),
        )
        rows = await self.session.fetch(query)
        return {
            row["id"]: Head(
                row["res_id"], row["id"], row["res_ver"], row["deleted"], row["updated_at"]
            )
            for row in rows
        }

    async def head(self, resource_type: str, resource_id: str) -> Head | None:
        """The newest state of one resource; None when it never existed or was expunged."""
        return (await self.heads(resource_type, [resource_id])).get(resource_id)

    async def content(self, resource_type: str, resource_id: str) -> Content | None:
        """The newest content of one resource; None when there is none or it is deleted."""
        head = await self.head(resource_type, resource_id)
        if head is None or head.deleted:
            return None
        only = compose("(SELECT {} AS res_id)", param(head.res_id, "bigint"))
        relation = await self.current(resource_type, with_meta=True, only=only)
        row = await self.session.fetchrow(compose(_RESOURCE, current=relation))
        return Content(row["id"], row["version"], row["text"], row["meta"]) if row else None


async def _make_legacy_table(session: Session) -> None:
    try:
        await session.execute(CREATE_LEGACY_TABLE)
    except StatementError as error:
        if error.sqlstate != READ_ONLY_STATE:
            raise
        raise SourceDataError(
            "the source holds compressed contents and allows no temporary tables",
            code="source_read_only",
            hint="read from the primary server instead of a replica, or let HAPI migrate "
            "the contents to res_text_vc",
        ) from error
