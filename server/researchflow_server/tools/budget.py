"""How much of an answer fits into the bytes that a client takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_server.tools.result import dumped

#: Room for the cursor and for the words that say the answer was cut.
CUT_BYTES = 1_500


def rows_that_fit(rows: Sequence[Any], *, frame_bytes: int, bytes_max: int) -> int:
    """How many of the rows fit beside a frame of that size; all of them when they do.

    Looks at no more rows than fit. Raises QueryError `row_too_large` when the first does not.
    """
    used, kept = frame_bytes, 0
    for count, row in enumerate(rows, start=1):
        used += len(dumped(row)) + 1
        if used <= bytes_max - CUT_BYTES:
            kept = count
        if used > bytes_max:
            return _at_least_one(kept)
    return len(rows)


def _at_least_one(count: int) -> int:
    if count < 1:
        raise QueryError(
            "a single row is larger than a tool result may be",
            code="row_too_large",
            field="columns",
            hint="ask for fewer columns",
        )
    return count
