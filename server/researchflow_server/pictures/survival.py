"""Survival curves: Kaplan–Meier steps, marks where subjects were censored, numbers at risk."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_server.pictures.bins import number_edges
from researchflow_server.pictures.kaplan_meier import Step, at_risk_at, kaplan_meier
from researchflow_server.pictures.marks import (
    POINTS_MAX,
    SERIES_MAX,
    Drawn,
    check_marks,
    colour,
    counted,
)
from researchflow_server.pictures.table import Series, Table, ordered

COLUMNS = ("time", "at_risk", "events", "censored", "survival", "lower", "upper")
TYPES = ("decimal", "integer", "integer", "integer", "decimal", "decimal", "decimal")
DIGITS = Decimal("0.000001")
#: Bands of more groups than this would hide each other.
BANDS_MAX = 3
TICKS_AIM = 7
EVENT_HINT = "y is true or 1 where the event came at x, false or 0 where follow-up ended before it"
POINTS_HINT = "round x to wider steps, such as weeks or months"


def survival(table: Table, *, x: str, y: str, by: str | None) -> Drawn:
    """A curve for each value of `by`.

    QueryError `value_type` for a negative time and for an event that is neither true nor false.
    """
    times, events = table.numbers(x, field="x"), table.column(y, field="y")
    series = table.column(by, field="by") if by else None
    groups: dict[str, list[tuple[Decimal, bool]]] = {}
    names = series.labels() if series else [""] * table.row_count
    for name, time, event in zip(names, times.numbers(), _events(events), strict=True):
        if time is not None and event is not None:
            groups.setdefault(name, []).append((time, event))
    check_marks(len(groups), SERIES_MAX, "groups", field="by", hint="filter to fewer of them")
    _check_times(groups, x)
    curves = {name: kaplan_meier(subjects) for name, subjects in groups.items()}
    points = sum(map(len, curves.values()))
    check_marks(points, POINTS_MAX, "steps", field="x", hint=POINTS_HINT)
    placed = sum(map(len, groups.values()))
    cells = series.by_label() if series else {}
    return Drawn(
        columns=(*([series.name] if series else []), *COLUMNS),
        types=(*([series.fhir_type] if series else []), *TYPES),
        rows=tuple(
            (*([cells[name]] if series else []), *_told(step))
            for name, steps in curves.items()
            for step in steps
        ),
        layout=_layout(curves, x=x, by=by) if curves else {},
        title=f"Survival over {x}" + (f", by {by}" if by else ""),
        warnings=counted(table.row_count - placed, f"no value of {x} or {y}"),
    )


def _events(column: Series) -> list[bool | None]:
    known = (True, False, 1, 0)
    if any(cell is not None and cell not in known for cell in column.cells):
        raise QueryError(
            f'column "{column.name}" is not true or false',
            code="value_type",
            field="y",
            hint=EVENT_HINT,
        )
    return [None if cell is None else bool(cell) for cell in column.cells]


def _check_times(groups: dict[str, list[tuple[Decimal, bool]]], x: str) -> None:
    negative = sum(time < 0 for subjects in groups.values() for time, _event in subjects)
    if negative:
        raise QueryError(
            f'{negative:,} rows have a negative time in "{x}"',
            code="value_type",
            field="x",
            hint="x is how long each subject was followed; correct or filter out those rows",
        )


def _told(step: Step) -> tuple[Any, ...]:
    parts = (step.survival, step.lower, step.upper)
    rounded = (None if part is None else Decimal(part).quantize(DIGITS) for part in parts)
    return (step.time, step.at_risk, step.events, step.censored, *rounded)


def _layout(curves: dict[str, list[Step]], *, x: str, by: str | None) -> dict[str, Any]:
    last = max(steps[-1].time for steps in curves.values())
    ticks = [float(edge) for edge in _ticks(last)]
    axis: dict[str, Any] = {"values": ticks, "title": x, "grid": False}
    along = {
        "field": "x",
        "type": "quantitative",
        "scale": {"domain": [0, max(float(last), ticks[-1])], "nice": False},
        "axis": axis,
    }
    order = ordered(list(curves))
    colours = colour(by, order) if by else {}
    return {
        "vconcat": [
            _curves(curves, along, colours),
            _at_risk(curves, ticks, along, colours, order),
        ],
        "spacing": 6,
    }


def _ticks(last: Decimal) -> list[Decimal]:
    """Round times from 0 to at most the last, about TICKS_AIM."""
    return number_edges(Decimal(0), last, aim=TICKS_AIM)[:-1]


def _curves(
    curves: dict[str, list[Step]], along: dict[str, Any], colours: dict[str, Any]
) -> dict[str, Any]:
    steps = [_placed(name, step) for name, found in curves.items() for step in _drawn(found)]
    censored = [
        {"by": name, "x": float(step.time), "y": step.survival}
        for name, found in curves.items()
        for step in found
        if step.censored
    ]
    up = {"field": "y", "type": "quantitative", "title": "survival probability"}
    scaled = {**up, "scale": {"domain": [0, 1]}, "axis": {"format": ".1f"}}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
            "encoding": {"y": scaled},
        },
        {
            "data": {"values": censored},
            "mark": {"type": "tick", "orient": "vertical", "size": 9, "thickness": 1.5},
            "encoding": {"y": up},
        },
    ]
    if len(curves) <= BANDS_MAX:
        band = {"type": "area", "interpolate": "step-after", "opacity": 0.15, "line": False}
        bounds = {"y": {**up, "field": "lower"}, "y2": {"field": "upper"}}
        layers.insert(0, {"mark": band, "encoding": bounds})
    return {
        "data": {"values": steps},
        "width": 560,
        "height": 300,
        "encoding": {"x": along, **colours},
        "layer": layers,
    }


def _drawn(steps: list[Step]) -> list[Step]:
    """The curve begins at 1, also where the first event came at time 0."""
    first = steps[0]
    return [Step(first.time, first.at_risk, 0, 0, 1.0, None, None), *steps]


def _placed(name: str, step: Step) -> dict[str, Any]:
    return {
        "by": name,
        "x": float(step.time),
        "y": step.survival,
        "lower": step.survival if step.lower is None else step.lower,
        "upper": step.survival if step.upper is None else step.upper,
    }


def _at_risk(
    curves: dict[str, list[Step]],
    ticks: list[float],
    along: dict[str, Any],
    colours: dict[str, Any],
    order: list[str],
) -> dict[str, Any]:
    legend = " (ticks: censored" + ("; bands: 95 %)" if len(curves) <= BANDS_MAX else ")")
    values = [
        {"by": name, "x": tick, "n": f"{at_risk_at(steps, tick):,}"}
        for name, steps in curves.items()
        for tick in ticks
    ]
    hidden = {**along["axis"], "labels": False, "ticks": False, "domain": False, "title": None}
    rows = {
        "field": "by",
        "type": "nominal",
        "sort": order,
        "title": None,
        "axis": {"domain": False, "ticks": False, "labelLimit": 160, "labelPadding": 16},
    }
    return {
        "title": {
            "text": f"Number at risk{legend}",
            "anchor": "start",
            "style": "note",
            "offset": 4,
        },
        "data": {"values": values},
        "width": 560,
        "height": {"step": 16},
        "mark": {"type": "text", "fontSize": 11},
        "encoding": {
            "x": {**along, "axis": hidden},
            "y": rows,
            "text": {"field": "n"},
            **colours,
        },
    }
