"""FHIR: a Parameters resource with a `row` for each row and a typed part for each value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from researchflow_runners.compiler.column import Column
from researchflow_server.operations.formats.encoder import (
    Cell,
    Row,
    converted,
    json_cell,
)
from researchflow_server.operations.outcome import OperationError

#: PostgreSQL type → `value[x]`, as the mapping of `$sql-run` has it.
_KEYS = {
    "boolean": "valueBoolean",
    "smallint": "valueInteger",
    "integer": "valueInteger",
    "bigint": "valueInteger64",
    "numeric": "valueDecimal",
    "double precision": "valueDecimal",
    "text": "valueString",
    "varchar": "valueString",
    "bytea": "valueBase64Binary",
    "date": "valueDate",
    "time": "valueTime",
    "timestamp": "valueDateTime",
    "timestamptz": "valueInstant",
}
#: FHIR types that are kept as the text they were written with.
_WRITTEN = {
    "date": "valueDate",
    "dateTime": "valueDateTime",
    "instant": "valueInstant",
    "time": "valueTime",
    "base64Binary": "valueBase64Binary",
}
_HALF_MS = timedelta(microseconds=500)


class FhirEncoder:
    """One Parameters resource; a missing value has no part, no rows have no parameter."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """OperationError `column_not_encodable` for a list or a whole FHIR element."""
        self._parts = [(column.name, _key(column)) for column in columns]
        cells = ((number, _cell(column)) for number, column in enumerate(columns))
        self._cells = [(number, cell) for number, cell in cells if cell is not None]
        self._opened = False

    def start(self) -> bytes:
        return b'{"resourceType":"Parameters"'

    def batch(self, rows: Sequence[Row]) -> bytes:
        if not rows:
            return b""
        before = b",\n" if self._opened else b',"parameter":[\n'
        self._opened = True
        return before + b",\n".join(orjson.dumps(self._row(one)) for one in rows)

    def end(self) -> bytes:
        return b"\n]}\n" if self._opened else b"}\n"

    def _row(self, row: Row) -> dict[str, Any]:
        values = converted(row, self._cells)
        parts = [
            {"name": name, key: value}
            for (name, key), value in zip(self._parts, values, strict=True)
            if value is not None
        ]
        return {"name": "row", "part": parts} if parts else {"name": "row"}


def _key(column: Column) -> str:
    base = column.base_type
    if base in _KEYS and not column.collection:
        written = _WRITTEN.get(column.fhir_type) if base == "text" else None
        return written or _KEYS[base]
    raise OperationError(
        f'column "{column.name}" is a list or a whole element, which has no value[x]',
        status=422,
        issue="invalid",
        code="column_not_encodable",
        field="_format",
        allowed=("json", "ndjson", "csv", "parquet"),
        hint="ask for another format, or leave the column out",
    )


def _cell(column: Column) -> Cell | None:
    base = column.base_type
    if base == "bigint":
        return str
    return _instant if base == "timestamptz" else json_cell(column)


def _instant(value: datetime) -> str:
    """To the nearest millisecond, which is all that an instant has."""
    return (value + _HALF_MS).isoformat(timespec="milliseconds")
