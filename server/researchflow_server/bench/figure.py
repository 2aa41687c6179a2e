"""One measured figure."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement: what, how much, of how many runs, on which data, and the bound, if any.

    `value` is None for what could not be measured here; `data` then tells why.
    """

    name: str
    value: float | None
    unit: str
    runs: int
    data: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bounds."""
        if self.value is None:
            return True
        below = self.at_most is None or self.value <= self.at_most
        return below and (self.at_least is None or self.value >= self.at_least)

    @property
    def measured(self) -> str:
        """The value in words, `–` when there is none."""
        return "–" if self.value is None else f"{self.value:,.2f}"

    @property
    def bound(self) -> str:
        """The bound in words, `–` when there is none."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "–" if self.at_least is None else f"≥ {self.at_least:,g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def machine() -> str:
    """The machine and how loaded it was in the last quarter of an hour, in a line."""
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, load average {load}"
