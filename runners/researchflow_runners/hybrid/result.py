"""The answer to a query: rows with their date, their provenance and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from researchflow_runners.query.columns import AnswerColumn
from researchflow_runners.query.model import Freshness

Route = Literal["materialized", "direct"]

#: Why an answer may be less than was asked for.
DegradationCode = Literal[
    "redis_unavailable",
    "speed_layer_disabled",
    "overlay_excluded",
    "source_zone_wrong",
    "view_set_aside",
]
DEGRADATION_CODES: tuple[DegradationCode, ...] = get_args(DegradationCode)


@dataclass(frozen=True, slots=True)
class Degradation:
    """One way in which the answer is less than was asked for."""

    code: DegradationCode
    message: str


@dataclass(frozen=True, slots=True)
class SpeedContribution:
    """What the speed layer did to one answer.

    `entries` counts the waiting changes of the resource types of all views involved and
    `provisional` those among them that only their writer knows. `rows_added` counts the rows of
    the asked view that satisfy the filter and come from a waiting change: of this page for an
    answer of rows, of all groups for an answer of groups. `rows_removed` counts the rows of the
    current anchor that satisfy the filter and that a waiting change replaces or deletes; it is
    None where counting would cost more than the answer: more than REMOVED_ENTRIES_MAX entries,
    a filter that looks into another view, or the latest or first row of each key. A row whose
    resource merely changed counts in both.
    """

    enabled: bool
    entries: int = 0
    provisional: int = 0
    rows_added: int | None = 0
    rows_removed: int | None = 0

    @property
    def hit(self) -> bool:
        """Whether a waiting change could have touched this answer."""
        return self.entries > 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of one answer, by the host's monotonic clock."""

    total_ms: float
    facts_ms: float
    rows_ms: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a view, dated.

    All instants are the database's. `anchor` is the batch state the rows were computed at, None
    on the direct route. `data_as_of` is the source instant up to which every view involved is
    complete (the oldest of them). `age_s` is `computed_at - data_as_of`. `staleness_s` is
    0 when nothing was pending at the last look at the source, else `computed_at` minus the
    oldest pending change; it is None when the source was never looked at. `pending` likewise.
    `missing_resources` counts the resources that some view involved lacks because its rows could
    not be computed; None when the release that published the anchor did not keep that.
    `ties` counts the keys whose latest or first row is one of several of that date: of those the
    one with the lowest id stands here; None when no row was chosen by its date.
    `warnings` are what to know of the question as it was asked.
    `cursor_after(n)` is the cursor that goes on after the first n rows.
    """

    view: str
    columns: tuple[AnswerColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    next_cursor: str | None
    freshness: Freshness
    route: Route
    anchor: int | None
    data_as_of: datetime | None
    computed_at: datetime
    age_s: float | None
    staleness_s: float | None
    checked_at: datetime | None
    pending: int | None
    speed: SpeedContribution
    missing_resources: int | None
    degradations: tuple[Degradation, ...]
    warnings: tuple[str, ...]
    timings: Timings
    views: tuple[str, ...]
    ties: int | None
    cursor_after: Callable[[int], str] = field(repr=False, compare=False)

    @property
    def row_count(self) -> int:
        """Rows in this answer; more exist when `truncated`."""
        return len(self.rows)

    def cut(self, rows_max: int) -> Answer:
        """The first `rows_max` rows, at least one, with the cursor that goes on after them."""
        if rows_max >= self.row_count:
            return self
        return replace(
            self,
            rows=self.rows[:rows_max],
            truncated=True,
            next_cursor=self.cursor_after(rows_max),
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def column_values(self, name: str) -> Sequence[Any]:
        """The values of one column, in row order."""
        position = [column.name for column in self.columns].index(name)
        return [row[position] for row in self.rows]
