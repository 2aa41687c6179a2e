"""Definitions that are no longer published and whose rows a pinned anchor still holds."""

from __future__ import annotations

from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_of, published_views

#: Nothing is merged with an earlier anchor, so there is no overlay.
_AT = """
SELECT view_name, digest, resource_type, columns, base_table, history_table, '' AS overlay_table,
       since_anchor, until_anchor - 1 AS last_anchor
FROM researchflow.former_view WHERE since_anchor <= $1 AND $1 < until_anchor ORDER BY view_name
"""
_TABLES = """
SELECT base_table, history_table FROM researchflow.view_catalogue
UNION ALL SELECT base_table, history_table FROM researchflow.former_view ORDER BY 1
"""
#: Called before the catalogue row is replaced; a definition that no pinned anchor holds goes. The
#: rows of a view that was set aside and comes back are the same view's: anchors before keep them.
_RETAIN = """
INSERT INTO researchflow.former_view (view_name, digest, resource_type, definition, columns,
    base_table, history_table, since_anchor, until_anchor, returned)
SELECT v.view_name, v.digest, v.resource_type, v.definition, v.columns, v.base_table,
       v.history_table, v.since_anchor, coalesce(s.after_anchor + 1, $2), s.view_name IS NOT NULL
FROM researchflow.view_catalogue AS v LEFT JOIN researchflow.set_aside AS s USING (view_name)
WHERE view_name = ANY ($1::text[]) AND (s.view_name IS NOT NULL OR EXISTS (
    SELECT FROM researchflow.pin AS p WHERE v.since_anchor <= p.anchor AND p.anchor < $2))
"""
#: Their tables go with the next refresh: a reader may hold them.
_RELEASE = """
DELETE FROM researchflow.former_view AS f WHERE NOT EXISTS (
    SELECT FROM researchflow.pin AS p
    WHERE f.since_anchor <= p.anchor AND p.anchor < f.until_anchor)
  AND NOT (f.returned AND EXISTS (
    SELECT FROM researchflow.anchor AS a
    WHERE a.expired_at IS NULL AND f.since_anchor <= a.anchor AND a.anchor < f.until_anchor))
"""


async def former_views(session: Session, anchor: int) -> dict[str, PublishedView]:
    """The views that the anchor holds under a definition that is no longer published."""
    return {row["view_name"]: published_of(row) for row in await session.fetch(_AT, anchor)}


async def views_at(session: Session, anchor: int) -> dict[str, PublishedView]:
    """Every view that can be read at the anchor, as it was defined then."""
    current = await published_views(session)
    held = {
        name: view
        for name, view in current.items()
        if view.since_anchor <= anchor and anchor <= (view.last_anchor or anchor)
    }
    return dict(sorted((held | await former_views(session, anchor)).items()))


async def readable_tables(session: Session) -> list[tuple[str, str]]:
    """Base and history table of every definition that some anchor can be read under."""
    return [(row[0], row[1]) for row in await session.fetch(_TABLES)]


async def retain_former(session: Session, names: list[str], until_anchor: int) -> None:
    """Keeps what anchors hold of these published views, which are about to be replaced or go."""
    await session.execute(_RETAIN, names, until_anchor)


async def release_former(session: Session) -> None:
    """Lets go of definitions that no pinned anchor holds any more."""
    await session.execute(_RELEASE)
