"""What stands in a picture: the marks, the rows they were made of, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from researchflow_runners.errors import QueryError

#: What one picture holds; beyond, nobody could tell the marks apart.
BARS_MAX = 200
BOXES_MAX = 50
POINTS_MAX = 5_000
SERIES_MAX = 10
#: An axis of more days names years alone, or months.
YEARS_DAYS, MONTHS_DAYS = 3_000, 120
#: The axis of categories: room for long names, which are cut beyond it.
NAMES = {"labelLimit": 260, "maxExtent": 290, "labelAngle": 0}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture's content.

    `rows` is what is drawn, `layout` the Vega-Lite specification without title and look, empty
    where there is nothing to draw; `warnings` say what of the answer is not in it.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    layout: Mapping[str, Any]
    title: str
    warnings: tuple[str, ...] = ()


def check_marks(count: int, most: int, what: str, *, field: str, hint: str) -> None:
    """QueryError `marks_too_many` where a picture would hold more than `most` of them."""
    if count > most:
        raise QueryError(
            f'more "{what}" than a picture holds: {count:,} of at most {most:,}',
            code="marks_too_many",
            field=field,
            hint=hint,
        )


def check_unique(places: Sequence[tuple[Any, ...]], *, by: str | None) -> None:
    """QueryError `mark_not_unique` where two rows would be drawn at one place."""
    if len(set(places)) == len(places):
        return
    names = 'group_by x and "by"' if by else "group_by x, or give the column that tells them as by"
    raise QueryError(
        'several rows have the same "x"' + (' and "by"' if by else ""),
        code="mark_not_unique",
        field="x",
        hint=f"{names}, and aggregate y, so that each mark is one row",
    )


def counted(count: int, what: str) -> tuple[str, ...]:
    """A warning of rows that are not drawn, if there are some."""
    if not count:
        return ()
    return (f"{count:,} {'row is' if count == 1 else 'rows are'} not drawn: {what}",)


def date_format(first: datetime, last: datetime) -> str:
    """How a time axis names its ticks: never without the year."""
    days = (last - first).days
    if days > YEARS_DAYS:
        return "%Y"
    if days > MONTHS_DAYS:
        return "%Y-%m"
    return "%Y-%m-%d" if days > 1 else "%Y-%m-%d %H:%M"


def number_axis(fhir_type: str) -> dict[str, Any]:
    """The axis of a column of numbers: whole ones have no ticks between them."""
    return {} if fhir_type == "decimal" else {"axis": {"tickMinStep": 1}}


def colour(name: str, order: Sequence[str]) -> dict[str, Any]:
    """The encoding of series by colour, in their order."""
    return {
        "color": {
            "field": "by",
            "type": "nominal",
            "title": name,
            "scale": {"domain": list(order)},
            "legend": {"symbolOpacity": 1},
        }
    }
