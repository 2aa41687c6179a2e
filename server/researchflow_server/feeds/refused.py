"""Dead letters of deliveries: what could not be taken, told without what it holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.store.database import Database, Session

#: So many are kept, the newest.
LETTERS_MAX = 1_000

_WRITE = """
WITH written AS (
    INSERT INTO researchflow.refused_delivery (code, res_type, size_bytes, sha256)
    VALUES ($1, $2, $3, $4) RETURNING letter_id)
DELETE FROM researchflow.refused_delivery
WHERE letter_id <= (SELECT letter_id FROM written) - $5
"""
_LIST = """
SELECT received_at, code, res_type, size_bytes, sha256 FROM researchflow.refused_delivery
ORDER BY letter_id DESC LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class RefusedDelivery:
    """A delivery that could not be taken; `sha256` is its body's, to find it at the sender."""

    received_at: datetime
    code: str
    resource_type: str | None
    size_bytes: int
    sha256: str


async def write_refused(
    database: Database, *, code: str, resource_type: str | None, body: bytes, size_bytes: int
) -> None:
    """Keeps a dead letter; `size_bytes` counts what was announced, `body` is what was read."""
    digest = hashlib.sha256(body).hexdigest()
    async with database.session() as session:
        await session.execute(_WRITE, code, resource_type, size_bytes, digest, LETTERS_MAX)


async def list_refused(session: Session, *, limit: int) -> list[RefusedDelivery]:
    """The newest dead letters, newest first."""
    rows = await session.fetch(_LIST, limit)
    return [
        RefusedDelivery(
            row["received_at"], row["code"], row["res_type"], row["size_bytes"], row["sha256"]
        )
        for row in rows
    ]
