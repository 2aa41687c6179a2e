"""Saves one snapshot of what cannot be rebuilt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from researchflow_runners.backup.manifest import (
    FORMAT,
    VERSION,
    Manifest,
    SavedAnchor,
    SavedDefinition,
    SavedPin,
    SavedRows,
    Sum,
    write_manifest,
)
from researchflow_runners.backup.target import MANIFEST, Target, Write
from researchflow_runners.batch.anchors import contents_at
from researchflow_runners.errors import BackupError
from researchflow_runners.sql import compose, ident, join, param
from researchflow_runners.store.content import read_content
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.former import readable_tables, views_at
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import SCHEMA, historical_relation

TIMEOUT_S = 6 * 3600.0
LINES_AT_ONCE = 100
PROVISIONAL = "provisional.ndjson"
REGISTERED = "registered.ndjson"
COMPOSED = "composed.ndjson"
MISSING = "missing.ndjson"

_LAST = "SELECT anchor, data_as_of FROM researchflow.anchor ORDER BY anchor DESC LIMIT 1"
_ANCHORS = """
SELECT anchor, data_as_of, committed_at, source_snapshot, changed, missing_kept
FROM researchflow.anchor
WHERE anchor IN (SELECT anchor FROM researchflow.pin) ORDER BY anchor
"""
_PINS = "SELECT name, anchor, pinned_at FROM researchflow.pin ORDER BY name"
_DEFINITIONS = """
SELECT definition::text, columns::text FROM researchflow.view_catalogue
WHERE view_name = $1 AND digest = $2
UNION ALL
SELECT definition::text, columns::text FROM researchflow.former_view
WHERE view_name = $1 AND digest = $2
LIMIT 1
"""
#: Each gives one JSON text a row.
_LINES = {
    PROVISIONAL: """
SELECT to_json(e)::text FROM (
    SELECT res_type, id, version, deleted, resource, provenance, received_at, valid_until,
           stream_id, incarnation
    FROM researchflow.overlay_entry LEFT JOIN researchflow.overlay_resource USING (entry_id)
    WHERE origin = 'provisional' AND valid_until > now() ORDER BY entry_id) AS e
""",
    REGISTERED: """
SELECT definition::text FROM researchflow.view_catalogue
WHERE registered_at IS NOT NULL ORDER BY registered_at, view_name
""",
    # Those of the product, told by their URL, come with it.
    COMPOSED: """
SELECT definition::text FROM researchflow.composed_view
WHERE expires_at IS NULL
AND NOT starts_with(coalesce(definition ->> 'url', ''), 'https://researchflow.example/Library/')
ORDER BY registered_at, view_name
""",
    MISSING: """
SELECT to_json(m)::text FROM researchflow.missing AS m
WHERE EXISTS (
    SELECT FROM researchflow.pin AS p
    WHERE m.since_anchor <= p.anchor AND (m.until_anchor IS NULL OR p.anchor < m.until_anchor))
ORDER BY view_name, res_type, id, since_anchor
""",
}


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup holds."""

    anchors: int
    pins: int
    rows: int
    provisional: int
    registered: int
    composed: int
    size_bytes: int

    @classmethod
    def of(cls, manifest: Manifest) -> Saved:
        """The counts of a manifest."""
        return cls(
            anchors=len(manifest.anchors),
            pins=len(manifest.pins),
            rows=sum(one.rows for one in manifest.rows),
            provisional=manifest.provisional,
            registered=manifest.registered,
            composed=manifest.composed,
            size_bytes=sum(file.size_bytes for file in manifest.files.values()),
        )


async def save_backup(warehouse: Database, target: Target) -> Saved:
    """Writes everything, the manifest last; all of it is of one instant.

    BackupError `backup_exists`, `anchor_differs` (pinned rows are not those that were published)
    or `target_unusable`; what was written before an error is no backup, and may be overwritten.
    """
    if await target.exists(MANIFEST):
        raise BackupError(
            f'"{target.name}" holds a backup already',
            code="backup_exists",
            field="target",
            hint="give each backup a place of its own",
        )
    async with (
        warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session,
        session.transaction(isolation="repeatable read"),
    ):
        await _hold_tables(session)
        manifest = await _save(session, _Files(target))
    await write_manifest(target, manifest)
    return Saved.of(manifest)


class _Files:
    """The target, and the sums of what was written there."""

    def __init__(self, target: Target) -> None:
        self.sums: dict[str, Sum] = {}
        self._target = target

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[Write]:
        """As the target's, summed."""
        total = Sum()
        async with self._target.writer(name) as write:
            yield _summed(write, total)
        self.sums[name] = total


def _summed(write: Write, total: Sum) -> Callable[[bytes], Awaitable[None]]:
    async def both(chunk: bytes) -> None:
        total.add(chunk)
        await write(chunk)

    return both


async def _hold_tables(session: Session) -> None:
    """Keeps a refresh from dropping a definition's tables before they are read."""
    for base, history in await readable_tables(session):
        for table in (base, history):
            await session.execute(
                compose("LOCK TABLE {} IN ACCESS SHARE MODE", ident(SCHEMA, table))
            )


async def _save(session: Session, files: _Files) -> Manifest:
    last = await session.fetchrow(_LAST)
    anchors = [SavedAnchor(**dict(row)) for row in await session.fetch(_ANCHORS)]
    definitions: dict[tuple[str, str], SavedDefinition] = {}
    rows = []
    for anchor in anchors:
        expected = {one.view: one for one in await contents_at(session, anchor.anchor)}
        for name, view in (await views_at(session, anchor.anchor)).items():
            if (name, view.digest) not in definitions:
                definitions[name, view.digest] = await _definition(session, view)
            saved = await _save_rows(
                session, files, view, anchor.anchor, list(definitions).index((name, view.digest))
            )
            if expected[name].content_hash not in (None, saved.content_hash):
                raise _differs(name, anchor.anchor)
            rows.append(saved)
    counts = {name: await _save_lines(session, files, name) for name in _LINES}
    return Manifest(
        format=FORMAT,
        version=VERSION,
        release=version("researchflow"),
        saved_at=datetime.now(UTC),
        last_anchor=last["anchor"] if last else 0,
        last_data_as_of=last["data_as_of"] if last else None,
        anchors=anchors,
        pins=[SavedPin(**dict(row)) for row in await session.fetch(_PINS)],
        definitions=list(definitions.values()),
        rows=rows,
        provisional=counts[PROVISIONAL],
        registered=counts[REGISTERED],
        composed=counts[COMPOSED],
        files={name: total.file for name, total in files.sums.items()},
    )


async def _definition(session: Session, view: PublishedView) -> SavedDefinition:
    row = await session.fetchrow(_DEFINITIONS, view.name, view.digest)
    assert row is not None
    return SavedDefinition(
        view=view.name,
        digest=view.digest,
        resource_type=view.resource_type,
        definition=json.loads(row["definition"]),
        columns=json.loads(row["columns"]),
    )


async def _save_rows(
    session: Session, files: _Files, view: PublishedView, anchor: int, definition: int
) -> SavedRows:
    """The view's rows at the anchor in PostgreSQL's binary COPY format, as the base table's."""
    relation = historical_relation(view, anchor)
    content = await read_content(session, view, relation)
    name = f"rows-{anchor}-{definition}.copy"
    async with files.writer(name) as write:
        await session.copy_out(
            compose(
                "SELECT {}, {} AS _since FROM {} AS r",
                join(", ", (ident(column) for column, _type in view.stored_columns)),
                param(anchor, "bigint"),
                relation,
            ),
            write,
        )
    return SavedRows(
        anchor=anchor,
        definition=definition,
        rows=content.rows,
        content_hash=content.hash,
        file=name,
    )


async def _save_lines(session: Session, files: _Files, name: str) -> int:
    """One JSON text a line; gives how many."""
    count = 0
    async with files.writer(name) as write:
        stream = await session.stream(_LINES[name])
        while rows := await stream.next(LINES_AT_ONCE):
            await write(b"".join(row[0].encode() + b"\n" for row in rows))
            count += len(rows)
    return count


def _differs(view: str, anchor: int) -> BackupError:
    return BackupError(
        f'the rows of "{view}" at anchor "{anchor}" are not those that were published',
        code="anchor_differs",
        field="view",
        hint="see `researchflow anchor verify`; unpin the anchor to back up the rest",
    )
