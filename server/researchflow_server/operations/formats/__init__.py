"""Rows as bytes, batch by batch: one file per format, `encoder_of` chooses.

What a value becomes follows the column's PostgreSQL type (compiler/sql_types.py): decimals keep
every digit, texts stay as they were written, a list stays a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from researchflow_runners.compiler.column import Column
from researchflow_server.operations.formats.csv_rows import CsvEncoder
from researchflow_server.operations.formats.encoder import Encoder
from researchflow_server.operations.formats.fhir_rows import FhirEncoder
from researchflow_server.operations.formats.json_rows import JsonEncoder, NdjsonEncoder
from researchflow_server.operations.negotiation import Format

#: Loaded by the first request that asks for it: pyarrow takes time and memory to start.
_PARQUET = f"{__package__}.parquet_rows"


class _Parquet(Protocol):
    def ParquetEncoder(self, columns: Sequence[Column]) -> Encoder: ...


def encoder_of(chosen: Format, columns: Sequence[Column], *, header: bool) -> Encoder:
    """The encoder; OperationError `column_not_encodable` when it has no form for a column."""
    if chosen == "parquet":
        return cast(_Parquet, import_module(_PARQUET)).ParquetEncoder(columns)
    if chosen == "csv":
        return CsvEncoder(columns, header=header)
    if chosen == "fhir":
        return FhirEncoder(columns)
    return JsonEncoder(columns) if chosen == "json" else NdjsonEncoder(columns)
