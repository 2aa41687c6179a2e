"""Open rows and the date they carry: promise two holds for a stream as for a tool's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.model import Freshness
from researchflow_runners.sql import EMPTY, Sql, compose, ident, join, param
from researchflow_runners.store.stream import RowStream

Route: TypeAlias = Literal["materialized", "direct", "inline"]
PREFIX = "X-ResearchFlow-"
#: Of PostgreSQL, for each batch of rows.
BATCH_TIMEOUT_S = 40.0


@dataclass(frozen=True, slots=True)
class Dated:
    """What is known about the rows before the first is sent; see `hybrid.result.Answer`.

    All instants are the database's. None means that there is no such thing on this route, or that
    it is not known.
    """

    view: str
    route: Route
    computed_at: datetime
    freshness: Freshness | None = None
    anchor: int | None = None
    data_as_of: datetime | None = None
    checked_at: datetime | None = None
    pending: int | None = None
    staleness_s: float | None = None
    speed_entries: int | None = None
    provisional: int | None = None
    missing_resources: int | None = None
    degradations: tuple[str, ...] = ()
    limit: int | None = None

    def headers(self) -> dict[str, str]:
        """The response headers that say it; what is not known is left out."""
        told: dict[str, Any] = {
            "View": self.view,
            "Route": self.route,
            "Freshness": self.freshness,
            "Anchor": self.anchor,
            "Data-As-Of": self.data_as_of,
            "Computed-At": self.computed_at,
            "Checked-At": self.checked_at,
            "Pending": self.pending,
            "Staleness-S": self.staleness_s,
            "Speed-Entries": self.speed_entries,
            "Provisional": self.provisional,
            "Missing-Resources": self.missing_resources,
            "Degradations": ",".join(self.degradations) or None,
            "Limit": self.limit,
        }
        return {PREFIX + name: _text(value) for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class OpenRows:
    """Rows that wait to be fetched; `columns` are the view's, in the order of the rows.

    `told` turns what PostgreSQL says about a resource's data into an error of ours.
    """

    dated: Dated
    columns: tuple[Column, ...]
    stream: RowStream
    told: Callable[[], AbstractContextManager[None]] = nullcontext

    async def next(self, rows_max: int) -> list[Any]:
        """The next rows, at most `rows_max`; fewer mean that there are no more."""
        with self.told():
            return await self.stream.next(rows_max)


def selected(
    columns: Sequence[Column], relation: Sql, *, where: Sql = EMPTY, limit: int | None = None
) -> Sql:
    """The columns of the relation `r`, in order; the rows come in no order."""
    return compose(
        "SELECT {} FROM {} AS r{}{}",
        join(", ", (ident("r", column.name) for column in columns)),
        relation,
        where,
        EMPTY if limit is None else compose(" LIMIT {}", param(limit, "bigint")),
    )


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
