"""Bars: one number a category, side by side where `by` tells several."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from researchflow_server.pictures.marks import (
    BARS_MAX,
    NAMES,
    SERIES_MAX,
    Drawn,
    check_marks,
    check_unique,
    colour,
    counted,
    number_axis,
)
from researchflow_server.pictures.table import Series, Table, categories, ordered

#: Where names are longer or more, bars lie, so that the names can be read.
UPRIGHT_CHARS_MAX = 12
UPRIGHT_BARS_MAX = 16
#: With more bars than this their numbers would cover each other.
NUMBERED_MAX = 40
#: A bar alone, and one beside others.
UPRIGHT_PX = 46, 24
LYING_PX = 22, 14
HINT = "group further (fewer categories), or order_by y with a limit to draw the first ones"


def bars(table: Table, *, x: str, y: str, by: str | None) -> Drawn:
    """A bar a row; QueryError for two rows at one place, or for more than BARS_MAX."""
    names, numbers = table.column(x, field="x"), table.numbers(y, field="y")
    series = table.column(by, field="by") if by else None
    groups = series.labels() if series else [""] * table.row_count
    rows = [
        (name, number, group)
        for name, number, group in zip(names.labels(), numbers.numbers(), groups, strict=True)
        if number is not None
    ]
    check_unique([(row[0], row[2]) for row in rows], by=by)
    check_marks(len(rows), BARS_MAX, "bars", field="x", hint=HINT)
    order = ordered([row[2] for row in rows])
    check_marks(len(order), SERIES_MAX, "series", field="by", hint=HINT)
    values = [
        {"x": name, "y": float(number), "by": group, "told": _told(number)}
        for name, number, group in rows
    ]
    columns = [names, *([series] if series else []), numbers]
    return Drawn(
        columns=tuple(column.name for column in columns),
        types=tuple(column.fhir_type for column in columns),
        rows=tuple(zip(*(column.cells for column in columns), strict=True)),
        layout=_layout(values, numbers, x=x, by=by, order=order) if values else {},
        title=f"{y} by {x}" + (f" and {by}" if by else ""),
        warnings=counted(table.row_count - len(rows), f"no value of {y}"),
    )


def _told(number: Decimal) -> str:
    """The number as a bar shows it: two decimals, or three digits of one below 1."""
    if number == number.to_integral_value():
        return f"{number:,.0f}"
    return f"{number:,.2f}" if abs(number) >= 1 else f"{float(number):.3g}"


def _layout(
    values: list[dict[str, Any]], numbers: Series, *, x: str, by: str | None, order: list[str]
) -> dict[str, Any]:
    names = categories([value["x"] for value in values], [value["by"] for value in values])
    lies = len(values) > UPRIGHT_BARS_MAX or max(map(len, names)) > UPRIGHT_CHARS_MAX
    across, along, offset = ("y", "x", "yOffset") if lies else ("x", "y", "xOffset")
    encoding = {
        across: {
            "field": "x",
            "type": "nominal",
            "title": x,
            "sort": names,
            "axis": NAMES,
        },
        along: {
            "field": "y",
            "type": "quantitative",
            "title": numbers.name,
            **number_axis(numbers.fhir_type),
        },
    }
    if by:
        encoding |= {offset: {"field": "by", "sort": order}, **colour(by, order)}
    size = {"step": (LYING_PX if lies else UPRIGHT_PX)[bool(by)]}
    layers: list[dict[str, Any]] = [{"mark": {"type": "bar", "tooltip": True}}]
    if len(values) <= NUMBERED_MAX:
        layers.append(_numbers(lies=lies))
    return {
        "data": {"values": values},
        "encoding": encoding,
        "layer": layers,
        "height" if lies else "width": size,
    }


def _numbers(*, lies: bool) -> dict[str, Any]:
    """The numbers at the ends of the bars, on the far side of zero."""
    below = {"expr": "datum.y < 0 ? -4 : 4"} if lies else {"expr": "datum.y < 0 ? 8 : -8"}
    mark = {"type": "text", "style": "told", "dx" if lies else "dy": below}
    if lies:
        mark["align"] = {"expr": "datum.y < 0 ? 'right' : 'left'"}
    return {"mark": mark, "encoding": {"text": {"field": "told"}, "color": None}}
