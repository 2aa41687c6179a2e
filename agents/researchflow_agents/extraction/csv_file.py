"""CSV as RFC 4180 has it: UTF-8 without a byte order mark, CRLF, a header record.

A missing value is an empty field, an empty text is `""`. Lists and elements are compact JSON,
booleans `true` and `false`, numbers and dates the text the tool gave, so that reading the file
gives back exactly what was read. For that reason no cell is altered against spreadsheets that run
cells which begin with = + - or @: such text cells are counted and the count is written beside the
file. Open the files with a program that imports text as text.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_QUOTED = frozenset('",\r\n')
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_TEXT_TYPES = frozenset({"string", "code", "uri", "url", "canonical", "markdown", "id", "oid"})
OWNER_ONLY = 0o600


class CsvFile:
    """A file being written; `row_count`, `sha256` and `formula_like_cells` are of what it holds."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.row_count = 0
        self.formula_like_cells = 0
        self._columns = tuple(columns)
        self._hash = hashlib.sha256()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        self._file = os.fdopen(descriptor, "wb")
        self._write([record(self._columns)])

    def add(self, rows: Sequence[Sequence[Any]], types: Sequence[str]) -> None:
        """Appends the rows of one page."""
        texts = [index for index, kind in enumerate(types) if kind in _TEXT_TYPES]
        self.formula_like_cells += sum(
            str(row[index]).startswith(_FORMULA_STARTS)
            for row in rows
            for index in texts
            if row[index] is not None
        )
        self._write([record(row) for row in rows])
        self.row_count += len(rows)

    @property
    def sha256(self) -> str:
        """Of all bytes written so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Puts everything on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> CsvFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _write(self, records: Sequence[str]) -> None:
        written = "".join(records).encode()
        self._hash.update(written)
        self._file.write(written)


def record(row: Sequence[Any]) -> str:
    """One record with its line end; a lone empty field is quoted, or the line would be blank."""
    fields = [_field(value) for value in row]
    return (",".join(fields) if fields != [""] else '""') + "\r\n"


def _field(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else _json(value)
    if text and _QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
