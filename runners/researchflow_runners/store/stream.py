"""Rows of one statement, batch by batch, so that memory is bounded by the batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

#: Calls an operation of the driver, its errors translated.
Run: TypeAlias = Callable[..., Awaitable[Any]]


class RowBatches:
    """An open server-side cursor; it lives as long as the transaction it was opened in."""

    def __init__(self, cursor: Any, run: Run) -> None:
        self._cursor = cursor
        self._run = run

    async def next(self, rows_max: int) -> list[asyncpg.Record]:
        """The next rows, at most `rows_max`; fewer mean that there are no more."""
        return await self._run(self._cursor.fetch, rows_max)  # type: ignore[no-any-return]


class RowStream(RowBatches):
    """One that tells what it will give.

    `columns` are the names of the result's columns and of their PostgreSQL types, as the server
    described them before any row was computed.
    """

    def __init__(self, statement: Any, cursor: Any, run: Run) -> None:
        super().__init__(cursor, run)
        self.columns: tuple[tuple[str, str], ...] = tuple(
            (one.name, one.type.name) for one in statement.get_attributes()
        )
