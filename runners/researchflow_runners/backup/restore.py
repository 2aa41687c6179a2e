"""Brings a backup into an empty warehouse.

Pinned anchors come back under their numbers, readable at once, each view of each in tables of its
own. Provisional changes wait in the overlay as before. Registered and composed views need rows, so
the caller defines them again after the refresh that rebuilds everything else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from researchflow_runners.backup.manifest import (
    Manifest,
    SavedRows,
    check_files,
    checked,
    damaged,
    read_manifest,
)
from researchflow_runners.backup.save import (
    COMPOSED,
    MISSING,
    PROVISIONAL,
    REGISTERED,
    TIMEOUT_S,
    Saved,
)
from researchflow_runners.backup.target import Target
from researchflow_runners.batch.contents import store_built_content
from researchflow_runners.batch.run import holding_refreshes
from researchflow_runners.batch.tables import (
    create_base,
    create_history,
    finish_base,
    published_at,
)
from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import BackupError
from researchflow_runners.sql import ident
from researchflow_runners.store.content import read_content
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import SCHEMA

LINE_BYTES_MAX = 128 * 1_048_576

_IS_EMPTY = """
SELECT NOT EXISTS (SELECT FROM researchflow.anchor)
   AND NOT EXISTS (SELECT FROM researchflow.view_catalogue)
   AND NOT EXISTS (SELECT FROM researchflow.composed_view)
   AND NOT EXISTS (SELECT FROM researchflow.overlay_entry)
"""
_ANCHOR = """
INSERT INTO researchflow.anchor (anchor, data_as_of, committed_at, source_snapshot, changed,
    missing_kept)
VALUES ($1, $2, $3, $4, $5, $6)
"""
#: Numbers go on above those given before, and an instant after the last pin finds no rows.
_END = """
INSERT INTO researchflow.anchor (anchor, data_as_of, source_snapshot, changed, expired_at)
VALUES ($1, $2, '', 0, clock_timestamp())
"""
_PIN = "INSERT INTO researchflow.pin (name, anchor, pinned_at) VALUES ($1, $2, $3)"
_FORMER = """
INSERT INTO researchflow.former_view (view_name, digest, resource_type, definition, columns,
    base_table, history_table, since_anchor, until_anchor)
VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, $6, $7, $8::bigint, $8::bigint + 1)
"""
_ENTRY = """
WITH saved AS (
    SELECT * FROM json_to_record($1::json) AS e (res_type text, id text, version bigint,
        deleted boolean, resource text, provenance text, received_at timestamptz,
        valid_until timestamptz, stream_id text, incarnation bigint)
), entered AS (
    INSERT INTO researchflow.overlay_entry (res_type, id, origin, version, deleted, provenance,
        received_at, valid_until, stream_id, incarnation)
    SELECT res_type, id, 'provisional', version, deleted, provenance, received_at, valid_until,
           stream_id, incarnation FROM saved
    RETURNING entry_id
)
INSERT INTO researchflow.overlay_resource (entry_id, resource)
SELECT e.entry_id, s.resource FROM entered AS e, saved AS s WHERE NOT s.deleted
"""
#: What the last saved anchor lacks ends with it: the next one is computed anew.
_MISSING = """
INSERT INTO researchflow.missing (view_name, res_type, id, since_anchor, until_anchor)
SELECT view_name, res_type, id, since_anchor, coalesce(until_anchor, $2)
FROM json_to_record($1::json) AS m (view_name text, res_type text, id text,
    since_anchor bigint, until_anchor bigint)
"""
#: Another epoch than Redis': it is given what only the warehouse holds, and the other way round.
_BEGIN_EPOCH = """
INSERT INTO researchflow.projection (res_type, epoch, stream_id)
SELECT DISTINCT res_type, 'restored', '0-0' FROM researchflow.overlay_entry
ON CONFLICT (res_type) DO UPDATE SET epoch = excluded.epoch, stream_id = excluded.stream_id
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back, and the definitions that the caller has to register again, in order."""

    saved: Saved
    saved_at: datetime
    registered: tuple[dict[str, Any], ...]
    composed: tuple[dict[str, Any], ...]


async def restore_backup(warehouse: Database, target: Target) -> Restored:
    """Restores everything that can be in one commit, after every file was found whole.

    BackupError `backup_incomplete`, `backup_damaged`, `backup_newer` or `warehouse_not_empty`;
    RefreshError `refresh_running`. When it raises, nothing was restored.
    """
    manifest = await read_manifest(target)
    await check_files(target, manifest)
    restored = Restored(
        saved=Saved.of(manifest),
        saved_at=manifest.saved_at,
        registered=tuple([json.loads(one) async for one in _lines(target, manifest, REGISTERED)]),
        composed=tuple([json.loads(one) async for one in _lines(target, manifest, COMPOSED)]),
    )
    await warehouse.install_schema()
    async with (
        warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session,
        holding_refreshes(session),
        session.transaction(),
    ):
        await _require_empty(session)
        await _restore_anchors(session, manifest)
        for saved in manifest.rows:
            await _restore_rows(session, target, manifest, saved)
        async for line in _lines(target, manifest, PROVISIONAL):
            await session.execute(_ENTRY, line)
        await session.execute(_BEGIN_EPOCH)
        await _restore_missing(session, target, manifest)
    return restored


async def _require_empty(session: Session) -> None:
    if not await session.fetchval(_IS_EMPTY):
        raise BackupError(
            "the warehouse holds anchors, views or changes",
            code="warehouse_not_empty",
            hint="restore into a new database, or drop the schema researchflow of this one first",
        )


async def _restore_anchors(session: Session, manifest: Manifest) -> None:
    for one in manifest.anchors:
        await session.execute(
            _ANCHOR,
            one.anchor,
            one.data_as_of,
            one.committed_at,
            one.source_snapshot,
            one.changed,
            one.missing_kept,
        )
    if manifest.last_data_as_of is not None:
        await session.execute(_END, manifest.last_anchor + 1, manifest.last_data_as_of)
    for pin in manifest.pins:
        await session.execute(_PIN, pin.name, pin.anchor, pin.pinned_at)


async def _restore_missing(session: Session, target: Target, manifest: Manifest) -> None:
    """What the pinned anchors' views lacked; version 1 did not keep it, as its anchors tell."""
    if manifest.version > 1:
        async for line in _lines(target, manifest, MISSING):
            await session.execute(_MISSING, line, manifest.last_anchor + 1)


async def _restore_rows(
    session: Session, target: Target, manifest: Manifest, saved: SavedRows
) -> None:
    """A view's rows at an anchor, proved by their content hash."""
    definition = manifest.definitions[saved.definition]
    published = published_at(
        definition.view,
        definition.digest,
        resource_type=definition.resource_type,
        columns=tuple(Column(**column) for column in definition.columns),
        anchor=saved.anchor,
    )
    await create_base(session, published)
    await create_history(session, published)
    columns = [name for name, _type in published.stored_columns]
    await session.copy_in(
        published.base_table,
        columns=[*columns, "_since"],
        source=checked(target, manifest, saved.file),
        schema=SCHEMA,
    )
    await finish_base(session, published)
    await _prove(session, target, published, saved)
    await session.execute(
        _FORMER,
        published.name,
        published.digest,
        published.resource_type,
        json.dumps(definition.definition),
        json.dumps(definition.columns),
        published.base_table,
        published.history_table,
        saved.anchor,
    )


async def _prove(
    session: Session, target: Target, published: PublishedView, saved: SavedRows
) -> None:
    content = await read_content(session, published, ident(SCHEMA, published.base_table))
    if (content.rows, content.hash) != (saved.rows, saved.content_hash):
        raise damaged(target, saved.file)
    await store_built_content(session, published.name, published.digest, saved.anchor, content)


async def _lines(target: Target, manifest: Manifest, name: str) -> AsyncIterator[str]:
    """The file's lines, each below LINE_BYTES_MAX."""
    rest = b""
    async for chunk in checked(target, manifest, name):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()
        if len(rest) > LINE_BYTES_MAX:
            raise damaged(target, name)
    if rest:
        raise damaged(target, name)
