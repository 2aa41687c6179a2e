"""Where the files of a backup are."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from researchflow_runners.errors import BackupError
from researchflow_runners.naming import as_clause

CHUNK_BYTES = 1_048_576
FOLDER_MODE = 0o700
FILE_MODE = 0o600
FOLDER_HINT = "check that the place exists and that you may read and write it"
MANIFEST = "manifest.json"
_OBJECT_STORE = "researchflow_runners.backup.object_store"

Write = Callable[[bytes], Awaitable[None]]


class Target(Protocol):
    """A place for files by name. BackupError `target_unusable` when it cannot be reached."""

    name: str

    async def exists(self, file: str) -> bool:
        """Whether there is a file of that name."""

    def writer(self, file: str) -> AbstractAsyncContextManager[Write]:
        """Takes the file's bytes; they are all there when the block ends well."""

    def read(self, file: str) -> AsyncIterator[bytes]:
        """The file's bytes; BackupError `backup_incomplete` when it is not there."""


def open_target(place: str) -> Target:
    """The folder or, of `s3://bucket/prefix`, the object store; BackupError `s3_not_installed`."""
    if not place.startswith("s3://"):
        return FolderTarget(Path(place))
    try:
        module: Any = importlib.import_module(_OBJECT_STORE)
    except ModuleNotFoundError as error:
        raise BackupError(
            f'"{place}" needs the client of object stores',
            code="s3_not_installed",
            field="target",
            hint="install the extra: pip install 'researchflow[s3]'",
        ) from error
    target: Target = module.ObjectStoreTarget(place)
    return target


class FolderTarget:
    """A folder that its owner alone can read."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    async def exists(self, file: str) -> bool:
        """Whether there is a file of that name."""
        return (self._folder / file).is_file()

    @asynccontextmanager
    async def writer(self, file: str) -> AsyncIterator[Write]:
        """Writes beside the place and moves there, on the disk before it has its name."""
        draft = self._folder / f"{file}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
            handle = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, FILE_MODE)
            try:
                with os.fdopen(handle, "wb") as opened:
                    os.fchmod(opened.fileno(), FILE_MODE)

                    async def write(chunk: bytes) -> None:
                        opened.write(chunk)

                    yield write
                    opened.flush()
                    os.fsync(opened.fileno())
                draft.replace(self._folder / file)
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(self._folder)
        except OSError as error:
            raise unusable(self.name, error.strerror or "it cannot be written") from error

    async def read(self, file: str) -> AsyncIterator[bytes]:
        """The file in chunks of CHUNK_BYTES."""
        try:
            with (self._folder / file).open("rb") as opened:
                while chunk := opened.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise missing(self.name, file) from error
        except OSError as error:
            raise unusable(self.name, error.strerror or "it cannot be read") from error


def missing(target: str, file: str) -> BackupError:
    """The refusal of a backup without one of its files."""
    return BackupError(
        f'"{target}" has no "{file}"',
        code="backup_incomplete",
        field="target",
        hint="name the place that a backup which ended well was written to",
    )


def unusable(target: str, reason: str, *, hint: str = FOLDER_HINT) -> BackupError:
    """The refusal of a place that cannot be read or written."""
    return BackupError(
        f'"{target}" cannot be used: {as_clause(reason)}',
        code="target_unusable",
        field="target",
        hint=hint,
    )


def _sync_folder(folder: Path) -> None:
    """The names in the folder, on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
