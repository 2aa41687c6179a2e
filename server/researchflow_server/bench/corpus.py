"""Resources as text, so many of each type, in a PostgreSQL that is thrown away.

One table a type, with the columns that a compiled view reads. The texts are those that the source
keeps: without id and meta. Where the synthetic hospital has fewer resources of a type, they are
repeated under further ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from researchflow_runners.source.resource import Change, change_of
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.sql import Sql, compose, ident
from researchflow_runners.store.database import Database, Session
from researchflow_server.bench.ward import CONDITIONS, PATIENTS
from researchflow_server.demo.stage import fresh_home
from researchflow_server.embedded.postgres import PostgresServer

RESOURCES = 50_000
TIMEOUT_S = 600.0
#: One core, so that a figure does not depend on how many there are.
_ONE_CORE = "SET max_parallel_workers_per_gather = 0"
_TABLE = "CREATE TABLE {} (res_id bigint, id text, text text, meta jsonb)"
_COLUMNS = ["res_id", "id", "text", "meta"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A session on the filled tables, and what they hold: `count` resources of each type."""

    session: Session
    major: int
    count: int

    def table(self, res_type: str) -> Sql:
        """The table of a type."""
        return ident(res_type.lower())

    def sample(self, res_type: str, size: int) -> list[dict[str, Any]]:
        """The first resources of the type, as they were before they were stored."""
        found = _resources(min(self.count, PATIENTS))[res_type]
        return list(found[: min(size, self.count)])


@asynccontextmanager
async def corpus(
    major: int, types: Iterable[str], *, count: int = RESOURCES
) -> AsyncIterator[Corpus]:
    """`count` resources of each type in PostgreSQL `major`, whose programs the wheel carries."""
    with fresh_home(keep=False) as home:
        server = PostgresServer(home, major=major, volatile=True)
        await server.start()
        try:
            database = await Database.connect(server.dsn)
            try:
                async with database.dedicated(statement_timeout_s=TIMEOUT_S) as session:
                    await session.execute(_ONE_CORE)
                    filled = Corpus(session, major, count)
                    for res_type in dict.fromkeys(types):
                        await _fill(filled, res_type)
                    yield filled
            finally:
                await database.close()
        finally:
            await server.stop()


async def _fill(filled: Corpus, res_type: str) -> None:
    session, table = filled.session, filled.table(res_type)
    await session.execute(compose(_TABLE, table))
    records = _records(res_type, filled.count)
    await session.copy_records(res_type.lower(), columns=_COLUMNS, records=records)
    # As autovacuum would, before the table is read in earnest.
    await session.execute(compose("VACUUM ANALYZE {}", table))


def _records(res_type: str, count: int) -> Iterator[tuple[int, str, str | None, None]]:
    found = _changes(min(count, PATIENTS), res_type)
    for number in range(count):
        change = found[number % len(found)]
        repetition = number // len(found)
        resource_id = f"{change.id}-{repetition}" if repetition else change.id
        yield number + 1, resource_id, change.text, None


@cache
def _changes(patients: int, res_type: str) -> list[Change]:
    return [change_of(dict(one), one["id"]) for one in _resources(patients)[res_type]]


@cache
def _resources(patients: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for resource in hospital(patients=patients, conditions=patients * CONDITIONS // PATIENTS):
        found[resource["resourceType"]].append(resource)
    return found
