"""`get_statistics`: its arguments and result."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from researchflow_server.contract.base import Detailed, Output, Table

GET_STATISTICS = "get_statistics"


class GetStatisticsInput(Detailed):
    """No arguments but how much is told."""


class GetStatisticsOutput(Output):
    """The numbers that /metrics exports, for a reader: counters since start, state as of `at`.

    A concise answer has no `counters`; its `views` are those of which something is to say, the
    stalest first, of `view_count` in all, and `data_as_of` is the oldest of all.
    """

    at: str
    runner: dict[str, Any]
    view_count: int
    data_as_of: str | None = None
    views: Table
    counters: Table | None = None
    overlay: Table
    refresh: dict[str, Any]
    warehouse_up: bool
    redis_up: bool
    warnings: list[str] = Field(default_factory=list)
