"""An answer's columns as values that can be placed in a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from typing import Any, Literal, TypeAlias

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.naming import nearest

Kind = Literal["number", "date", "text"]
Place: TypeAlias = Decimal | datetime | str

NUMBERS = frozenset({"decimal", "integer", "integer64", "positiveInt", "unsignedInt"})
DATES = frozenset({"date", "dateTime", "instant"})
NONE = "(none)"
LABEL_CHARS_MAX = 120
_PARTIAL = re.compile(r"\d{4}(-\d{2})?")
_NUMBER = re.compile(r"(^-?[0-9]+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class Series:
    """One column of the answer: its cells as the answer has them, and how they are placed."""

    name: str
    kind: Kind
    fhir_type: str
    cells: tuple[Any, ...]

    def places(self) -> list[Place | None]:
        """Numbers, instants or texts; None for what is missing or no finite number."""
        place = {"number": _number, "date": instant, "text": label}[self.kind]
        return [None if cell is None else place(cell) for cell in self.cells]

    def numbers(self) -> list[Decimal | None]:
        """The places of a column of numbers."""
        return [None if cell is None else _number(cell) for cell in self.cells]

    def labels(self) -> list[str]:
        """The cells in words; NONE for what is missing."""
        return [NONE if cell is None else label(cell) for cell in self.cells]

    def by_label(self) -> dict[str, Any]:
        """The cell that each label stands for."""
        return dict(zip(self.labels(), self.cells, strict=True))


class Table:
    """The columns of an answer by name."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._names = [column.name for column in answer.columns]

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self._answer.row_count

    def column(self, name: str, *, field: str) -> Series:
        """The column; QueryError `unknown_column`, or `column_type` for one of lists."""
        if name not in self._names:
            guess = nearest(name, self._names)
            raise QueryError(
                f'the answer has no column "{name[:64]}"',
                code="unknown_column",
                field=field,
                allowed=self._names,
                did_you_mean=guess,
                hint="name a column of the query's answer",
            )
        described = self._answer.columns[self._names.index(name)]
        if described.is_list or described.type == "Element":
            raise QueryError(
                f'column "{name}" holds lists or whole elements, which have no place in a picture',
                code="column_type",
                field=field,
                hint="use a column of single values",
            )
        cells = tuple(self._answer.column_values(name))
        return Series(name, _kind(described.type), described.type, cells)

    def numbers(self, name: str, *, field: str) -> Series:
        """The column of numbers; QueryError as `column`, and `column_type` for any other."""
        found = self.column(name, field=field)
        if found.kind != "number":
            raise QueryError(
                f'column "{name}" holds no numbers',
                code="column_type",
                field=field,
                hint="use a column of numbers, such as an aggregate; in SQL cast it: x::numeric",
            )
        return found


def _kind(fhir_type: str) -> Kind:
    if fhir_type in NUMBERS:
        return "number"
    return "date" if fhir_type in DATES else "text"


def _number(cell: Any) -> Decimal | None:
    # The shortest decimal of a float, so that 0.1 falls where a reader expects it.
    number = Decimal(str(cell))
    return number if number.is_finite() and isfinite(number) else None


def instant(cell: Any) -> datetime | None:
    """When a date begins, in UTC; None for what is no date."""
    if isinstance(cell, datetime):
        return cell.astimezone(UTC) if cell.tzinfo else cell.replace(tzinfo=UTC)
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
    text = str(cell)
    if _PARTIAL.fullmatch(text):
        text = f"{text}-01" if len(text) > len("2024") else f"{text}-01-01"
    try:
        return instant(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def is_partial(cell: Any) -> bool:
    """Whether a date tells no day."""
    return isinstance(cell, str) and _PARTIAL.fullmatch(cell) is not None


def label(cell: Any) -> str:
    """A cell in words, different for different cells."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ", timespec="seconds")
    text = str(cell)
    if text == NONE:
        return f'"{text}"'
    if len(text) <= LABEL_CHARS_MAX:
        return text
    # Two that begin alike stay two.
    return f"{text[:LABEL_CHARS_MAX]}… #{sha256(text.encode()).hexdigest()[:8]}"


def shown(place: Place | None) -> Any:
    """A place as Vega-Lite takes it."""
    if isinstance(place, Decimal):
        return float(place)
    return place.isoformat() if isinstance(place, datetime) else place


def ordered(labels: Sequence[str]) -> list[str]:
    """Each label once, in the order in which they come."""
    return list(dict.fromkeys(labels))


def categories(labels: Sequence[str], series: Sequence[str]) -> list[str]:
    """Each label once: as they come, or where a series after the other counts up, all counted up.

    A year that only the second series has stands between those of the first one.
    """
    by_series: dict[str, list[str]] = {}
    for one, label_ in zip(series, labels, strict=True):
        by_series.setdefault(one, []).append(label_)
    come_in_turn = sum(one != other for one, other in pairwise(series)) < len(by_series)
    is_counted = come_in_turn and any(len(parts) > 1 for parts in by_series.values())
    if is_counted and all(parts == sorted(parts, key=_counted) for parts in by_series.values()):
        return sorted(set(labels), key=_counted)
    return ordered(labels)


def _counted(text: str) -> list[tuple[int, Decimal, str]]:
    """The text by its numbers and what is between them; minus is a sign at the beginning only.

    What is under a number comes first.
    """
    first = [(-1, Decimal(0), "")] if text.startswith("under ") else []
    return first + [
        (0, Decimal(part), "") if _NUMBER.fullmatch(part) else (1, Decimal(0), part)
        for part in _NUMBER.split(text)
        if part
    ]
