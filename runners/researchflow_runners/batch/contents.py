"""The content hashes of published views, kept in step with their rows by what came and went."""

from __future__ import annotations

from researchflow_runners.batch.plan import Plan
from researchflow_runners.sql import ident
from researchflow_runners.store.content import Content, read_content
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import SCHEMA

_STORE = """
INSERT INTO researchflow.content (view_name, anchor, digest, row_count, sums)
VALUES ($1, $2, $3, $4, $5)
"""
_NEWEST = """
SELECT row_count, sums FROM researchflow.content
WHERE view_name = $1 AND digest = $2 ORDER BY anchor DESC LIMIT 1
"""
_HASHED = """
SELECT view_name, digest FROM researchflow.content AS c WHERE anchor = (
    SELECT max(anchor) FROM researchflow.content WHERE view_name = c.view_name)
"""


async def hash_unhashed(session: Session, plan: Plan) -> None:
    """Computes from the rows what an earlier release published without a hash.

    For the holder of the refresh lock: nobody else changes a base table.
    """
    known = {(row[0], row[1]) for row in await session.fetch(_HASHED)}
    for _view, published in plan.kept:
        if (published.name, published.digest) not in known:
            base = ident(SCHEMA, published.base_table)
            content = await read_content(session, published, base)
            await store_built_content(
                session, published.name, published.digest, plan.anchor - 1, content
            )


async def store_built_content(
    session: Session, name: str, digest: str, anchor: int, content: Content
) -> None:
    """Keeps the content of a view's rows from this anchor on."""
    await session.execute(_STORE, name, anchor, digest, content.rows, content.state)


async def store_moved_content(
    session: Session, published: PublishedView, anchor: int, *, gone: Content, added: Content
) -> None:
    """Keeps the content after rows came and went; nothing when none did."""
    if gone == added:
        return
    row = await session.fetchrow(_NEWEST, published.name, published.digest)
    assert row is not None
    before = Content.from_state(*row.values())
    after = before.exchanged(gone=gone, added=added)
    await store_built_content(session, published.name, published.digest, anchor, after)
