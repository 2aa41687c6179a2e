"""Giving up anchors: which ones no longer count, and pruning what nobody can read any more.

An anchor is marked as expired in a short commit, and refused from then on. Its rows follow in
batches. Each batch looks anew at what is pinned, under the lock that pinning takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from researchflow_runners.errors import FreshnessError
from researchflow_runners.sql import Sql, compose, ident, param
from researchflow_runners.store.anchor import resolve_anchor
from researchflow_runners.store.database import Database
from researchflow_runners.store.former import readable_tables
from researchflow_runners.store.locks import lock_anchors
from researchflow_runners.store.relations import SCHEMA

#: Rows of one commit: short enough that nobody waits for it.
BATCH_ROWS = 10_000

_NEWEST = "SELECT max(anchor) FROM researchflow.anchor"
#: The oldest anchor to keep: young enough and among the newest `$2`; the last one always stays.
_FIRST_KEPT = """
SELECT greatest(
    coalesce((SELECT min(anchor) FROM researchflow.anchor
              WHERE committed_at >= now() - $1::interval),
             (SELECT max(anchor) FROM researchflow.anchor)),
    (SELECT anchor FROM researchflow.anchor WHERE expired_at IS NULL
     ORDER BY anchor DESC OFFSET $2 LIMIT 1) + 1)
"""
_MARK = """
UPDATE researchflow.anchor AS a SET expired_at = clock_timestamp()
WHERE anchor < $1 AND expired_at IS NULL
  AND NOT EXISTS (SELECT FROM researchflow.pin AS p WHERE p.anchor = a.anchor)
"""
_PINS = "SELECT array_agg(name ORDER BY name) FROM researchflow.pin WHERE anchor = $1"
#: Below it only pinned anchors can be read.
_HORIZON = """
SELECT coalesce(min(a.anchor), (SELECT max(anchor) FROM researchflow.anchor))
FROM researchflow.anchor AS a
WHERE a.expired_at IS NULL
  AND NOT EXISTS (SELECT FROM researchflow.pin AS p WHERE p.anchor = a.anchor)
"""
#: After an anchor that can be read one row stays, so that an instant beyond it is told apart.
_PRUNE_ANCHORS = """
DELETE FROM researchflow.anchor WHERE anchor = ANY (ARRAY(
    SELECT a.anchor FROM researchflow.anchor AS a
    WHERE a.expired_at IS NOT NULL AND a.anchor < $1 AND NOT coalesce((
        SELECT p.expired_at IS NULL FROM researchflow.anchor AS p
        WHERE p.anchor < a.anchor ORDER BY p.anchor DESC LIMIT 1), false)
    LIMIT $2))
"""
_PRUNE_CONTENT = """
DELETE FROM researchflow.content AS c USING (
    SELECT c.view_name, c.anchor
    FROM (SELECT DISTINCT view_name FROM researchflow.view_catalogue
          UNION SELECT view_name FROM researchflow.former_view) AS v
    JOIN researchflow.content AS c ON c.view_name = v.view_name AND c.anchor < $1
    CROSS JOIN LATERAL (
        SELECT n.anchor FROM researchflow.content AS n
        WHERE n.view_name = c.view_name AND n.anchor > c.anchor ORDER BY n.anchor LIMIT 1) AS next
    WHERE next.anchor <= $1 AND NOT EXISTS (
        SELECT FROM researchflow.pin AS p WHERE p.anchor >= c.anchor AND p.anchor < next.anchor)
    LIMIT $2) AS unread
WHERE c.view_name = unread.view_name AND c.anchor = unread.anchor
"""
_PRUNE_NAMES = """
DELETE FROM researchflow.content AS c
WHERE NOT EXISTS (SELECT FROM researchflow.view_catalogue AS v WHERE v.view_name = c.view_name)
  AND NOT EXISTS (SELECT FROM researchflow.former_view AS f WHERE f.view_name = c.view_name)
"""
_PRUNE_MISSING = """
DELETE FROM researchflow.missing WHERE ctid = ANY (ARRAY(
    SELECT m.ctid FROM researchflow.missing AS m
    WHERE m.until_anchor <= $1 AND NOT EXISTS (
        SELECT FROM researchflow.pin AS p
        WHERE p.anchor >= m.since_anchor AND p.anchor < m.until_anchor)
    LIMIT $2))
"""
_PRUNE_HISTORY = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT h.ctid FROM {table} AS h
    WHERE h._until > {from_} AND h._until <= {to} AND NOT EXISTS (
        SELECT FROM researchflow.pin AS p WHERE p.anchor >= h._since AND p.anchor < h._until)
    LIMIT {batch}))
"""
_PRUNED_TO = "SELECT pruned_to FROM researchflow.retention"
_PRUNED = "UPDATE researchflow.retention SET pruned_to = greatest(pruned_to, $1)"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long an anchor that nobody pinned stays readable: both bounds hold."""

    keep_for: timedelta
    keep_at_most: int


@dataclass(frozen=True, slots=True)
class Expiry:
    """What a retention run gave up: anchors, and rows of their views."""

    anchors: int
    rows: int


async def expire_anchors(warehouse: Database, retention: Retention) -> Expiry:
    """Gives up the anchors beyond the bounds that are not pinned; the current one always stays.

    Reads at such an anchor are refused as `anchor_expired` from the first commit on.
    """
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        first_kept = await session.fetchval(
            _FIRST_KEPT, retention.keep_for, max(1, retention.keep_at_most)
        )
        expired = await session.execute(_MARK, first_kept)
    return Expiry(expired, await _prune(warehouse))


async def expire_up_to(warehouse: Database, anchor: int) -> Expiry:
    """Gives up this anchor and every earlier one that is not pinned.

    FreshnessError `anchor_pinned`, `anchor_current`, or as of `resolve_anchor`.
    """
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        await resolve_anchor(session, anchor)
        pins = await session.fetchval(_PINS, anchor)
        if pins:
            message = f'anchor "{anchor}" is pinned as "{", ".join(pins)}"'
            raise _kept("anchor_pinned", message, "unpin it first")
        if anchor == await session.fetchval(_NEWEST):
            message = f'anchor "{anchor}" is the current one'
            raise _kept("anchor_current", message, "refresh first, or name an earlier anchor")
        expired = await session.execute(_MARK, anchor + 1)
    return Expiry(expired, await _prune(warehouse))


async def _prune(warehouse: Database) -> int:
    """Deletes what only expired anchors had; gives how many rows of views."""
    rows = 0
    async with warehouse.session() as session:
        tables = await readable_tables(session)
    for _base, history in tables:
        rows += await _prune_table(warehouse, ident(SCHEMA, history))
    for statement in (_PRUNE_CONTENT, _PRUNE_MISSING, _PRUNE_ANCHORS):
        while await _batch(warehouse, statement) == BATCH_ROWS:
            pass
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        await session.execute(_PRUNE_NAMES)
        await session.execute(_PRUNED, await session.fetchval(_HORIZON) or 0)
    return rows


async def _prune_table(warehouse: Database, table: Sql) -> int:
    """Deletes the table's rows that no anchor shows; a table that is dropped meanwhile has none."""
    total = 0
    while True:
        async with warehouse.transaction() as session:
            await lock_anchors(session)
            pruned_to = await session.fetchval(_PRUNED_TO)
            horizon = await session.fetchval(_HORIZON)
            deleted = await session.execute(
                compose(
                    _PRUNE_HISTORY,
                    table=table,
                    from_=param(pruned_to, "bigint"),
                    to=param(horizon or 0, "bigint"),
                    batch=param(BATCH_ROWS, "bigint"),
                )
            )
        total += deleted
        if deleted < BATCH_ROWS:
            return total


async def _batch(warehouse: Database, statement: str) -> int:
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        horizon = await session.fetchval(_HORIZON)
        return await session.execute(statement, horizon, BATCH_ROWS)


def _kept(code: str, message: str, hint: str) -> FreshnessError:
    return FreshnessError(message, code=code, hint=hint, field="anchor")
