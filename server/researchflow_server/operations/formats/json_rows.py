"""JSON: one array of objects, or one object a line. Numbers have the digits of the record."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from researchflow_runners.compiler.column import Column
from researchflow_server.operations.formats.encoder import Row, converted, json_cells


class NdjsonEncoder:
    """One object a line, every column in each, null where there is no value."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._cells = json_cells(columns)

    def start(self) -> bytes:
        return b""

    def batch(self, rows: Sequence[Row]) -> bytes:
        return b"".join(self.row(one) + b"\n" for one in rows)

    def end(self) -> bytes:
        return b""

    def row(self, row: Row) -> bytes:
        """One object."""
        return orjson.dumps(dict(zip(self._names, converted(row, self._cells), strict=True)))


class JsonEncoder(NdjsonEncoder):
    """One array; a cut one lacks its closing bracket."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        self._separator = b"\n"

    def start(self) -> bytes:
        return b"["

    def batch(self, rows: Sequence[Row]) -> bytes:
        if not rows:
            return b""
        text = self._separator + b",\n".join(self.row(one) for one in rows)
        self._separator = b",\n"
        return text

    def end(self) -> bytes:
        return b"\n]\n"
