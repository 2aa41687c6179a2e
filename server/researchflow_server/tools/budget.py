"""Cuts an answer to the bytes that a client takes, where a cursor can go on."""

from __future__ import annotations

from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_server.tools.result import dumped

#: A cursor, and the words that say the answer was cut.
CUT_BYTES = 1_200


def rows_that_fit(payload: dict[str, Any], *, bytes_max: int) -> int:
    """How many of `payload["rows"]` stay within `bytes_max` of JSON; all of them when they fit.

    Raises QueryError `row_too_large` when not even the first does.
    """
    rows = payload["rows"]
    frame_bytes = len(dumped({**payload, "rows": []}))
    sizes = [len(dumped(row)) + 1 for row in rows]
    if frame_bytes + sum(sizes) <= bytes_max:
        return len(rows)
    left = bytes_max - frame_bytes - CUT_BYTES
    for count, size in enumerate(sizes):
        left -= size
        if left < 0:
            return _at_least_one(count)
    return _at_least_one(len(rows) - 1)


def _at_least_one(count: int) -> int:
    if count < 1:
        raise QueryError(
            "a single row is larger than a tool result may be",
            code="row_too_large",
            field="columns",
            hint="ask for fewer columns",
        )
    return count
