"""Box plots: quartiles as percentile_cont computes them, whiskers as Tukey drew them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from researchflow_server.pictures.marks import BOXES_MAX, NAMES, Drawn, check_marks, counted
from researchflow_server.pictures.table import Series, Table

COLUMNS = ("n", "min", "low", "q1", "median", "q3", "high", "max", "outliers")
REACH = Decimal("1.5")
#: Of one picture; the rest is counted, and told.
OUTLIERS_DRAWN_MAX = 1_000
HINT = "filter to fewer of them, or group x by a wider category"


@dataclass(frozen=True, slots=True)
class Box:
    """One group's numbers; whiskers end at `low` and `high`, what lies beyond is an outlier."""

    n: int
    least: Decimal
    low: Decimal
    q1: Decimal
    median: Decimal
    q3: Decimal
    high: Decimal
    most: Decimal
    outliers: tuple[Decimal, ...]


def box_of(numbers: Sequence[Decimal]) -> Box:
    """The box of at least one number."""
    found = sorted(numbers)
    q1, median, q3 = (_quantile(found, Decimal(part)) for part in ("0.25", "0.5", "0.75"))
    reach = REACH * (q3 - q1)
    within = [number for number in found if q1 - reach <= number <= q3 + reach]
    beyond = tuple(number for number in found if not q1 - reach <= number <= q3 + reach)
    return Box(
        len(found), found[0], within[0], q1, median, q3, within[-1], found[-1], beyond
    )  # fmt: skip


def boxes(table: Table, *, x: str | None, y: str) -> Drawn:
    """A box for each value of `x`, or one; QueryError for more than BOXES_MAX."""
    numbers = table.numbers(y, field="y")
    category = table.column(x, field="x") if x else None
    groups: dict[Any, list[Decimal]] = {}
    names = category.cells if category else (None,) * table.row_count
    for name, number in zip(names, numbers.numbers(), strict=True):
        if number is not None:
            groups.setdefault(name, []).append(number)
    check_marks(len(groups), BOXES_MAX, "boxes", field="x", hint=HINT)
    found = {name: box_of(group) for name, group in groups.items()}
    missing = table.row_count - sum(box.n for box in found.values())
    outliers = sum(len(box.outliers) for box in found.values())
    warnings = counted(missing, f"no value of {y}")
    if outliers > OUTLIERS_DRAWN_MAX:
        warnings += (f"{outliers:,} outliers: the first {OUTLIERS_DRAWN_MAX:,} are drawn",)
    return Drawn(
        columns=(*([category.name] if category else []), *COLUMNS),
        types=(
            *([category.fhir_type] if category else []),
            *("integer", *("decimal",) * 7, "integer"),
        ),
        rows=tuple(_row(name, box, named=category is not None) for name, box in found.items()),
        layout=_layout(found, category, y=y) if found else {},
        title=f"{y} by {x}" if x else y,
        warnings=warnings,
    )


def _quantile(found: Sequence[Decimal], part: Decimal) -> Decimal:
    """Interpolated between neighbours, as percentile_cont does."""
    place = part * (len(found) - 1)
    below = int(place)
    above = min(below + 1, len(found) - 1)
    return found[below] + (found[above] - found[below]) * (place - below)


def _row(name: Any, box: Box, *, named: bool) -> tuple[Any, ...]:
    numbers = (box.n, box.least, box.low, box.q1, box.median, box.q3, box.high, box.most)
    return (*([name] if named else []), *numbers, len(box.outliers))


def _layout(found: dict[Any, Box], category: Series | None, *, y: str) -> dict[str, Any]:
    names = Series("", category.kind if category else "text", "", tuple(found)).labels()
    labels = names if category else [""]
    values: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    for name, box in zip(labels, found.values(), strict=True):
        told = f"{name} (n={box.n:,})".strip() if category else f"n={box.n:,}"
        numbers = {"low": box.low, "q1": box.q1, "median": box.median, "q3": box.q3}
        parts = {part: float(number) for part, number in {**numbers, "high": box.high}.items()}
        values.append({"x": told, **parts})
        dots += [{"x": told, "y": float(number)} for number in box.outliers]
    order = [value["x"] for value in values]
    across = {
        "field": "x",
        "type": "nominal",
        "title": category.name if category else None,
        "sort": order,
        "axis": NAMES,
    }
    return {
        "height": {"step": 38},
        "encoding": {"y": across},
        "layer": [
            _rule(values, "low", "high", title=y),
            _bar(values),
            _median(values),
            *([_dots(dots[:OUTLIERS_DRAWN_MAX])] if dots else []),
        ],
    }


def _rule(values: list[dict[str, Any]], low: str, high: str, *, title: str) -> dict[str, Any]:
    along = {"field": low, "type": "quantitative", "title": title, "scale": {"zero": False}}
    return {
        "data": {"values": values},
        "mark": {"type": "rule", "style": "whisker"},
        "encoding": {"x": along, "x2": {"field": high}},
    }


def _bar(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "data": {"values": values},
        "mark": {"type": "bar", "size": 18, "tooltip": {"content": "data"}},
        "encoding": {"x": {"field": "q1", "type": "quantitative"}, "x2": {"field": "q3"}},
    }


def _median(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "data": {"values": values},
        "mark": {"type": "tick", "size": 18, "thickness": 2.5, "color": "white"},
        "encoding": {"x": {"field": "median", "type": "quantitative"}},
    }


def _dots(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "data": {"values": values},
        "mark": {"type": "point", "size": 16, "opacity": 0.6, "tooltip": True},
        "encoding": {"x": {"field": "y", "type": "quantitative"}},
    }
