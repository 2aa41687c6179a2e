"""What a person sees: tables on stdout, progress on stderr."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from researchflow_server.tools.result import dumped

CELL_WIDTH_MAX = 60
PIPE_WIDTH = 120
#: Below this width a cell breaks within its words.
COLUMN_WIDTH_MIN = 12


def show_json(payload: Any) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(dumped(payload).decode() + "\n")


def show_text(text: str) -> None:
    """Text on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def console() -> Console:
    """stdout as rich writes it; a pipe has no width of its own."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> Table:
    """A small table; numbers to the right, missing values as a dash."""
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for position, name in enumerate(columns):
        numeric = any(isinstance(row[position], int | float) for row in rows)
        made.add_column(
            name, justify="right" if numeric else "left", max_width=CELL_WIDTH_MAX,
            overflow="fold",
        )  # fmt: skip
    for row in rows:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def rows_shown(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> RenderableType:
    """Rows as a table, or one under the other where a table would be too narrow to read."""
    if len(columns) * COLUMN_WIDTH_MIN <= width:
        return table(columns, rows)
    longest = max(map(len, columns))
    records = []
    for number, row in enumerate(rows, start=1):
        lines = [
            f"{name:>{longest}}  {cell(value)}" for name, value in zip(columns, row, strict=True)
        ]
        records.append(Text("\n".join([f"row {number}", *lines])))
    return Group(*records)


def cell(value: Any) -> str:
    """One value for reading."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return f"{value:,}" if isinstance(value, int) else str(value)


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr, shown on terminals only."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )
    with bar:
        yield bar
