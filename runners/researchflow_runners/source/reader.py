"""The source as one consistent state: HAPI's tables as one transaction sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.errors import SourceDataError, StatementError
from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.legacy import CREATE_LEGACY_TABLE, stage_compressed
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.database import Database, Session

ZONE_DEFAULT = "UTC"
READ_ONLY_STATE = "25006"

_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attrelid = ANY (ARRAY[to_regclass('hfj_resource'), to_regclass('hfj_res_ver'),
                               to_regclass('hfj_forced_id')]::oid[])
   AND a.attnum > 0 AND NOT a.attisdropped
"""
#: Partition mode puts the partition into the primary key.
_PARTITIONED = """
SELECT EXISTS (SELECT FROM pg_index i
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = to_regclass('hfj_resource') AND i.indisprimary
                  AND a.attname = 'partition_id')
"""
_WITHOUT_FHIR_ID = "SELECT EXISTS (SELECT FROM hfj_resource WHERE fhir_id IS NULL)"
#: The first is cheap and false in every database that began with HAPI 7.
_LARGE_OBJECTS = "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"
_COMPRESSED = """
SELECT EXISTS (SELECT FROM hfj_res_ver WHERE res_encoding = 'JSONC' AND res_text IS NOT NULL)
"""
_COUNTS = """
SELECT res_type, count(*) AS n FROM hfj_resource
 WHERE res_deleted_at IS NULL GROUP BY res_type ORDER BY res_type COLLATE "C"
"""
_HEADS = """SELECT k.res_id, k.id, k.res_ver, k.deleted, k.updated_at
  FROM {keys} k WHERE k.id = ANY ({ids})"""
_UNREADABLE = """SELECT count(*) FROM {keys} k
 WHERE NOT k.deleted AND NOT EXISTS (SELECT FROM {current} c WHERE c.res_id = k.res_id)"""
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
    """HAPI's tables in one database; `zone` is the zone of the server's timestamps."""

    database: Database
    zone: str = ZONE_DEFAULT

    @asynccontextmanager
    async def snapshot(
        self, *, statement_timeout_s: float | None = None
    ) -> AsyncIterator[SourceSnapshot]:
        """One REPEATABLE READ, READ ONLY transaction on a pooled connection.

        It becomes read-only after its temporary table, if it needs one, has been made.
        """
        async with self.database.transaction(
            isolation="repeatable read", statement_timeout_s=statement_timeout_s
        ) as session:
            attached = await self.attach(session)
            await session.execute("SET TRANSACTION READ ONLY")
            yield attached

    async def attach(self, session: Session) -> SourceSnapshot:
        """The source inside a transaction that the caller keeps, on a session of `database`.

        It is one snapshot when that transaction is REPEATABLE READ.
        """
        layout = await probe(session, zone=self.zone)
        if layout.has_compressed:
            await _make_legacy_table(session)
        return SourceSnapshot(session, layout)


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """HAPI's tables as one transaction sees them."""

    session: Session
    layout: HapiLayout

    async def now(self) -> datetime:
        """The source is complete up to this instant: the start of the transaction."""
        instant: datetime = await self.session.fetchval("SELECT now()")
        return instant

    async def counts(self) -> dict[str, int]:
        """Resources by type, deleted ones not counted."""
        return {row["res_type"]: row["n"] for row in await self.session.fetch(_COUNTS)}

    def keys(self, resource_types: Iterable[str]) -> Sql:
        """See `HapiLayout.keys_relation`."""
        return self.layout.keys_relation(resource_types)

    async def current(
        self,
        resource_type: str,
        *,
        with_meta: bool,
        only: Sql | None = None,
        is_strict: bool = False,
    ) -> Sql:
        """See `HapiLayout.current_relation`; what must be unpacked for it has been."""
        await stage_compressed(self.session, self.layout, resource_type, only)
        return self.layout.current_relation(
            resource_type, with_meta=with_meta, only=only, is_strict=is_strict
        )

    async def unreadable(self, resource_type: str) -> int:
        """How many resources of the type are there without any version that could be read."""
        statement = compose(
            _UNREADABLE,
            keys=self.layout.keys_relation([resource_type]),
            current=self.layout.current_relation(resource_type, with_meta=False),
        )
        return int(await self.session.fetchval(statement))

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


async def probe(session: Session, *, zone: str = ZONE_DEFAULT) -> HapiLayout:
    """The layout of the HAPI tables on the session's search path.

    SourceDataError `source_tables_missing` when there are none.
    """
    found = {(row["table_name"], row["column_name"]) for row in await session.fetch(_COLUMNS)}
    for table in ("hfj_resource", "hfj_res_ver"):
        if (table, "res_ver") not in found:
            raise _missing(table)
    has_fhir_id_column = ("hfj_resource", "fhir_id") in found
    has_fhir_id = has_fhir_id_column and not await session.fetchval(_WITHOUT_FHIR_ID)
    has_large_objects = ("hfj_res_ver", "res_text") in found and await session.fetchval(
        _LARGE_OBJECTS
    )
    return HapiLayout(
        has_fhir_id=has_fhir_id,
        has_fhir_id_column=has_fhir_id_column,
        has_forced_id=not has_fhir_id and ("hfj_forced_id", "forced_id") in found,
        has_text_vc=("hfj_res_ver", "res_text_vc") in found,
        has_large_objects=has_large_objects,
        has_compressed=has_large_objects and await session.fetchval(_COMPRESSED),
        has_source_uri=("hfj_res_ver", "source_uri") in found,
        has_request_id=("hfj_res_ver", "request_id") in found,
        is_partitioned=await session.fetchval(_PARTITIONED),
        zone=zone,
    )


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


def _missing(table: str) -> SourceDataError:
    return SourceDataError(
        f'the source database has no table "{table}"',
        code="source_tables_missing",
        hint="give the DSN of a HAPI FHIR JPA database, or fill the embedded one with "
        "`researchflow load`",
        field="source",
    )
