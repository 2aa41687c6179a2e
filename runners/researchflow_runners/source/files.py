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
    INPUT_BYTES_MAX,
    BadResource,
    Change,
    change_of,
    checked,
    parse_json,
)

SUFFIXES = (".ndjson", ".jsonl", ".json", ".ndjson.gz", ".jsonl.gz", ".json.gz")
BATCH_CHANGES = 5_000
BATCH_CHARS = 32 * 1024 * 1024
PROGRESS_LINES = 256
REJECTIONS_SHOWN_MAX = 100
_BOM = b"\xef\xbb\xbf"


#: What each code means and what to do about it.
REASONS = {
    "duplicate_key": "an object has two equal keys; keep one",
    "invalid_bundle": "the Bundle's entries are not a list of entries; correct it",
    "invalid_id": "the id is no FHIR id: 1 to 64 letters, digits, hyphens and dots",
    "invalid_request": "the entry's request.url names no Type/id",
    "lone_surrogate": "a string holds half a character; write it in UTF-8",
    "no_id": "a delete needs Type/id",
    "no_resource_type": "there is no resourceType; add it",
    "not_an_object": "a line holds one JSON object",
    "not_json": "this is not JSON; write one resource a line, in UTF-8",
    "nul_character": "a string holds \\u0000, which PostgreSQL cannot store; remove it",
    "number_out_of_range": "a number is too long or too large to be stored exactly",
    "too_deep": "it nests deeper than can be stored",
    "too_large": "it is larger than PostgreSQL can hold",
    "unknown_type": "the resourceType is none of FHIR R4",
    "unreadable_file": "the file cannot be read; check its permissions and compression",
    "unsupported_method": "the entry's request.method is none of PUT, POST, DELETE",
    "wrong_shape": "the element has another JSON type than FHIR says",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """One input that was not stored: where it is and why, never what it says."""

    file: str
    line: int
    code: str
    entry: int | None = None
    element: str | None = None

    def __str__(self) -> str:
        entry = "" if self.entry is None else f" entry {self.entry}"
        element = "" if self.element is None else f" at {self.element}"
        return f"{self.file}:{self.line}{entry}: {self.code}{element}: {REASONS[self.code]}"


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
        may_be_document = ".json" in file.suffixes
        with _opened(file) as (raw, content):
            line = _line(content)
            if may_be_document and not _is_json(line):
                document = line + content.read(INPUT_BYTES_MAX)
                yield from self._changes_at(file, 1, document, is_document=True)
                return
            number = 1
            while line:
                yield from self._changes_at(file, number, line, is_document=may_be_document)
                line = _line(content)
                number += 1
                if number % PROGRESS_LINES == 0:
                    self.bytes_read = done + raw.tell()

    def _changes_at(
        self, file: Path, line: int, raw: bytes, *, is_document: bool
    ) -> Iterable[Change]:
        """A resource's change, or those of a Bundle.

        On a line among others, a Bundle that has an id is a resource like the rest.
        """
        stripped = raw.removeprefix(_BOM).strip()
        if not stripped:
            return ()
        try:
            resource = checked(parse_json(stripped))
            if is_exchange(resource) and (is_document or "id" not in resource):
                return self._entries(file, line, resource)
            return (change_of(resource, self._identifiers.identify(resource)),)
        except BadResource as error:
            self.rejections.add(Rejection(str(file), line, error.code, element=error.element))
            return ()

    def _entries(self, file: Path, line: int, bundle: dict[str, Any]) -> Iterator[Change]:
        for entry, change in changes_of(bundle, self._identifiers):
            if isinstance(change, Change):
                yield change
            else:
                self.rejections.add(Rejection(str(file), line, change.code, entry, change.element))


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it is on disk, and its content."""
    with file.open("rb") as raw:
        if file.suffix != ".gz":
            yield raw, raw
            return
        with gzip.GzipFile(fileobj=raw) as content:
            yield raw, content  # type: ignore[misc]


def _line(content: IO[bytes]) -> bytes:
    """The next line, empty at the end; of one that is too long, enough to be refused."""
    line = content.readline(INPUT_BYTES_MAX + 1)
    part = line
    while len(part) > INPUT_BYTES_MAX and not part.endswith(b"\n"):
        part = content.readline(INPUT_BYTES_MAX + 1)
    return line


def _is_json(line: bytes) -> bool:
    """Whether the line is a whole JSON text, so that the file may hold one on each line."""
    try:
        orjson.loads(line.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return False
    return True
