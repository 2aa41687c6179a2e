"""What every format gives, and what they share about values."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

import orjson

from researchflow_runners.compiler.column import Column
from researchflow_server.operations.outcome import OperationError

#: A row as the driver gives it: its values in the order of the columns.
Row: TypeAlias = Any
Cell: TypeAlias = Callable[[Any], Any]


class Encoder(Protocol):
    """One answer's bytes: `start`, any number of `batch`, `end`; what is between is no document."""

    def start(self) -> bytes:
        """What comes before the first row."""

    def batch(self, rows: Sequence[Row]) -> bytes:
        """The rows; may be empty while they are gathered."""

    def end(self) -> bytes:
        """What comes after the last row."""


def digits(value: Decimal) -> str:
    """Every digit of a decimal, without an exponent."""
    if not value.is_finite():
        raise not_a_number()
    return format(value, "f")


def finite(value: float) -> float:
    """A float that JSON has."""
    if not math.isfinite(value):
        raise not_a_number()
    return value


def base64_text(value: bytes) -> str:
    """Bytes as FHIR writes them."""
    return b64encode(value).decode()


def json_cell(column: Column) -> Cell | None:
    """What makes a value of the column into what orjson writes; None when it is that already."""
    return _JSON_CELLS.get(column.base_type)


def json_cells(columns: Sequence[Column]) -> list[tuple[int, Cell]]:
    """The positions whose values must be made into something else, and how."""
    cells = ((number, json_cell(column)) for number, column in enumerate(columns))
    return [(number, cell) for number, cell in cells if cell is not None]


def converted(row: Row, cells: Sequence[tuple[int, Cell]]) -> list[Any]:
    """The row's values, those at the positions of `cells` made into what they give."""
    values = list(row)
    for number, cell in cells:
        if values[number] is not None:
            values[number] = cell(values[number])
    return values


def not_a_number() -> OperationError:
    """NaN and the infinities, which neither JSON nor FHIR has."""
    return OperationError(
        "a number of the result is not finite",
        status=422,
        issue="processing",
        code="value_not_encodable",
        hint="have the view leave such values out",
    )


_JSON_CELLS: dict[str, Cell] = {
    "numeric": lambda value: orjson.Fragment(digits(value)),
    "double precision": finite,
    "bytea": base64_text,
    "jsonb": orjson.Fragment,
}
