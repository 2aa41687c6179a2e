"""How many resources views lacked at an anchor, because their rows could not be computed."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.store.database import Session

#: A resource that several of the views lack counts once.
_COUNT = """
SELECT CASE WHEN a.missing_kept THEN (
    SELECT count(DISTINCT (m.res_type, m.id)) FROM researchflow.missing AS m
    WHERE m.view_name = ANY ($1::text[]) AND m.since_anchor <= a.anchor
      AND (m.until_anchor IS NULL OR a.anchor < m.until_anchor)) END
FROM researchflow.anchor AS a WHERE a.anchor = $2
"""


async def missing_at(session: Session, views: Sequence[str], anchor: int) -> int | None:
    """The resources that at least one of the materialised views lacked at the anchor.

    None when the release that published the anchor did not keep them.
    """
    count: int | None = await session.fetchval(_COUNT, list(views), anchor)
    return count
