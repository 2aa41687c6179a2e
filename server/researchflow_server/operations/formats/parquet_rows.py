"""Parquet: typed columns, written in row groups while rows arrive; the footer comes last.

A decimal without declared digits is text, because a Parquet decimal has one scale for its whole
column and a record's decimals have their own; `DECIMAL(p,s)` is a decimal of that scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from researchflow_runners.compiler.column import Column
from researchflow_runners.fhir import model
from researchflow_runners.source.resource import parse_json
from researchflow_server.operations.formats.encoder import Cell, Row, digits
from researchflow_server.operations.outcome import OperationError

GROUP_ROWS = 20_000
GROUP_BYTES = 64 * 1024 * 1024
DECIMAL128_DIGITS_MAX = 38
DECIMAL256_DIGITS_MAX = 76

_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
#: FHIR type of a list's items → their type; text otherwise.
_ITEM_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "positiveInt": pa.int32(),
    "unsignedInt": pa.int32(),
}


class ParquetEncoder:
    """Row groups of GROUP_ROWS rows, fewer where they would have more than GROUP_BYTES."""

    def __init__(self, columns: Sequence[Column]) -> None:
        fields = [pa.field(column.name, _type(column)) for column in columns]
        self._schema = pa.schema(fields)
        self._cells = [_cell(column) for column in columns]
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._size = 0

    def start(self) -> bytes:
        return self._sink.taken()

    def batch(self, rows: Sequence[Row]) -> bytes:
        if rows:
            self._waiting.append(self._batch(rows))
            self._rows += len(rows)
            self._size += self._waiting[-1].nbytes
        if self._rows >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self._write_group()
        return self._sink.taken()

    def end(self) -> bytes:
        if self._waiting:
            self._write_group()
        self._writer.close()
        return self._sink.taken()

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        arrays = []
        for number, (field, cell) in enumerate(zip(self._schema, self._cells, strict=True)):
            values = [row[number] for row in rows]
            if cell is not None:
                values = [None if value is None else cell(value) for value in values]
            try:
                arrays.append(pa.array(values, type=field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise _not_of_type(field.name) from error
        return pa.record_batch(arrays, schema=self._schema)

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._writer.write_table(table, row_group_size=self._rows)
        self._waiting, self._rows, self._size = [], 0, 0


class _Sink:
    """A file that keeps only what nobody has taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.closed = False

    def write(self, part: Any) -> int:
        found = bytes(part)
        self._parts.append(found)
        self._size += len(found)
        return len(found)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def taken(self) -> bytes:
        """What was written since the last call."""
        found = b"".join(self._parts)
        self._parts = []
        return found


def _type(column: Column) -> pa.DataType:
    base = column.base_type
    if column.collection:
        return pa.list_(_ITEM_TYPES.get(column.fhir_type, pa.string()))
    if base == "numeric":
        return _decimal(column.pg_type)
    return _TYPES.get(base, pa.string())


def _not_of_type(name: str) -> OperationError:
    """Lists of lists, and lists that hold something else than their items' type."""
    return OperationError(
        f'a value of column "{name}" has no form in parquet',
        status=422,
        issue="processing",
        code="value_not_encodable",
        field="_format",
        allowed=("json", "ndjson", "csv"),
        hint="ask for another format, or leave the column out",
    )


def _decimal(pg_type: str) -> pa.DataType:
    """The decimal of `numeric(p,s)`; text when the digits are not declared or are too many."""
    _name, _, numbers = pg_type.rstrip(")").partition("(")
    if not numbers:
        return pa.string()
    precision, scale = (int(number) for number in numbers.split(","))
    if precision <= DECIMAL128_DIGITS_MAX:
        return pa.decimal128(precision, scale)
    if precision <= DECIMAL256_DIGITS_MAX:
        return pa.decimal256(precision, scale)
    return pa.string()


def _cell(column: Column) -> Cell | None:
    """What makes a value of the driver into one that Arrow takes; None when it is that already."""
    if column.collection:
        return _items(column.fhir_type)
    if column.base_type == "numeric" and _decimal(column.pg_type) == pa.string():
        return digits
    return None


def _items(fhir_type: str) -> Cell:
    """A list from its JSON: decimals and whole elements as their text."""
    if fhir_type == "decimal":
        return lambda text: json.loads(text, parse_float=str, parse_int=str)
    if model().is_primitive(fhir_type):
        return json.loads
    return lambda text: [orjson.dumps(one).decode() for one in parse_json(text.encode())]
