"""The ledger: which version of each resource the batch layer holds."""

from __future__ import annotations

from researchflow_runners.batch.diff import Diff
from researchflow_runners.batch.plan import Plan
from researchflow_runners.errors import RefreshError
from researchflow_runners.store.database import Session

_REMOVE_GONE = """
DELETE FROM researchflow.ledger AS l USING rf_changed AS c
WHERE c.state = 'gone' AND l.res_id = c.res_id
"""
_UPDATE_KNOWN = """
UPDATE researchflow.ledger AS l
SET res_type = c.res_type, id = c.id, res_ver = c.res_ver, deleted = c.state = 'deleted',
    tags = c.tags
FROM rf_changed AS c WHERE c.known AND c.state <> 'gone' AND l.res_id = c.res_id
"""
_INSERT_UNKNOWN = """
INSERT INTO researchflow.ledger (res_id, res_type, id, res_ver, deleted, tags)
SELECT res_id, res_type, id, res_ver, state = 'deleted', tags FROM rf_changed WHERE NOT known
"""
_NOTE_TAGS = """
UPDATE researchflow.ledger AS l SET tags = n.tags FROM rf_noted AS n WHERE l.res_id = n.res_id
"""
_REMOVE_UNUSED_TYPES = "DELETE FROM researchflow.ledger WHERE res_type <> ALL ($1::text[])"
_COUNTS = """
SELECT res_type, count(*) FROM researchflow.ledger WHERE res_type = ANY ($1::text[]) GROUP BY 1
"""
_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM researchflow.ledger)"
#: TRUNCATE makes the file new in this transaction, which saves its WAL where the server may;
#: indexes built after the rows cost half.
_PREPARE_FIRST = """
TRUNCATE researchflow.ledger;
ALTER TABLE researchflow.ledger DROP CONSTRAINT ledger_pkey;
DROP INDEX researchflow.ledger_id
"""
_INDEX_FIRST = """
ALTER TABLE researchflow.ledger ADD CONSTRAINT ledger_pkey PRIMARY KEY (res_id);
CREATE INDEX ledger_id ON researchflow.ledger (id, res_type)
"""


async def publish_ledger(session: Session, plan: Plan, diff: Diff) -> None:
    """Brings the ledger to the source's keys; types that were not in it must come out whole."""
    if await session.fetchval(_IS_EMPTY):
        await session.execute(_PREPARE_FIRST)
        await session.execute(_INSERT_UNKNOWN)
        await session.execute(_INDEX_FIRST)
    else:
        await session.execute(_REMOVE_GONE)
        await session.execute(_UPDATE_KNOWN)
        await session.execute(_INSERT_UNKNOWN)
        await session.execute(_NOTE_TAGS)
        if plan.retired:
            await session.execute(_REMOVE_UNUSED_TYPES, plan.types)
    if plan.new_types:
        await _check_coverage(session, {name: diff.by_type.get(name, 0) for name in plan.new_types})


async def _check_coverage(session: Session, expected: dict[str, int]) -> None:
    """For a type that the ledger lacked, every key of the source counts as changed."""
    found = {row[0]: row[1] for row in await session.fetch(_COUNTS, list(expected))}
    for resource_type, count in expected.items():
        if found.get(resource_type, 0) != count:
            raise RefreshError(
                f'the ledger holds {found.get(resource_type, 0)} of {count} "{resource_type}"',
                code="coverage_mismatch",
                hint="run the refresh again; if it stays, report it with the type and counts",
                field=resource_type,
            )
