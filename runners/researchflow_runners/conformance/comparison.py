"""What a case expects beside what its view gave; rows are multisets, types count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from researchflow_runners.conformance.suite import Case

Row: TypeAlias = Mapping[str, Any]
ROW_SHOWN_MAX = 300


def difference(case: Case, columns: Sequence[str], rows: Sequence[Row]) -> str | None:
    """Why the rows are not what the case expects; None when they are."""
    if case.expect is None and case.expectCount is None and case.expectColumns is None:
        return "the case says nothing that could be expected"
    if case.expectColumns is not None and list(columns) != case.expectColumns:
        return f"the columns are {list(columns)}, expected {case.expectColumns}"
    if case.expectCount is not None and len(rows) != case.expectCount:
        return f"{len(rows)} rows, expected {case.expectCount}"
    if case.expect is None:
        return None
    foreign = sorted({name for row in case.expect for name in row} - set(columns))
    if foreign:
        return f"expected columns that the view does not have: {foreign}"
    return _row_difference(case.expect, rows, columns)


def multiset(rows: Iterable[Row], columns: Iterable[str]) -> Counter[Any]:
    """Rows as a multiset; a column that a row leaves out is null."""
    names = list(columns)
    return Counter(_key(row, names) for row in rows)


def _key(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(_frozen(row.get(name)) for name in names)


def _frozen(value: Any) -> Any:
    """A hashable form in which true is not 1 and 1.50 is 1.5."""
    if isinstance(value, Mapping):
        return ("object", frozenset((key, _frozen(one)) for key, one in value.items()))
    if isinstance(value, list):
        return ("array", tuple(_frozen(one) for one in value))
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float | Decimal):
        return ("number", Decimal(str(value)))
    return value


def _row_difference(
    expected: Sequence[Row], found: Sequence[Row], columns: Sequence[str]
) -> str | None:
    wanted, given = multiset(expected, columns), multiset(found, columns)
    parts = [
        f"{missing.total()} rows {what}, such as {_first(rows, missing, columns)}"
        for missing, rows, what in (
            (wanted - given, expected, "missing"),
            (given - wanted, found, "not expected"),
        )
        if missing
    ]
    return "; ".join(parts) or None


def _first(rows: Sequence[Row], chosen: Counter[Any], columns: Sequence[str]) -> str:
    row = next(row for row in rows if _key(row, columns) in chosen)
    text = json.dumps(dict(row), default=float, ensure_ascii=False)
    return text if len(text) <= ROW_SHOWN_MAX else text[:ROW_SHOWN_MAX] + "…"
