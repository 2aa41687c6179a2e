"""What PostgreSQL knows of resources before and after a change: batch layer and overlay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from researchflow_runners.speed.entry import Origin, is_other_incarnation
from researchflow_runners.store.database import Session

Key = tuple[str, str]

#: Subqueries hide how many keys there are: PostgreSQL then plans it once, not at each call. A limit
#: keeps each look-up one by index, also where the plan was made while the table was small.
_KNOWN = """
SELECT k.res_type, k.id, l.res_id AS ledger_res_id, coalesce(l.res_ver, 0) AS ledger_version,
       coalesce(l.deleted, false) AS ledger_deleted, e.version, e.origin, e.deleted, e.resource,
       e.incarnation, coalesce(s.version, 0) AS source_version, s.incarnation AS source_incarnation,
       coalesce(s.deleted, false) AS source_deleted, coalesce(r.version, 0) AS reported_version,
       coalesce(r.deleted, false) AS reported_deleted, r.stream_id AS reported_stream_id,
       r.received_at AS reported_at,
       ARRAY(SELECT d.view_name FROM researchflow.dead_letter AS d
             WHERE d.layer = 'speed' AND d.res_type = k.res_type AND d.id = k.id
               AND d.res_ver = e.version
             ORDER BY 1) AS failed_views,
       ARRAY(SELECT c.view_name FROM researchflow.view_catalogue AS c
             WHERE c.resource_type = k.res_type ORDER BY 1) AS views
FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) AS k (res_type, id)
LEFT JOIN LATERAL (
    SELECT res_id, res_ver, deleted FROM researchflow.ledger
    WHERE res_type = k.res_type AND id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l ON true
LEFT JOIN LATERAL (
    SELECT version, origin, deleted, resource, incarnation
    FROM researchflow.overlay_entry LEFT JOIN researchflow.overlay_resource USING (entry_id)
    WHERE res_type = k.res_type AND id = k.id AND now() < valid_until
    ORDER BY version DESC, origin DESC LIMIT 1) AS e ON true
LEFT JOIN LATERAL (
    SELECT * FROM researchflow.overlay_entry
    WHERE res_type = k.res_type AND id = k.id AND origin = 'source' LIMIT 1) AS s ON true
LEFT JOIN LATERAL (
    SELECT * FROM researchflow.overlay_entry
    WHERE res_type = k.res_type AND id = k.id AND origin = 'reported' AND now() < valid_until
    LIMIT 1) AS r ON true
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The newest of one resource in each layer; a version is 0 where there is none.

    `overlay_…` is the newest that waits, of any origin; `source_…` and `reported_…` are the
    entries of those origins. `views` are the materialised views of its type, `failed_views` those
    that lack its rows.
    """

    ledger_res_id: int | None
    ledger_version: int
    ledger_deleted: bool
    overlay_version: int
    overlay_origin: Origin | None
    overlay_deleted: bool
    overlay_text: str | None
    overlay_incarnation: int | None
    source_version: int
    source_deleted: bool
    source_incarnation: int | None
    reported_version: int
    reported_deleted: bool
    reported_stream_id: str | None
    reported_at: datetime | None
    views: tuple[str, ...]
    failed_views: tuple[str, ...]

    @property
    def newest_version(self) -> int:
        """The newest version in the batch layer or the overlay."""
        return max(self.ledger_version, self.overlay_version)

    @property
    def told_version(self) -> int:
        """The newest version that was read from the source or is said to be there."""
        return max(self.ledger_version, self.source_version, self.reported_version)

    def of_incarnation(self, incarnation: int | None) -> Known:
        """What is known of this incarnation, when both it and the others are known."""
        known = self
        if is_other_incarnation(self.ledger_res_id, incarnation):
            known = replace(known, ledger_res_id=None, ledger_version=0, ledger_deleted=False)
        if is_other_incarnation(self.source_incarnation, incarnation):
            known = replace(known, source_version=0, source_deleted=False, source_incarnation=None)
        if self.overlay_origin == "source" and is_other_incarnation(
            self.overlay_incarnation, incarnation
        ):
            known = replace(
                known,
                overlay_version=0,
                overlay_origin=None,
                overlay_deleted=False,
                overlay_text=None,
                overlay_incarnation=None,
            )
        return known


async def known_of(session: Session, keys: Iterable[Key]) -> dict[Key, Known]:
    """What PostgreSQL holds of each (type, id)."""
    wanted = list(dict.fromkeys(keys))
    rows = await session.fetch(_KNOWN, [key[0] for key in wanted], [key[1] for key in wanted])
    return {
        (row["res_type"], row["id"]): Known(
            ledger_res_id=row["ledger_res_id"],
            ledger_version=row["ledger_version"],
            ledger_deleted=row["ledger_deleted"],
            overlay_version=row["version"] or 0,
            overlay_origin=row["origin"],
            overlay_deleted=bool(row["deleted"]),
            overlay_text=row["resource"],
            overlay_incarnation=row["incarnation"],
            source_version=row["source_version"],
            source_deleted=row["source_deleted"],
            source_incarnation=row["source_incarnation"],
            reported_version=row["reported_version"],
            reported_deleted=row["reported_deleted"],
            reported_stream_id=row["reported_stream_id"],
            reported_at=row["reported_at"],
            views=tuple(row["views"]),
            failed_views=tuple(row["failed_views"]),
        )
        for row in rows
    }
