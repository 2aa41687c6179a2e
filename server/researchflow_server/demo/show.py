"""The demonstration's words and tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule

from researchflow_server.console import table
from researchflow_server.contract import FullAnswer

INDENT = (0, 0, 1, 2)


class Screen:
    """Numbered steps on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0

    def step(self, title: str) -> None:
        """Begins the next step."""
        self._steps += 1
        self._console.print(Rule(f"[bold]{self._steps}. {title}", align="left", style="cyan"))

    def say(self, text: str) -> None:
        """A line of plain text."""
        self._console.print(Padding(text, (0, 0, 0, 2)), markup=False)

    def table(self, columns: list[str], rows: list[list[Any]]) -> None:
        """A small table."""
        self._console.print(Padding(table(columns, rows), INDENT))

    def answers(self, told: dict[str, FullAnswer]) -> None:
        """How many patients each answer holds, and where they come from."""
        columns = ["asked", "patients", "freshness", "anchor", "data as of",
                   "changes from the speed layer", "ms"]  # fmt: skip
        rows = [
            [
                name,
                answer.row_count,
                answer.freshness,
                answer.anchor,
                str(answer.data_as_of)[:19],
                answer.speed.entries,
                answer.took_ms,
            ]
            for name, answer in told.items()
        ]
        self.table(columns, rows)

    def done(self, text: str) -> None:
        """The last line."""
        self._console.print(Rule(f"[bold green]{text}", align="left", style="green"))
