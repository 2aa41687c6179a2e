"""CSV as RFC 4180 has it: CRLF, quotes where needed, UTF-8. A missing value is an empty field."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from researchflow_runners.compiler.column import Column
from researchflow_server.operations.formats.encoder import (
    Cell,
    Row,
    base64_text,
    converted,
    digits,
)

_CELLS: dict[str, Cell] = {
    "boolean": lambda value: "true" if value else "false",
    "numeric": digits,
    "bytea": base64_text,
    "date": lambda value: value.isoformat(),
    "time": lambda value: value.isoformat(),
    "timestamp": lambda value: value.isoformat(),
    "timestamptz": lambda value: value.isoformat(),
}


class CsvEncoder:
    """A line of names unless `header` is false, then a line per row; lists are JSON."""

    def __init__(self, columns: Sequence[Column], *, header: bool) -> None:
        self._names = [column.name for column in columns]
        self._header = header
        self._cells = [
            (number, _CELLS[column.base_type])
            for number, column in enumerate(columns)
            if column.base_type in _CELLS
        ]

    def start(self) -> bytes:
        return _lines([self._names]) if self._header else b""

    def batch(self, rows: Sequence[Row]) -> bytes:
        return _lines([converted(row, self._cells) for row in rows])

    def end(self) -> bytes:
        return b""


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
