"""`get_statistics`: its arguments and result."""

from __future__ import annotations

from typing import Any

from researchflow_server.contract.base import Input, Output, Table

GET_STATISTICS = "get_statistics"


class GetStatisticsInput(Input):
    """No arguments."""


class GetStatisticsOutput(Output):
    """The numbers that /metrics exports, for a reader: counters since start, state as of `at`."""

    at: str
    runner: dict[str, Any]
    views: Table
    counters: Table
    overlay: Table
    refresh: dict[str, Any]
    warehouse_up: bool
    redis_up: bool
