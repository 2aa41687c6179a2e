"""What a backup consists of, with the sums by which damage is noticed. It is written last."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict

from researchflow_runners.backup.target import MANIFEST, Target
from researchflow_runners.errors import BackupError

FORMAT = "researchflow-backup"
#: Raise it when an earlier release could not read what this one writes.
VERSION = 2
MANIFEST_BYTES_MAX = 256 * 1_048_576


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedFile(_Part):
    """A file's size and SHA-256."""

    size_bytes: int
    sha256: str


class SavedAnchor(_Part):
    """A pinned anchor, as its table has it; version 1 did not keep what is missing."""

    anchor: int
    data_as_of: datetime
    committed_at: datetime
    source_snapshot: str
    changed: int
    missing_kept: bool = False


class SavedPin(_Part):
    """A name of one of the anchors."""

    name: str
    anchor: int
    pinned_at: datetime


class SavedDefinition(_Part):
    """A view as some anchors hold it."""

    view: str
    digest: str
    resource_type: str
    definition: dict[str, Any]
    columns: list[dict[str, Any]]


class SavedRows(_Part):
    """The rows of a view at an anchor, `definition` being a place in `definitions`."""

    anchor: int
    definition: int
    rows: int
    content_hash: str
    file: str


class Manifest(_Part):
    """Everything but the bytes of the files."""

    format: str
    version: int
    release: str
    saved_at: datetime
    last_anchor: int
    last_data_as_of: datetime | None
    anchors: list[SavedAnchor]
    pins: list[SavedPin]
    definitions: list[SavedDefinition]
    rows: list[SavedRows]
    provisional: int
    registered: int
    composed: int
    files: dict[str, SavedFile]


class _Envelope(BaseModel):
    """The manifest's text beside its own sum."""

    sha256: str
    manifest: str


class Sum:
    """Counts and hashes bytes as they pass."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        self.size_bytes += len(chunk)
        self._hash.update(chunk)

    @property
    def file(self) -> SavedFile:
        """The sum so far."""
        return SavedFile(size_bytes=self.size_bytes, sha256=self._hash.hexdigest())


async def write_manifest(target: Target, manifest: Manifest) -> None:
    """Completes a backup."""
    text = manifest.model_dump_json()
    envelope = _Envelope(sha256=hashlib.sha256(text.encode()).hexdigest(), manifest=text)
    async with target.writer(MANIFEST) as write:
        await write(envelope.model_dump_json().encode())


async def read_manifest(target: Target) -> Manifest:
    """The manifest; BackupError `backup_incomplete`, `backup_damaged` or `backup_newer`."""
    parts = []
    size = 0
    async for chunk in target.read(MANIFEST):
        parts.append(chunk)
        size += len(chunk)
        if size > MANIFEST_BYTES_MAX:
            raise damaged(target, MANIFEST)
    try:
        envelope = _Envelope.model_validate_json(b"".join(parts))
        if hashlib.sha256(envelope.manifest.encode()).hexdigest() != envelope.sha256:
            raise damaged(target, MANIFEST)
        kind = _Kind.model_validate_json(envelope.manifest)
        if kind.format != FORMAT:
            raise damaged(target, MANIFEST)
        if kind.version > VERSION:
            raise _newer(target, kind)
        return Manifest.model_validate_json(envelope.manifest)
    except pydantic.ValidationError as error:
        raise damaged(target, MANIFEST) from error


async def check_files(target: Target, manifest: Manifest) -> None:
    """Reads every file; BackupError `backup_incomplete` or `backup_damaged` names the first."""
    for name in manifest.files:
        async for _chunk in checked(target, manifest, name):
            pass


async def checked(target: Target, manifest: Manifest, name: str) -> AsyncIterator[bytes]:
    """The file's bytes; BackupError `backup_damaged` at its end when they are not those saved."""
    total = Sum()
    async for chunk in target.read(name):
        total.add(chunk)
        yield chunk
    if total.file != manifest.files.get(name):
        raise damaged(target, name)


class _Kind(BaseModel):
    """What every version of the manifest says first."""

    format: str
    version: int
    release: str


def damaged(target: Target, file: str) -> BackupError:
    """The refusal of a file that is not what was saved."""
    return BackupError(
        f'"{file}" of "{target.name}" is damaged',
        code="backup_damaged",
        field="target",
        hint="use another copy of the backup; nothing was restored",
    )


def _newer(target: Target, kind: _Kind) -> BackupError:
    return BackupError(
        f'"{target.name}" has format "{kind.version}", which this release cannot read',
        code="backup_newer",
        field="target",
        hint=f"restore it with release {kind.release[:40]} or a later one",
    )
