"""Lines: numbers over dates, numbers or ordered texts, one line for each value of `by`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from researchflow_server.pictures.marks import (
    POINTS_MAX,
    SERIES_MAX,
    Drawn,
    check_marks,
    check_unique,
    colour,
    counted,
    date_format,
    number_axis,
)
from researchflow_server.pictures.table import Series, Table, categories, ordered, shown

#: With more points than this their dots would hide the line.
DOTTED_MAX = 80
HINT = "group x in wider steps (year, quarter, month), or filter to fewer rows"
_TYPES = {"number": "quantitative", "date": "temporal", "text": "ordinal"}


def lines(table: Table, *, x: str, y: str, by: str | None) -> Drawn:
    """A point a row; QueryError for two rows at one place, or for more than POINTS_MAX."""
    over, numbers = table.column(x, field="x"), table.numbers(y, field="y")
    series = table.column(by, field="by") if by else None
    groups = series.labels() if series else [""] * table.row_count
    rows = [
        (place, number, group)
        for place, number, group in zip(over.places(), numbers.numbers(), groups, strict=True)
        if place is not None and number is not None
    ]
    check_unique([(row[0], row[2]) for row in rows], by=by)
    check_marks(len(rows), POINTS_MAX, "points", field="x", hint=HINT)
    order = ordered([row[2] for row in rows])
    check_marks(len(order), SERIES_MAX, "series", field="by", hint="filter to fewer of them")
    values = [{"x": shown(place), "y": float(number), "by": group} for place, number, group in rows]
    columns = [over, *([series] if series else []), numbers]
    return Drawn(
        columns=tuple(column.name for column in columns),
        types=tuple(column.fhir_type for column in columns),
        rows=tuple(zip(*(column.cells for column in columns), strict=True)),
        layout=_layout(values, over, numbers, by=by, order=order) if values else {},
        title=f"{y} over {x}" + (f", by {by}" if by else ""),
        warnings=counted(table.row_count - len(rows), f"no value of {x} or {y}"),
    )


def _layout(
    values: list[dict[str, Any]],
    over: Series,
    numbers: Series,
    *,
    by: str | None,
    order: list[str],
) -> dict[str, Any]:
    horizontal: dict[str, Any] = {
        "field": "x",
        "type": _TYPES[over.kind],
        "title": over.name,
        "axis": {"labelOverlap": True, "labelLimit": 120, "tickCount": 8},
    }
    if over.kind == "date":
        horizontal["scale"] = {"type": "utc"}
        dates = sorted(datetime.fromisoformat(value["x"]) for value in values)
        horizontal["axis"]["format"] = date_format(dates[0], dates[-1])
    elif over.kind == "text":
        places = [value["x"] for value in values]
        horizontal["sort"] = categories(places, [value["by"] for value in values])
    elif over.fhir_type != "decimal":
        # A year is no 2,024.
        horizontal["axis"]["format"] = "d"
        horizontal["scale"] = {"zero": False}
    else:
        horizontal["scale"] = {"zero": False}
    encoding = {
        "x": horizontal,
        "y": {
            "field": "y",
            "type": "quantitative",
            "title": numbers.name,
            "scale": {"zero": False},
            **number_axis(numbers.fhir_type),
        },
        **(colour(by, order) if by else {}),
    }
    mark = {"type": "line", "point": len(values) <= DOTTED_MAX, "tooltip": True}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}
