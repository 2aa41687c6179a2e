"""The state of the views that an agent's questions share: the anchor of its first answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from researchflow_agents.client import ToolClient
from researchflow_agents.errors import PROTOCOL_ERROR, AgentError
from researchflow_server.contract import (
    Aggregate,
    Filter,
    FullAnswer,
    Query,
)

PATIENTS = "patient_demographics"
COUNT = "count"


@dataclass(frozen=True, slots=True)
class Moment:
    """The state that all questions share: an anchor, or None for whatever is newest."""

    anchor: int | None
    on: date

    def query(
        self,
        view: str,
        where: Filter | None,
        *,
        columns: Sequence[str] | None = None,
        group_by: Sequence[str] = (),
    ) -> Query:
        """A question at this state: rows of `columns`, or counts without them."""
        asked: dict[str, object] = {"view": view}
        if where is not None:
            asked["where"] = where
        if columns is None:
            asked["aggregates"] = [Aggregate(fn="count")]
        else:
            asked["columns"] = list(columns)
        if group_by:
            asked["group_by"] = list(group_by)
        asked |= {"freshness": "live"} if self.anchor is None else {"as_of": self.anchor}
        return Query.model_validate(asked)


@dataclass(frozen=True, slots=True)
class Opening:
    """The first answer, which fixes the moment, and the number of all patients in it."""

    moment: Moment
    patients: int
    answer: FullAnswer


async def open_moment(
    client: ToolClient,
    *,
    freshness: Literal["live", "anchored"],
    as_of: int | datetime | str | None = None,
    on: date | None = None,
) -> Opening:
    """Counts all patients at the state asked for; AgentError when there is no such anchor."""
    asked: dict[str, object] = {"view": PATIENTS, "aggregates": [Aggregate(fn="count")]}
    asked |= {"freshness": freshness} if as_of is None else {"as_of": as_of}
    answer = await client.query_view(Query.model_validate(asked))
    anchor = answer.anchor if freshness == "anchored" else None
    if freshness == "anchored" and anchor is None:
        raise AgentError.of(
            "not_materialized",
            "there is no anchor to count at",
            hint="run refresh_views first, or ask for freshness live",
        )
    stamp = answer.data_as_of if freshness == "anchored" else answer.computed_at
    day = on or datetime.fromisoformat(str(stamp)).astimezone(UTC).date()
    return Opening(Moment(anchor, day), single_count(answer), answer)


def single_count(answer: FullAnswer) -> int:
    """The number in an answer of one count."""
    rows = answer.records()
    if len(rows) != 1 or not isinstance(rows[0].get(COUNT), int):
        raise AgentError.of(
            PROTOCOL_ERROR,
            "a count came back in another shape",
            hint="use a server and agents of the same version",
        )
    return int(rows[0][COUNT])
