"""FHIR files into development tables, and single changes for demonstrations and tests.

The stored text lacks id and meta, as HAPI's does: writing the parsed resource without them costs
2 µs, and a second pass over the text to cut them out would cost more and have to be proved exact.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from anyio import to_thread

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.bulk import claim_empty, without_indexes
from researchflow_runners.source.files import BATCH_CHANGES, Rejection, find_files
from researchflow_runners.source.reading import Reading, reading
from researchflow_runners.source.resource import (
    BadResource,
    Change,
    change_of,
    checked,
    parse_json,
)
from researchflow_runners.source.tables import create_hapi_tables, refuse_foreign_tables
from researchflow_runners.source.writer import Tally, Writer, expunge_rows
from researchflow_runners.store.database import Database, Session

BATCH_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has come; bytes are those on disk."""

    resources: int
    bytes_read: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did; `rejections` are the first of `rejected`."""

    created: int
    updated: int
    unchanged: int
    deleted: int
    rejected: int
    rejections: tuple[Rejection, ...]
    duration_s: float

    @property
    def resources(self) -> int:
        """Resources read, the rejected ones not counted."""
        return self.created + self.updated + self.unchanged + self.deleted

    @property
    def resources_per_s(self) -> float:
        """Resources read and stored in a second."""
        return self.resources / self.duration_s if self.duration_s else 0.0


async def load(
    database: Database,
    paths: Iterable[Path],
    *,
    development: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> LoadReport:
    """Stores every resource of the files; makes HAPI's tables when the database has none.

    A load into empty tables is one transaction; into others, each batch is one: an interrupted
    load keeps what it has stored, and a second one finds it unchanged. A bad line is noted in
    the report and does not stop the rest.
    `development` confirms that tables which researchflow did not make may be written to.
    """
    started = time.perf_counter()
    files = await to_thread.run_sync(find_files, list(paths))
    await _open_for_writing(database, development=development)
    async with reading(files) as reader:

        def report(done: Tally) -> None:
            if progress is not None:
                progress(Progress(done.total, reader.last.bytes_read, reader.bytes_total))

        tally = await _load_all(database, reader, report)
    rejections = reader.last.rejections
    return LoadReport(
        created=tally.created,
        updated=tally.updated,
        unchanged=tally.unchanged,
        deleted=tally.deleted,
        rejected=rejections.count,
        rejections=tuple(rejections.shown),
        duration_s=time.perf_counter() - started,
    )


async def load_resources(
    database: Database, resources: Iterable[Mapping[str, Any]], *, development: bool = False
) -> Tally:
    """Stores resources made by a program, in one transaction; else as `load` does.

    SourceDataError `invalid_resource` at the first that is none; then nothing is stored.
    """
    await _open_for_writing(database, development=development)
    changes = map(_change, resources)
    first = list(islice(changes, BATCH_CHANGES))
    async with _transaction(database) as session:
        if len(first) == BATCH_CHANGES and await claim_empty(session):
            async with without_indexes(session):
                return await _apply_all(session, first, changes)
        return await _apply_all(session, first, changes)


async def _apply_all(session: Session, first: list[Change], more: Iterator[Change]) -> Tally:
    writer = Writer()
    total = Tally()
    batch = first
    while batch:
        total.add(await writer.apply(session, batch))
        batch = list(islice(more, BATCH_CHANGES))
    return total


async def put_resource(database: Database, resource: Mapping[str, Any] | str | bytes) -> Tally:
    """Creates the resource or a new version of it, as a PUT to the server would."""
    async with database.transaction() as session:
        return await Writer().apply(session, [_change(resource)])


async def delete_resource(database: Database, resource_type: str, resource_id: str) -> Tally:
    """Deletes the resource: a version without content; nothing when there is none."""
    async with database.transaction() as session:
        return await Writer().apply(session, [Change(resource_type, resource_id, None)])


async def expunge(database: Database, resource_type: str, resource_id: str) -> bool:
    """Removes the resource with all its versions, leaving no trace; whether there was one."""
    async with database.transaction() as session:
        return await expunge_rows(session, resource_type, resource_id)


async def _open_for_writing(database: Database, *, development: bool) -> None:
    if not await create_hapi_tables(database) and not development:
        await refuse_foreign_tables(database)


async def _load_all(database: Database, reader: Reading, report: Callable[[Tally], None]) -> Tally:
    """The first fill in one transaction, everything else batch by batch."""
    total = Tally()
    writer = Writer()
    async with _transaction(database) as session:
        if await claim_empty(session):
            async with without_indexes(session), aclosing(_batches(reader)) as batches:
                async for batch in batches:
                    total.add(await writer.apply(session, batch))
                    report(total)
            return total
    async with aclosing(_batches(reader)) as batches:
        async for batch in batches:
            async with _transaction(database) as session:
                total.add(await writer.apply(session, batch))
            report(total)
    return total


def _transaction(database: Database) -> AbstractAsyncContextManager[Session]:
    return database.transaction(statement_timeout_s=BATCH_TIMEOUT_S)


async def _batches(reader: Reading) -> AsyncGenerator[list[Change], None]:
    """What the reader gives; the next batch is read in a thread while this one is stored."""
    ahead = asyncio.create_task(asyncio.to_thread(reader.next))
    try:
        while batch := await ahead:
            ahead = asyncio.create_task(asyncio.to_thread(reader.next))
            yield batch
    finally:
        ahead.cancel()


def _change(resource: Mapping[str, Any] | str | bytes) -> Change:
    """The change; SourceDataError `invalid_resource` when it is no resource with an id."""
    try:
        raw = resource if isinstance(resource, bytes) else _raw(resource)
        value = checked(parse_json(raw))
        if "id" not in value:
            raise BadResource("no_id")
        return change_of(value, value["id"])
    except BadResource as error:
        raise SourceDataError(
            f'not a FHIR resource with an id: "{error.code}"',
            code="invalid_resource",
            hint="give a JSON object with resourceType and id",
            field="resource",
        ) from error


def _raw(resource: Mapping[str, Any] | str) -> bytes:
    if isinstance(resource, str):
        return resource.encode(errors="surrogatepass")
    try:
        return orjson.dumps(dict(resource))
    except TypeError as error:
        raise BadResource("not_json") from error
