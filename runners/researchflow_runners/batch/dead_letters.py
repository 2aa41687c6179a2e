"""Resources whose rows could not be computed; the view goes on without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.culprits import Culprit
from researchflow_runners.store.database import Session

_DEAD_TABLE = """
CREATE TEMP TABLE rf_dead (
    view_name text, res_type text, id text, res_ver bigint, column_name text, reason text
)
"""
_NOTE = """
INSERT INTO rf_dead (view_name, res_type, id, res_ver, column_name, reason)
SELECT {view}, k.res_type, k.id, k.res_ver, c.field, c.reason
FROM unnest({ids}, {fields}, {reasons}) AS c (res_id, field, reason)
JOIN {keys} AS k ON k.res_id = c.res_id
"""
_FORGIVE_CHANGED = """
DELETE FROM researchflow.dead_letter AS d USING rf_changed AS c
WHERE d.layer = 'batch' AND d.view_name = ANY ($1::text[])
  AND d.res_type = c.res_type AND d.id = c.id
"""
_FORGIVE_VIEWS = """
DELETE FROM researchflow.dead_letter WHERE layer = 'batch' AND view_name = ANY ($1::text[])
"""
#: A definition's letters of the speed layer go with it; those written just now are the new one's.
_FORGIVE_DEFINITIONS = """
DELETE FROM researchflow.dead_letter
WHERE layer = 'speed' AND view_name = ANY ($1::text[]) AND seen_at < now()
"""
_BURY = """
INSERT INTO researchflow.dead_letter
    (view_name, res_type, id, res_ver, column_name, reason, layer)
SELECT view_name, res_type, id, res_ver, column_name, reason, 'batch' FROM rf_dead
"""
#: What is missing changes at the anchor $1; the two parts touch no row in common.
_KEEP = """
WITH dead AS (
    SELECT DISTINCT view_name, res_type, id FROM researchflow.dead_letter WHERE layer = 'batch'
), healed AS (
    UPDATE researchflow.missing AS m SET until_anchor = $1
    WHERE until_anchor IS NULL AND NOT EXISTS (
        SELECT FROM dead AS d
        WHERE d.view_name = m.view_name AND d.res_type = m.res_type AND d.id = m.id)
)
INSERT INTO researchflow.missing (view_name, res_type, id, since_anchor)
SELECT view_name, res_type, id, $1 FROM dead AS d
WHERE NOT EXISTS (
    SELECT FROM researchflow.missing AS m
    WHERE m.until_anchor IS NULL
      AND m.view_name = d.view_name AND m.res_type = d.res_type AND m.id = d.id)
"""
#: The newest anchor when an earlier release published it; the dead letters are still its own.
_CATCH_UP = """
UPDATE researchflow.anchor SET missing_kept = true
WHERE anchor = (SELECT max(anchor) FROM researchflow.anchor) AND NOT missing_kept
RETURNING anchor
"""
_LIST = """
SELECT view_name, res_type, id, res_ver, column_name, reason, layer
FROM researchflow.dead_letter ORDER BY view_name, res_type, id, layer LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A resource that a view lacks, and why; `column` is None when no single one is at fault."""

    view: str
    resource_type: str
    id: str
    version: int
    column: str | None
    reason: str
    layer: str


async def list_dead_letters(session: Session, *, limit: int) -> list[DeadLetter]:
    """The first dead letters of all views, by view and resource."""
    return [DeadLetter(*row.values()) for row in await session.fetch(_LIST, limit)]


async def create_dead_table(session: Session) -> None:
    """The temporary table in which a refresh collects them."""
    await session.execute(_DEAD_TABLE)


async def note_culprits(
    session: Session, view_name: str, culprits: Sequence[Culprit], keys: Sql
) -> None:
    """Collects a view's culprits; `keys` is the source's key relation, still open."""
    if not culprits:
        return
    await session.execute(
        compose(
            _NOTE,
            view=param(view_name, "text"),
            ids=param([culprit.res_id for culprit in culprits], "bigint[]"),
            fields=param([culprit.column for culprit in culprits], "text[]"),
            reasons=param([culprit.reason for culprit in culprits], "text[]"),
            keys=keys,
        )
    )


async def publish_dead_letters(
    session: Session, anchor: int, *, changed: Sequence[str], whole: Sequence[str]
) -> None:
    """Forgives what changed, and all of `whole` (views built anew or retired); adds the new.

    What the views lack is kept by anchor, for whoever reads this one when it is no longer the
    newest. Call it before the anchor is inserted.
    """
    unkept = await session.fetchval(_CATCH_UP)
    if unkept is not None:
        await session.execute(_KEEP, unkept)
    forgiven = await session.execute(_FORGIVE_CHANGED, list(changed))
    forgiven += await session.execute(_FORGIVE_VIEWS, list(whole))
    await session.execute(_FORGIVE_DEFINITIONS, list(whole))
    buried = await session.execute(_BURY)
    if forgiven or buried:
        await session.execute(_KEEP, anchor)
