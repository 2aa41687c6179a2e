"""What is known of resources before and after a change: batch layer, overlay and source."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.reader import HapiSource, Head, SourceSnapshot
from researchflow_runners.speed.entry import Origin, is_other_incarnation
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Session

Key = tuple[str, str]

#: A server that is upgraded while we run gains columns, seldom.
PROBE_INTERVAL_S = 60.0

_KNOWN = """
SELECT k.res_type, k.id, l.res_id AS ledger_res_id, coalesce(l.res_ver, 0) AS ledger_version,
       coalesce(l.deleted, false) AS ledger_deleted, e.version, e.origin, e.deleted, e.resource,
       e.incarnation,
       ARRAY(SELECT d.view_name FROM researchflow.dead_letter AS d
             WHERE d.layer = 'speed' AND d.res_type = k.res_type AND d.id = k.id
               AND d.res_ver = e.version
             ORDER BY 1) AS failed_views,
       ARRAY(SELECT c.view_name FROM researchflow.view_catalogue AS c
             WHERE c.resource_type = k.res_type ORDER BY 1) AS views
FROM unnest($1::text[], $2::text[]) AS k (res_type, id)
LEFT JOIN LATERAL (
    SELECT res_id, res_ver, deleted FROM researchflow.ledger
    WHERE res_type = k.res_type AND id = k.id ORDER BY deleted, res_id DESC LIMIT 1) AS l ON true
LEFT JOIN LATERAL (
    SELECT version, origin, deleted, resource, incarnation FROM researchflow.overlay_entry
    WHERE res_type = k.res_type AND id = k.id AND now() < valid_until
    ORDER BY version DESC, origin DESC LIMIT 1) AS e ON true
"""
#: The text as the server would give it; jsonb keeps the digits of decimals.
_CONTENT = """
SELECT c.id, (c.text::jsonb || jsonb_build_object('id', c.id, 'meta', c.meta))::text AS text
FROM {current} AS c
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The newest of one resource in each layer; a version is 0 where there is none.

    `views` are the materialised views of its type, `failed_views` those that lack its rows.
    """

    ledger_res_id: int | None
    ledger_version: int
    ledger_deleted: bool
    overlay_version: int
    overlay_origin: Origin | None
    overlay_deleted: bool
    overlay_text: str | None
    overlay_incarnation: int | None
    views: tuple[str, ...]
    failed_views: tuple[str, ...]

    @property
    def newest_version(self) -> int:
        """The newest version in the batch layer or the overlay."""
        return max(self.ledger_version, self.overlay_version)

    def of_incarnation(self, incarnation: int | None) -> Known:
        """What is known of this incarnation, when both it and the others are known."""
        known = self
        if is_other_incarnation(self.ledger_res_id, incarnation):
            known = replace(known, ledger_res_id=None, ledger_version=0, ledger_deleted=False)
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


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the source holds of a resource now; `text` only where it was asked for."""

    res_id: int
    version: int
    deleted: bool
    text: str | None = None


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
            views=tuple(row["views"]),
            failed_views=tuple(row["failed_views"]),
        )
        for row in rows
    }


class SourceStates:
    """The source's newest states, asked with few round trips: its layout is probed seldom."""

    def __init__(self, source: HapiSource) -> None:
        self._source = source
        self._layout: HapiLayout | None = None
        self._probe_at = 0.0

    async def confirm(self, wanted: Mapping[Key, int]) -> dict[Key, Confirmed]:
        """The state of each resource that the source knows, with the text where it is confirmed.

        `wanted` gives the version to confirm, 0 where none is and the newest number is enough.
        """
        heads = await self._heads(wanted)
        asked = [
            key
            for key, head in heads.items()
            if not head.deleted and head.version >= wanted[key] > 0
        ]
        found = {
            key: Confirmed(head.res_id, head.version, head.deleted) for key, head in heads.items()
        }
        return {**found, **(await self._contents(asked) if asked else {})}

    async def _heads(self, wanted: Mapping[Key, int]) -> dict[Key, Head]:
        heads: dict[Key, Head] = {}
        async with self._source.database.session() as session:
            snapshot = SourceSnapshot(session, await self._probed(session))
            for resource_type, ids in _by_type(wanted).items():
                found = await snapshot.heads(resource_type, ids)
                heads |= {(resource_type, head.id): head for head in found.values()}
        return heads

    async def _contents(self, asked: Iterable[Key]) -> dict[Key, Confirmed]:
        """Version and text of what is not deleted, from one snapshot."""
        contents: dict[Key, Confirmed] = {}
        async with self._source.snapshot() as snapshot:
            for resource_type, ids in _by_type(asked).items():
                heads = await snapshot.heads(resource_type, ids)
                only = compose(
                    "(SELECT res_id FROM unnest({}) AS k (res_id))",
                    param([head.res_id for head in heads.values()], "bigint[]"),
                )
                current = await snapshot.current(resource_type, with_meta=True, only=only)
                rows = await snapshot.session.fetch(compose(_CONTENT, current=current))
                texts = {row["id"]: row["text"] for row in rows}
                contents |= {
                    (resource_type, head.id): Confirmed(
                        head.res_id, head.version, head.deleted, texts.get(head.id)
                    )
                    for head in heads.values()
                }
        return contents

    async def _probed(self, session: Session) -> HapiLayout:
        now = time.monotonic()
        if self._layout is None or now >= self._probe_at:
            self._layout = await self._source.probe(session)
            self._probe_at = now + PROBE_INTERVAL_S
        return self._layout


def _by_type(keys: Iterable[Key]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for resource_type, resource_id in keys:
        ids.setdefault(resource_type, []).append(resource_id)
    return ids
