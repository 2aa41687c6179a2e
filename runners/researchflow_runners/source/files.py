"""Files of FHIR JSON read into batches of changes; what is wrong is noted and passed by."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.bundle import Identifiers, changes_of, is_exchange
from researchflow_runners.source.resource import (
    RESOURCE_BYTES_MAX,
    BadResource,
    Change,
    change_of,
    checked,
    parse_json,
)

SUFFIXES = (".ndjson", ".jsonl", ".json", ".ndjson.gz", ".jsonl.gz", ".json.gz")
DOCUMENT_BYTES_MAX = 512 * 1024 * 1024
BATCH_CHANGES = 5_000
BATCH_CHARS = 32 * 1024 * 1024
REJECTIONS_SHOWN_MAX = 100
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One input that was not stored: where it is and why, never what it says."""

    file: str
    line: int
    code: str
    entry: int | None = None

    def __str__(self) -> str:
        entry = "" if self.entry is None else f" entry {self.entry}"
        return f"{self.file}:{self.line}{entry}: {self.code}"


@dataclass
class Rejections:
    """How many inputs were not stored, and the positions of the first of them."""

    count: int = 0
    shown: list[Rejection] = field(default_factory=list)

    def add(self, rejection: Rejection) -> None:
        """Counts it; keeps its position while there is room."""
        self.count += 1
        if len(self.shown) < REJECTIONS_SHOWN_MAX:
            self.shown.append(rejection)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files, directories searched in order of name; SourceDataError when there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES))
            found += [file for file in inside if file.is_file()]
        elif path.is_file():
            found.append(path)
        else:
            raise _unusable(path, "does not exist", "path_not_found")
    if not found:
        named = ", ".join(str(path) for path in paths)
        raise _unusable(named, f"holds no file ending in {', '.join(SUFFIXES)}", "no_input_files")
    return found


def _unusable(path: Path | str, reason: str, code: str) -> SourceDataError:
    return SourceDataError(
        f'"{path}" {reason}',
        code=code,
        hint="give files or directories of NDJSON or Bundles, plain or gzip",
        field="paths",
    )


class ChangeReader:
    """Batches of changes from files, in order; `bytes_read` counts bytes on disk."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.bytes_total = sum(file.stat().st_size for file in files)
        self.bytes_read = 0
        self.rejections = Rejections()
        self._identifiers = Identifiers()
        self._changes = self._all_changes()

    def next_batch(self) -> list[Change]:
        """The next changes, at most BATCH_CHANGES; empty at the end."""
        batch: list[Change] = []
        chars = 0
        for change in self._changes:
            batch.append(change)
            chars += len(change.text or "")
            if len(batch) >= BATCH_CHANGES or chars >= BATCH_CHARS:
                break
        return batch

    def _all_changes(self) -> Iterator[Change]:
        done = 0
        for file in self.files:
            try:
                yield from self._changes_in(file, done)
            except (OSError, EOFError, zlib.error):
                self.rejections.add(Rejection(str(file), 0, "unreadable_file"))
            done += file.stat().st_size
            self.bytes_read = done

    def _changes_in(self, file: Path, done: int) -> Iterator[Change]:
        with _opened(file) as (raw, content):
            first = content.readline(RESOURCE_BYTES_MAX + 1)
            if ".json" in file.suffixes and not _is_json(first):
                yield from self._changes_at(file, 1, first + content.read(DOCUMENT_BYTES_MAX))
                return
            line, number = first, 1
            while line:
                yield from self._changes_at(file, number, line)
                self.bytes_read = done + raw.tell()
                line = content.readline(RESOURCE_BYTES_MAX + 1)
                number += 1

    def _changes_at(self, file: Path, line: int, raw: bytes) -> Iterator[Change]:
        """A resource's change, or those of a Bundle.

        On a line among others, a Bundle that has an id is a resource like the rest.
        """
        stripped = raw.removeprefix(_BOM).strip()
        if not stripped:
            return
        try:
            resource = checked(parse_json(stripped))
            keeps_id = "id" in resource and ".json" not in file.suffixes
            if keeps_id or not is_exchange(resource):
                yield change_of(resource, self._identifiers.identify(resource))
                return
        except BadResource as error:
            self.rejections.add(Rejection(str(file), line, error.code))
            return
        yield from self._entries(file, line, resource)

    def _entries(self, file: Path, line: int, bundle: dict[str, Any]) -> Iterator[Change]:
        for entry, change in changes_of(bundle, self._identifiers):
            if isinstance(change, Change):
                yield change
            else:
                self.rejections.add(Rejection(str(file), line, change.code, entry))


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it is on disk, and its content."""
    with file.open("rb") as raw:
        if file.suffix != ".gz":
            yield raw, raw
            return
        with gzip.GzipFile(fileobj=raw) as content:
            yield raw, content  # type: ignore[misc]


def _is_json(line: bytes) -> bool:
    """Whether the line is a whole JSON text, so that the file may hold one on each line."""
    try:
        orjson.loads(line.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return False
    return True
