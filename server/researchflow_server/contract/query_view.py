"""`query_view`: a typed question and its dated answer; the question is the runners' own model."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from researchflow_runners.query.model import Query
from researchflow_server.contract.base import Detailed, Output

QUERY_VIEW = "query_view"


class QueryViewInput(Detailed, Query):
    """A typed question, and how much of its answer is told."""


class SpeedContribution(Output):
    """What the speed layer did to an answer.

    `entries` changes were waiting that could have touched it, `provisional` of them known only
    from their writer. `rows_removed` is null where counting it would cost more than the answer;
    both counts are null where rows of a composed view were asked.
    """

    enabled: bool = True
    entries: int = 0
    provisional: int = 0
    rows_added: int | None = 0
    rows_removed: int | None = 0


class Degradation(Output):
    """One way in which an answer is less than was asked for."""

    code: str
    message: str


class QueryViewOutput(Output):
    """A dated answer.

    `truncated` says that more rows exist; `next_cursor` continues exactly after the last row
    given. `pending` changes of the source are not applied yet, as seen at `checked_at`, and
    `staleness_s` is the age of the oldest; they are null when that is not known, and tell nothing
    about what came after that look. `ties` counts the keys whose latest or first row is one of
    several of that date; of those the one with the lowest id is given. `took_ms` is the
    runner's own time, without the protocol's.

    A concise answer has no `types`, `computed_at`, `took_ms` and `age_s`, and of the rest only
    what is not as the defaults here say; `checked_at` when changes are pending or the look was
    long ago. A null `staleness_s` means there too that `pending` is not known.
    """

    columns: list[str]
    types: list[str] | None = None
    rows: list[list[Any]]
    row_count: int
    ties: int | None = None
    truncated: bool
    next_cursor: str | None = None
    freshness: str = "live"
    anchor: int | None = None
    data_as_of: str | None = None
    route: str = "materialized"
    computed_at: str | None = None
    took_ms: float | None = None
    age_s: float | None = None
    staleness_s: float | None = None
    checked_at: str | None = None
    pending: int | None = None
    speed: SpeedContribution = SpeedContribution()
    degradations: list[Degradation] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """The rows with their names."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class FullAnswer(QueryViewOutput):
    """A dated answer to a question that asked for all of it."""

    types: list[str]
    computed_at: str
    took_ms: float
