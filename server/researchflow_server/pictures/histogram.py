"""Histograms: how many rows fall into each bin, one below the other for the values of `by`."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_server.pictures.bins import YEAR_LAST, Edges, date_edges, number_edges
from researchflow_server.pictures.marks import SERIES_MAX, Drawn, check_marks, counted, date_format
from researchflow_server.pictures.table import Series, Table, is_partial, ordered, shown

#: Bins that a date of a year or a month alone may not fit into.
FINER = frozenset({"day", "week", "month", "quarter"})


def histogram(table: Table, *, x: str, by: str | None) -> Drawn:
    """A bar a bin; QueryError `column_type` for texts, and for more than SERIES_MAX groups."""
    column = table.column(x, field="x")
    if column.kind == "text":
        raise QueryError(
            f'column "{x}" holds neither numbers nor dates',
            code="column_type",
            field="x",
            hint='for texts use chart "bar" with group_by and a count; in SQL cast: x::numeric',
        )
    series = table.column(by, field="by") if by else None
    groups = series.labels() if series else [""] * table.row_count
    placed = [
        (place, group)
        for place, group in zip(column.places(), groups, strict=True)
        if place is not None and not isinstance(place, str)
    ]
    order = ordered([group for _place, group in placed])
    check_marks(len(order), SERIES_MAX, "groups", field="by", hint="filter to fewer of them")
    edges, unit = _edges(column, [place for place, _group in placed])
    counts = Counter((bisect_right(edges, place) - 1, group) for place, group in placed)
    rows = [
        (edges[place], edges[place + 1], group, counts[place, group])
        for group in order
        for place in range(len(edges) - 1)
    ]
    return Drawn(
        columns=("from", "to", *([series.name] if series else []), "count"),
        types=(
            *(column.fhir_type,) * 2,
            *([series.fhir_type] if series else []),
            "integer",
        ),
        rows=tuple(_told(row, series.by_label() if series else {}) for row in rows),
        layout=_layout(rows, column, by=by, order=order, unit=unit) if rows else {},
        title=f"{x}" + (f", by {by}" if by else ""),
        warnings=(
            *counted(table.row_count - len(placed), f"no value of {x}"),
            *_partial(column, unit),
        ),
    )


def _edges(column: Series, places: list[Any]) -> tuple[Edges, str]:
    """The bins' edges, and what a bin of the calendar is called."""
    if not places:
        return [], ""
    least, most = min(places), max(places)
    if isinstance(least, Decimal):
        whole = column.fhir_type != "decimal"
        return number_edges(least, most, whole=whole), ""
    latest = datetime(YEAR_LAST, 1, 1, tzinfo=UTC)
    if most >= latest:
        raise QueryError(
            f'column "{column.name}" holds dates after the year {YEAR_LAST}',
            code="value_type",
            field="x",
            hint="filter them out",
        )
    unit, edges = date_edges(least, most)
    return edges, unit


def _partial(column: Series, unit: str) -> tuple[str, ...]:
    """Partial dates fall into the bin of the day on which they begin."""
    count = sum(map(is_partial, column.cells)) if unit in FINER else 0
    return (f"{count:,} partial dates count where their period begins",) if count else ()


def _told(row: tuple[Any, Any, str, int], cells: dict[str, Any]) -> tuple[Any, ...]:
    """The row with the cell of its group, where `cells` has some."""
    start, end, group, count = row
    edges = tuple(
        edge.date().isoformat() if isinstance(edge, datetime) else edge for edge in (start, end)
    )
    return (*edges, *([cells[group]] if cells else []), count)


def _layout(
    rows: list[tuple[Any, Any, str, int]],
    column: Series,
    *,
    by: str | None,
    order: list[str],
    unit: str,
) -> dict[str, Any]:
    values = [
        {"x": shown(start), "x2": shown(end), "by": group, "y": count}
        for start, end, group, count in rows
    ]
    title = f"{column.name} (a bar a {unit})" if unit else column.name
    along: dict[str, Any] = {"field": "x", "title": title, "axis": {"grid": False}}
    if column.kind == "date":
        along |= {"type": "temporal", "scale": {"type": "utc"}}
        along["axis"] |= {"format": date_format(rows[0][0], rows[-1][1])}
    else:
        along |= {"type": "quantitative", "bin": {"binned": True}, "scale": {"zero": False}}
    encoding = {
        "x": along,
        "x2": {"field": "x2"},
        "y": {"field": "y", "type": "quantitative", "title": "rows", "axis": {"tickMinStep": 1}},
        "y2": {"datum": 0},
    }
    layout = {
        "data": {"values": values},
        "mark": {"type": "bar", "orient": "vertical", "binSpacing": 1, "tooltip": True},
        "encoding": encoding,
    }
    if by:
        encoding["row"] = {
            "field": "by",
            "type": "nominal",
            "sort": order,
            "title": None,
            "header": {"labelOrient": "top", "labelAnchor": "start", "labelFontSize": 12},
        }
        layout["height"] = 110
    return layout
