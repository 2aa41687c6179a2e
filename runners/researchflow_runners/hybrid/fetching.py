"""The records of one page, never more of them than memory has room for."""

from __future__ import annotations

from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.model import LIMIT_DEFAULT
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Session

PAGE_BYTES_MAX = 64 * 1024**2
#: So many are fetched at once whatever their size; a row of users' SQL has at most a megabyte. A
#: page of the usual limit is among them: a cursor costs a round trip, and the plan that PostgreSQL
#: keeps of a statement.
ROWS_AT_ONCE = LIMIT_DEFAULT + 1


async def fetched(session: Session, sql: Sql, *, rows_max: int) -> list[Any]:
    """The records; QueryError `result_too_large` when they hold more than PAGE_BYTES_MAX.

    Many come in batches whose size the rows before tell.
    """
    if rows_max <= ROWS_AT_ONCE:
        return list(await session.fetch(sql))
    stream = await session.batches(sql)
    records: list[Any] = []
    size_bytes, wanted = 0, ROWS_AT_ONCE
    while True:
        batch = await stream.next(wanted)
        records += batch
        size_bytes += sum(_bytes(record) for record in batch)
        if size_bytes > PAGE_BYTES_MAX:
            raise _too_large(len(records))
        if len(batch) < wanted:
            return records
        left_bytes = PAGE_BYTES_MAX - size_bytes
        wanted = max(ROWS_AT_ONCE, left_bytes * len(records) // (size_bytes + 1))
        wanted = min(wanted, rows_max)


def _bytes(record: Any) -> int:
    """What may be large in a record: its texts and bytes."""
    return sum(len(value) for value in record if isinstance(value, str | bytes))


def _too_large(rows: int) -> QueryError:
    return QueryError(
        f"{rows} rows of the answer hold more than {PAGE_BYTES_MAX // 1024**2} MB",
        code="result_too_large",
        hint="ask for fewer columns or a smaller limit, and go on with the cursor",
        field="limit",
    )
