"""The ledger: which version of each resource the batch layer holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from researchflow_runners.errors import RefreshError
from researchflow_runners.store.database import Session

_REMOVE_GONE = """
DELETE FROM researchflow.ledger AS l USING rf_changed AS c
WHERE c.state = 'gone' AND l.res_id = c.res_id
"""
_STORE_CHANGED = """
INSERT INTO researchflow.ledger AS l (res_id, res_type, id, res_ver, deleted)
SELECT res_id, res_type, id, res_ver, state = 'deleted' FROM rf_changed WHERE state <> 'gone'
ON CONFLICT (res_id) DO UPDATE
SET res_type = excluded.res_type, id = excluded.id, res_ver = excluded.res_ver,
    deleted = excluded.deleted
"""
_REMOVE_UNUSED_TYPES = "DELETE FROM researchflow.ledger WHERE res_type <> ALL ($1::text[])"
_LEDGER_COUNTS = """
SELECT res_type, count(*) FROM researchflow.ledger WHERE res_type = ANY ($1::text[]) GROUP BY 1
"""


async def publish_ledger(
    session: Session, types: Sequence[str], expected: Mapping[str, int]
) -> None:
    """Brings the ledger to the source's keys; `expected` counts must come out per type."""
    await session.execute(_REMOVE_GONE)
    await session.execute(_STORE_CHANGED)
    await session.execute(_REMOVE_UNUSED_TYPES, list(types))
    if not expected:
        return
    rows = await session.fetch(_LEDGER_COUNTS, list(expected))
    found = {row[0]: row[1] for row in rows}
    for resource_type, count in expected.items():
        if found.get(resource_type, 0) != count:
            raise RefreshError(
                f'the ledger holds {found.get(resource_type, 0)} of {count} "{resource_type}"',
                code="coverage_mismatch",
                hint="run the refresh again; if it stays, report it with the type and counts",
                field=resource_type,
            )
