"""The output folder: it appears complete, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from researchflow_agents.errors import OUTPUT_EXISTS, OUTPUT_FAILED, AgentError
from researchflow_agents.extraction.csv_file import OWNER_ONLY


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, renamed to it when the block ends well, else removed.

    Only the owner may enter it. AgentError `output_exists` when `target` holds anything,
    `output_failed` when the disk refuses.
    """
    target = target.absolute()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise _occupied(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise _failed(target, error) from error
    try:
        yield partial
        _publish(partial, target)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_new(path: Path, text: str) -> None:
    """Writes a small file for the owner alone, and puts it on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _publish(partial: Path, target: Path) -> None:
    _sync(partial)
    try:
        partial.rename(target)
    except FileExistsError:
        raise _occupied(target) from None
    except OSError as error:
        if target.is_dir() and any(target.iterdir()):
            raise _occupied(target) from error
        raise
    _sync(target.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _occupied(target: Path) -> AgentError:
    return AgentError.of(
        OUTPUT_EXISTS,
        f'"{target}" exists and is not an empty folder',
        field="out",
        hint="choose another folder; an extract is never mixed with other files",
    )


def _failed(target: Path, error: OSError) -> AgentError:
    return AgentError.of(
        OUTPUT_FAILED,
        f'"{target}" cannot be written: {error.strerror}',
        field="out",
        hint="make room or choose a folder that can be written; nothing was left behind",
    )
