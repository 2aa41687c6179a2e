"""What is known of resources before and after a change: batch layer, overlay and source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from researchflow_runners.source.reader import HapiSource, Head, SourceSnapshot
from researchflow_runners.speed.entry import Origin
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Session

Key = tuple[str, str]

_KNOWN = """
SELECT k.res_type, k.id, coalesce(l.res_ver, 0) AS ledger_version,
       coalesce(l.deleted, false) AS ledger_deleted, e.version, e.origin, e.deleted, e.resource,
       ARRAY(SELECT d.view_name FROM researchflow.dead_letter AS d
             WHERE d.layer = 'speed' AND d.res_type = k.res_type AND d.id = k.id
             ORDER BY 1) AS failed_views
FROM unnest($1::text[], $2::text[]) AS k (res_type, id)
LEFT JOIN LATERAL (
    SELECT res_ver, deleted FROM researchflow.ledger
    WHERE res_type = k.res_type AND id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l ON true
LEFT JOIN LATERAL (
    SELECT version, origin, deleted, resource FROM researchflow.overlay_entry
    WHERE res_type = k.res_type AND id = k.id AND now() < valid_until
    ORDER BY version DESC, origin DESC LIMIT 1) AS e ON true
"""
_VIEWS = """
SELECT resource_type, array_agg(view_name ORDER BY view_name) AS views
FROM researchflow.view_catalogue WHERE resource_type = ANY($1::text[]) GROUP BY 1
"""
#: The text as the server would give it; jsonb keeps the digits of decimals.
_CONTENT = """
SELECT c.id, (c.text::jsonb || jsonb_build_object('id', c.id, 'meta', c.meta))::text AS text
FROM {current} AS c
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The newest of one resource in each layer; a version is 0 where there is none."""

    ledger_version: int
    ledger_deleted: bool
    overlay_version: int
    overlay_origin: Origin | None
    overlay_deleted: bool
    overlay_text: str | None
    failed_views: tuple[str, ...]

    @property
    def newest_version(self) -> int:
        """The newest version in the batch layer or the overlay."""
        return max(self.ledger_version, self.overlay_version)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the source holds of a resource now; `text` only where it was asked for."""

    version: int
    deleted: bool
    text: str | None = None


async def known_of(session: Session, keys: Iterable[Key]) -> dict[Key, Known]:
    """What PostgreSQL holds of each (type, id)."""
    wanted = list(dict.fromkeys(keys))
    rows = await session.fetch(_KNOWN, [key[0] for key in wanted], [key[1] for key in wanted])
    return {
        (row["res_type"], row["id"]): Known(
            ledger_version=row["ledger_version"],
            ledger_deleted=row["ledger_deleted"],
            overlay_version=row["version"] or 0,
            overlay_origin=row["origin"],
            overlay_deleted=bool(row["deleted"]),
            overlay_text=row["resource"],
            failed_views=tuple(row["failed_views"]),
        )
        for row in rows
    }


async def views_of(session: Session, resource_types: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names of the materialised views of each type that has some."""
    rows = await session.fetch(_VIEWS, sorted(set(resource_types)))
    return {row["resource_type"]: tuple(row["views"]) for row in rows}


async def confirm(source: HapiSource, wanted: Mapping[Key, int]) -> dict[Key, Confirmed]:
    """The source's state of each resource it knows, with the text where it has that version.

    `wanted` gives the version to confirm, 0 where any would do and no text is needed.
    """
    found: dict[Key, Confirmed] = {}
    async with source.snapshot() as snapshot:
        for resource_type in sorted({key[0] for key in wanted}):
            ids = [key[1] for key in wanted if key[0] == resource_type]
            heads = await snapshot.heads(resource_type, ids)
            asked = [
                head
                for head in heads.values()
                if not head.deleted and head.version >= wanted[resource_type, head.id] > 0
            ]
            texts = await _texts(snapshot, resource_type, asked) if asked else {}
            for head in heads.values():
                found[resource_type, head.id] = Confirmed(
                    head.version, head.deleted, texts.get(head.id)
                )
    return found


async def _texts(
    snapshot: SourceSnapshot, resource_type: str, heads: Sequence[Head]
) -> dict[str, str]:
    only = compose(
        "(SELECT res_id FROM unnest({}) AS k (res_id))",
        param([head.res_id for head in heads], "bigint[]"),
    )
    current = await snapshot.current(resource_type, with_meta=True, only=only)
    rows = await snapshot.session.fetch(compose(_CONTENT, current=current))
    return {row["id"]: row["text"] for row in rows}
