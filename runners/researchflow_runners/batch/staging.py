"""The source's keys and resources as relations of the warehouse session, from one snapshot.

In one database they are queries over HAPI's tables, so text never leaves PostgreSQL. With two,
the rows that are needed are copied into temporary tables of the warehouse, in PostgreSQL's own
binary form. Either way every relation of one staging shows the same instant of the source.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from researchflow_runners.batch.transfer import copy_across
from researchflow_runners.errors import StoreError
from researchflow_runners.source.meta import with_meta_of_text
from researchflow_runners.source.reader import HapiSource, SourceSnapshot
from researchflow_runners.source.replay import replayed_at
from researchflow_runners.sql import Sql, compose, fixed, ident, join, param
from researchflow_runners.store.database import Database, Session

KEY_COLUMNS = ("res_id", "res_type", "id", "res_ver", "deleted", "updated_at", "tags")
ROW_COLUMNS = ("res_id", "id", "text", "meta")
logger = logging.getLogger(__name__)

#: Memory of each of a refresh's sessions; statistics are a first sample, autovacuum deepens them.
SESSION_SETTINGS = """
SET work_mem = '64MB'; SET maintenance_work_mem = '256MB'; SET temp_buffers = '64MB';
SET default_statistics_target = 10
"""
_KEYS_TABLE = """
CREATE TEMP TABLE rf_keys (
    res_id bigint, res_type text COLLATE "C", id text COLLATE "C", res_ver bigint,
    deleted boolean, updated_at timestamptz, tags bigint
)
"""
_TOLD_TABLE = "CREATE TEMP TABLE rf_told (res_id bigint, at timestamptz)"
#: Changed keys are few and scattered: by index, or every refresh reads every head again.
_READ_BY_INDEX = "SET LOCAL random_page_cost = 1.1"
_NOW = "SELECT now()"


@dataclass(frozen=True, slots=True)
class Origin:
    """The source, and the types of which a view reads meta: it costs a join and a parse."""

    source: HapiSource
    meta_types: frozenset[str] = frozenset()


class Staging(Protocol):
    """One snapshot of the source beside the warehouse session it is read through."""

    @property
    def session(self) -> Session:
        """The warehouse session that its relations are read on."""

    @property
    def origin(self) -> Origin:
        """What it is a snapshot of."""

    @property
    def data_as_of(self) -> datetime:
        """Whatever was committed up to here is in the snapshot, by the warehouse's clock."""

    @property
    def source_at(self) -> datetime:
        """The same instant by the source's own clock."""

    @property
    def replayed_at(self) -> datetime | None:
        """What a replica has replayed up to; None where the source is the primary."""

    @property
    def snapshot(self) -> str:
        """pg_current_snapshot() of the source."""

    @property
    def source(self) -> SourceSnapshot:
        """The source itself, on its own session."""

    async def keys(self, types: Sequence[str], *, only: Sql | None = None) -> Sql:
        """Relation of KEY_COLUMNS: every resource of the types, deleted ones too.

        Tags are compared where the origin's views read meta. `only` is a relation of the source
        with a column res_id that narrows it.
        """

    async def told(self, changes: Sql) -> Sql:
        """Temporary table rf_told of (res_id, at), one a resource, from `changes`, a relation of
        the source with these columns; `at` is the first of its instants."""

    async def newest_at(self) -> datetime | None:
        """The newest date of all resources of the source; see `SourceSnapshot.newest_at`."""

    def beside(self) -> AbstractAsyncContextManager[Staging | None]:
        """The same snapshot on another connection, for views to be built beside this one's; what
        it made is there once it is left. None where the resources are copied to this one alone."""

    async def whole(self, resource_type: str, *, is_strict: bool) -> Sql:
        """Relation of ROW_COLUMNS: every current resource of the type that can be read.

        Strict is faster; what cannot be read is a data error there, not left out.
        """

    async def part(self, resource_type: str) -> Sql:
        """Relation of ROW_COLUMNS: the changed resources that are present and can be read."""

    async def unreadable(self, resource_type: str, *, changed: bool) -> list[tuple[int, str]]:
        """Keys of those that cannot be read, and why: of the changed ones, or of all."""


@asynccontextmanager
async def open_staging(
    session: Session, warehouse: Database, origin: Origin, *, timeout_s: float
) -> AsyncIterator[Staging]:
    """Opens the snapshot; `session` is in a transaction until it closes, committed at the end."""
    if origin.source.database is warehouse:
        data_as_of = await session.fetchval(_NOW)
        async with session.transaction(isolation="repeatable read"):
            source = await origin.source.attach(session)
            snapshot = await _snapshot(session)
            local = LocalStaging(source, session, origin, data_as_of, data_as_of, None, snapshot)
            yield replace(local, other=partial(_attached, warehouse, local, timeout_s))
        return
    async with origin.source.database.dedicated(statement_timeout_s=timeout_s) as remote:
        # Asked before the snapshot is opened. Ages are told by the warehouse's clock: where the
        # source's is ahead, its own counts.
        replayed = await replayed_at(remote)
        source_at = replayed or await remote.fetchval(_NOW)
        now = await session.fetchval(_NOW)
        async with (
            remote.transaction(isolation="repeatable read", readonly=None),
            session.transaction(),
        ):
            source = await origin.source.attach(remote)
            await remote.execute("SET TRANSACTION READ ONLY")
            snapshot = await _snapshot(remote)
            yield RemoteStaging(
                source, remote, session, origin, min(now, source_at), source_at, replayed, snapshot
            )


@dataclass(frozen=True)
class LocalStaging:
    """Source and warehouse in one database: whole types are not copied."""

    source: SourceSnapshot
    session: Session
    origin: Origin
    data_as_of: datetime
    source_at: datetime
    replayed_at: None
    snapshot: str
    other: Callable[[], AbstractAsyncContextManager[Staging | None]] = nullcontext

    def beside(self) -> AbstractAsyncContextManager[Staging | None]:
        """In the exported snapshot."""
        return self.other()

    async def keys(self, types: Sequence[str], *, only: Sql | None = None) -> Sql:
        """A query over hfj_resource."""
        return self.source.keys(types, tag_types=self.origin.meta_types, only=only)

    async def told(self, changes: Sql) -> Sql:
        """The temporary table rf_told."""
        await self.session.execute(_TOLD_TABLE)
        await self.session.execute(compose("INSERT INTO rf_told {}", _first_told(changes)))
        await self.session.execute("ANALYZE rf_told")
        return ident("pg_temp", "rf_told")

    async def newest_at(self) -> datetime | None:
        """By the index on res_updated."""
        return await self.source.newest_at()

    async def whole(self, resource_type: str, *, is_strict: bool) -> Sql:
        """A query over hfj_resource and hfj_res_ver."""
        return await self.source.current(
            resource_type,
            with_meta=resource_type in self.origin.meta_types,
            is_strict=is_strict,
        )

    async def part(self, resource_type: str) -> Sql:
        """A copy, so that no view's filter is tried on resources that did not change."""
        await self.session.execute(_READ_BY_INDEX)
        table = await _create_rows(self.session, f"part_{resource_type}")
        with_meta = resource_type in self.origin.meta_types
        relation = await self.source.stored(
            resource_type, with_meta=with_meta, only=_present(resource_type)
        )
        await self.session.execute(
            compose("INSERT INTO {} SELECT {} FROM {} AS s", table, _names(ROW_COLUMNS), relation)
        )
        await _index_rows(self.session, table)
        return _whole_meta(table, with_meta=with_meta)

    async def unreadable(self, resource_type: str, *, changed: bool) -> list[tuple[int, str]]:
        """A query over hfj_resource and hfj_res_ver."""
        only = _present(resource_type) if changed else None
        return await self.source.unreadable(resource_type, only=only)


@dataclass
class RemoteStaging:
    """Source and warehouse apart: what is asked for is copied into temporary tables."""

    source: SourceSnapshot
    remote: Session
    session: Session
    origin: Origin
    data_as_of: datetime
    source_at: datetime
    replayed_at: datetime | None
    snapshot: str
    _whole: dict[str, Sql] = field(default_factory=dict)

    def beside(self) -> AbstractAsyncContextManager[Staging | None]:
        """None: what was copied is in temporary tables of this connection."""
        return nullcontext()

    async def told(self, changes: Sql) -> Sql:
        """The temporary table rf_told."""
        await self.session.execute(_TOLD_TABLE)
        await self._copy(compose("({})", _first_told(changes)), "rf_told", ("res_id", "at"))
        await self.session.execute("ANALYZE rf_told")
        return ident("pg_temp", "rf_told")

    async def keys(self, types: Sequence[str], *, only: Sql | None = None) -> Sql:
        """The temporary table rf_keys."""
        await self.session.execute(_KEYS_TABLE)
        keys = self.source.keys(types, tag_types=self.origin.meta_types, only=only)
        await self._copy(keys, "rf_keys", KEY_COLUMNS)
        await self.session.execute("ANALYZE rf_keys")
        return ident("pg_temp", "rf_keys")

    async def newest_at(self) -> datetime | None:
        """By the index on res_updated."""
        return await self.source.newest_at()

    async def whole(self, resource_type: str, *, is_strict: bool) -> Sql:
        """A temporary table, copied once."""
        key = f"{'strict' if is_strict else 'whole'}_{resource_type}"
        with_meta = resource_type in self.origin.meta_types
        if key not in self._whole:
            relation = await self.source.stored(
                resource_type, with_meta=with_meta, is_strict=is_strict
            )
            # What strict refuses, the source says: its snapshot must outlive that.
            async with self.remote.savepoint(), self.session.savepoint():
                table = await _create_rows(self.session, key)
                await self._copy(relation, f"rf_{key}", ROW_COLUMNS)
            if not is_strict:
                await _index_rows(self.session, table)
            self._whole[key] = table
        return _whole_meta(self._whole[key], with_meta=with_meta)

    async def part(self, resource_type: str) -> Sql:
        """A temporary table."""
        await self.remote.execute(_READ_BY_INDEX)
        table = await _create_rows(self.session, f"part_{resource_type}")
        with_meta = resource_type in self.origin.meta_types
        relation = await self.source.stored(
            resource_type, with_meta=with_meta, only=await self._changed(resource_type)
        )
        await self._copy(relation, f"rf_part_{resource_type}", ROW_COLUMNS)
        await _index_rows(self.session, table)
        return _whole_meta(table, with_meta=with_meta)

    async def unreadable(self, resource_type: str, *, changed: bool) -> list[tuple[int, str]]:
        """A query over the source's tables."""
        only = await self._changed(resource_type) if changed else None
        return await self.source.unreadable(resource_type, only=only)

    async def _changed(self, resource_type: str) -> Sql:
        """The keys travel as an argument: the source does not know the warehouse's tables."""
        found = await self.session.fetchval(
            compose("SELECT array_agg(res_id) FROM {} AS k", _present(resource_type))
        )
        return compose("(SELECT unnest({}) AS res_id)", param(found or [], "bigint[]"))

    async def _copy(self, relation: Sql, table: str, columns: Sequence[str]) -> None:
        """Fills the temporary table with the relation's rows."""
        statement = compose("SELECT {} FROM {} AS s", _names(columns), relation)
        await copy_across(self.remote, statement, self.session, table, columns)


@asynccontextmanager
async def _attached(
    warehouse: Database, first: LocalStaging, timeout_s: float
) -> AsyncIterator[LocalStaging | None]:
    """`first` on a session of its own, in the snapshot that it exports; commits at the end.

    None where PostgreSQL has no connection left: one does as well, and later.
    """
    exported = await first.session.fetchval("SELECT pg_export_snapshot()")
    async with AsyncExitStack() as opened:
        try:
            other = await opened.enter_async_context(
                _imported(warehouse, first, exported, timeout_s)
            )
        except StoreError as error:
            logger.info("views are built on one connection: %s", error.code)
            yield None
        else:
            yield other


@asynccontextmanager
async def _imported(
    warehouse: Database, first: LocalStaging, exported: str, timeout_s: float
) -> AsyncIterator[LocalStaging]:
    async with (
        warehouse.dedicated(statement_timeout_s=timeout_s) as session,
        session.transaction(isolation="repeatable read"),
    ):
        await session.execute(f"SET TRANSACTION SNAPSHOT '{exported}'")
        await session.execute(SESSION_SETTINGS)
        source = await first.origin.source.attach(session)
        yield replace(first, source=source, session=session)


async def _snapshot(session: Session) -> str:
    return str(await session.fetchval("SELECT pg_current_snapshot()::text"))


async def _create_rows(session: Session, part: str) -> Sql:
    """An empty temporary table for resources of a type."""
    table = ident("pg_temp", f"rf_{part}")
    columns = 'res_id bigint, id text COLLATE "C", text text, meta jsonb'
    await session.execute(compose("CREATE TABLE {} ({})", table, fixed(columns)))
    return table


async def _index_rows(session: Session, table: Sql) -> None:
    """Lets few of a temporary table's many resources be read: culprits are looked for so."""
    await session.execute(compose("CREATE INDEX ON {} (res_id)", table))


def _whole_meta(table: Sql, *, with_meta: bool) -> Sql:
    """The copied rows, their meta made whole where a text that is no JSON is a data error."""
    return with_meta_of_text(table, ("res_id", "id", "text")) if with_meta else table


def _first_told(changes: Sql) -> Sql:
    return compose("SELECT c.res_id, min(c.at) AS at FROM {} AS c GROUP BY c.res_id", changes)


def _present(resource_type: str) -> Sql:
    """The changed keys of a type that have rows to compute, as a relation of res_id."""
    return compose(
        "(SELECT res_id FROM pg_temp.rf_changed WHERE res_type = {} AND state = 'present')",
        param(resource_type, "text"),
    )


def _names(columns: Sequence[str]) -> Sql:
    return join(", ", (ident(name) for name in columns))
