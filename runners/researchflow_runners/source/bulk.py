"""The first fill of empty development tables: one transaction, indexes made at its end.

Keeping eleven secondary indexes and three foreign keys up to date row by row takes longer than
all the rest of a load. Only empty tables are treated so, since nobody misses their indexes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from researchflow_runners.sql import compose, fixed, ident
from researchflow_runners.store.database import Session

TABLES = ("hfj_resource", "hfj_res_ver", "hfj_tag_def", "hfj_res_tag")
_NAMES = ", ".join(TABLES)

_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM hfj_resource)"
_LOCK = f"LOCK TABLE {_NAMES} IN ACCESS EXCLUSIVE MODE"
#: New storage in the transaction that fills it: PostgreSQL need not log its pages.
_TRUNCATE = f"TRUNCATE {_NAMES}"
_ANALYZE = f"ANALYZE {_NAMES}"
_INDEXES = """
SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = ANY ($1::text[]::regclass[]) AND NOT i.indisunique
 ORDER BY c.relname
"""
_FOREIGN_KEYS = """
SELECT conname AS name, conrelid::regclass::text AS table_name,
       pg_get_constraintdef(oid) AS definition
  FROM pg_constraint
 WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype = 'f' ORDER BY conname
"""


async def are_empty(session: Session) -> bool:
    """Whether no resource was ever stored."""
    return bool(await session.fetchval(_IS_EMPTY))


@asynccontextmanager
async def without_indexes(session: Session) -> AsyncIterator[None]:
    """Tables locked against all others and without secondary indexes until the end.

    Only inside a transaction, and only when `are_empty`; an error leaves everything as it was.
    """
    indexes = await session.fetch(_INDEXES, list(TABLES))
    foreign_keys = await session.fetch(_FOREIGN_KEYS, list(TABLES))
    for key in foreign_keys:
        table, name = ident(key["table_name"]), ident(key["name"])
        await session.execute(compose("ALTER TABLE {} DROP CONSTRAINT {}", table, name))
    for index in indexes:
        await session.execute(compose("DROP INDEX {}", ident(index["name"])))
    await session.execute(_TRUNCATE)
    yield
    for index in indexes:
        await session.execute(fixed(index["definition"]))
    for key in foreign_keys:
        table, name = ident(key["table_name"]), ident(key["name"])
        definition = fixed(key["definition"])
        await session.execute(
            compose("ALTER TABLE {} ADD CONSTRAINT {} {}", table, name, definition)
        )
    await session.execute(_ANALYZE)


async def claim_empty(session: Session) -> bool:
    """Whether the tables are empty; if so, they are ours alone until the transaction ends."""
    if not await are_empty(session):
        return False
    await session.execute(_LOCK)
    return await are_empty(session)
