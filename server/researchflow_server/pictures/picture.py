"""An answer as a picture: the chart's marks below a title, and below that what dates them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_server.contract import Chart, DrawInput
from researchflow_server.pictures.bars import bars
from researchflow_server.pictures.boxes import boxes
from researchflow_server.pictures.histogram import histogram
from researchflow_server.pictures.lines import lines
from researchflow_server.pictures.look import CONFIG, SCHEMA, WIDTH_PX
from researchflow_server.pictures.marks import BARS_MAX, POINTS_MAX, Drawn
from researchflow_server.pictures.survival import survival
from researchflow_server.pictures.table import Table

#: Rows that one picture may be computed from.
ROWS_MAX = 100_000
TITLE_CHARS = 70
SUBTITLE_CHARS = 100
SUBTITLE_LINES_MAX = 7
#: What each chart needs and takes beside its query.
NEEDS: dict[Chart, tuple[str, ...]] = {
    "bar": ("x", "y"),
    "line": ("x", "y"),
    "histogram": ("x",),
    "box": ("y",),
    "survival": ("x", "y"),
}
TAKES: dict[Chart, tuple[str, ...]] = {
    "bar": ("x", "y", "by"),
    "line": ("x", "y", "by"),
    "histogram": ("x", "by"),
    "box": ("x", "y"),
    "survival": ("x", "y", "by"),
}
_OTHERWISE = {
    ("histogram", "y"): "a histogram counts rows: leave y out",
    ("box", "by"): "a box plot has one category: give it as x",
}


def rows_max(chart: Chart) -> int:
    """How many rows of an answer a chart is made of, at most."""
    return {"bar": BARS_MAX, "line": POINTS_MAX}.get(chart, ROWS_MAX)


def check_columns(asked: DrawInput) -> None:
    """QueryError `missing_argument` or `invalid_argument` for columns that a chart lacks or
    does not take."""
    for name in ("x", "y", "by"):
        given = getattr(asked, name) is not None
        if not given and name in NEEDS[asked.chart]:
            raise QueryError(
                f'a "{asked.chart}" needs the argument "{name}"',
                code="missing_argument",
                field=name,
                hint=f'name a column of the query\'s answer as "{name}"',
            )
        if given and name not in TAKES[asked.chart]:
            raise QueryError(
                f'a "{asked.chart}" has no "{name}"',
                code="invalid_argument",
                field=name,
                allowed=TAKES[asked.chart],
                hint=_OTHERWISE[asked.chart, name],
            )


def drawn(asked: DrawInput, answer: Answer) -> Drawn:
    """What the picture shows; QueryError says which column or how many marks do not do."""
    x, y, by = asked.x or "", asked.y or "", asked.by
    table = Table(answer)
    charts: dict[Chart, Callable[[], Drawn]] = {
        "bar": lambda: bars(table, x=x, y=y, by=by),
        "line": lambda: lines(table, x=x, y=y, by=by),
        "histogram": lambda: histogram(table, x=x, by=by),
        "box": lambda: boxes(table, x=asked.x, y=y),
        "survival": lambda: survival(table, x=x, y=y, by=by),
    }
    return charts[asked.chart]()


def specification(
    content: Drawn, answer: Answer, *, title: str | None, notes: Sequence[str]
) -> dict[str, Any]:
    """The Vega-Lite specification of the whole picture; `notes` are what its reader must know."""
    layout = dict(content.layout) or _nothing("no values" if answer.rows else "no rows")
    if not {"vconcat", "width"} & layout.keys():
        layout["width"] = WIDTH_PX
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "title": {
            "text": textwrap.wrap(title or content.title, TITLE_CHARS),
            "subtitle": [*_wrapped(_dated(answer)), *_noted(notes)],
            "anchor": "start",
        },
        **layout,
    }


def _nothing(told: str) -> dict[str, Any]:
    return {
        "data": {"values": [{"told": told}]},
        "height": 80,
        "mark": {"type": "text", "style": "told", "fontSize": 16},
        "encoding": {"text": {"field": "told"}},
    }


def _dated(answer: Answer) -> str:
    parts = [f"anchor {answer.anchor}" if answer.anchor is not None else "computed from the source"]
    if answer.data_as_of is not None:
        parts.append(f"data as of {answer.data_as_of:%Y-%m-%d %H:%M:%S} UTC")
    waiting = f", {answer.speed.entries:,} newer changes merged" if answer.speed.entries else ""
    parts.append(f"{answer.freshness}{waiting}")
    parts.append(f"{answer.row_count:,} {'row' if answer.row_count == 1 else 'rows'}")
    return " · ".join(parts)


def _noted(notes: Sequence[str]) -> list[str]:
    """The notes, as many as there is room for."""
    told = [line for note in notes for line in _wrapped(note)]
    if len(told) <= SUBTITLE_LINES_MAX:
        return told
    return [*told[: SUBTITLE_LINES_MAX - 1], "… more is told in the answer's warnings"]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, SUBTITLE_CHARS)
