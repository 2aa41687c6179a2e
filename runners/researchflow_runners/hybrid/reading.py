"""Reads the rows of one question from chosen relations, and makes its cursors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from researchflow_runners.hybrid.fetching import fetched
from researchflow_runners.hybrid.looks import Ground, Looks
from researchflow_runners.hybrid.relative import Newest, newest_days, with_days
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.cursor import (
    Position,
    decode_cursor,
    encode_cursor,
    query_fingerprint,
)
from researchflow_runners.query.model import Asking, Query
from researchflow_runners.query.rows import Relations
from researchflow_runners.query.sql import build_statement
from researchflow_runners.query.statement import Page, Statement
from researchflow_runners.store.database import Session

QueryT = TypeVar("QueryT", bound=Asking)


@dataclass(frozen=True, slots=True)
class Asked(Generic[QueryT]):
    """A query with everything its cursors are bound to; `now` is the database's clock.

    `newest` are the newest days that relative dates were told from.
    """

    query: QueryT
    fingerprint: str
    position: Position | None
    key: bytes
    now: datetime
    newest: Newest = field(default_factory=dict)

    @classmethod
    def of(
        cls, query: QueryT, *, digests: Mapping[str, str], principal: str, key: bytes, now: datetime
    ) -> Asked[QueryT]:
        """The query, its cursor checked; QueryError `cursor_invalid`."""
        fingerprint = query_fingerprint(query, digests, principal)
        position = None
        if query.cursor is not None:
            position = decode_cursor(query.cursor, fingerprint=fingerprint, key=key, now=now)
        return cls(query, fingerprint, position, key, now)


async def with_dates(
    session: Session, asked: Asked[Query], catalogue: Catalogue, relations: Relations, *, on: date
) -> tuple[Asked[Query], tuple[str, ...]]:
    """The question with days for its relative dates, and what to tell of them.

    `on` is today. A question that goes on keeps the days of its first page.
    """
    position = asked.position
    today = position.on if position else on
    newest = (
        position.newest
        if position
        else await newest_days(session, asked.query, catalogue, relations, today=today)
    )
    query, told = with_days(asked.query, catalogue, today=today, newest=newest)
    return replace(asked, query=query, newest=newest), told


@dataclass(frozen=True, slots=True)
class Read:
    """One page, and `cursor_after(n)`, which goes on after its first n rows."""

    statement: Statement
    page: Page
    cursor_after: Callable[[int], str]
    rows_ms: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of the question, then what its rows made known."""
        return (*self.statement.warnings, *self.page.warnings)

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None when this one is the last."""
        return self.cursor_after(len(self.page.rows)) if self.page.truncated else None


async def read_page(
    session: Session,
    asked: Asked[Query],
    *,
    catalogue: Catalogue,
    relations: Relations,
    anchor: int | None,
    on: date,
    told: tuple[str, ...],
    looks: Looks | None,
    state: str | None,
    has_more: bool,
) -> Read:
    """The rows, ages told for the day `on`; `anchor` is pinned in the cursors.

    `told` is what to say of the question beside its answer; `looks` are asked what else, of the
    `state` that is read, if anything; `has_more` as in Ground.
    """
    position = asked.position
    day = position.on if position else on
    statement = build_statement(
        asked.query, catalogue, relations, on=day, after=position.keys if position else None
    )
    statement = replace(statement, warnings=(*told, *statement.warnings))
    read = await read_statement(session, asked, statement, anchor=anchor, on=day)
    if looks is None:
        return read
    ground = Ground(catalogue, relations, day, state, has_more)
    found = await looks.warnings(session, asked.query, read.page, ground)
    warned = replace(statement, warnings=(*statement.warnings, *found))
    return replace(read, statement=warned)


async def read_statement(
    session: Session, asked: Asked[Any], statement: Statement, *, anchor: int | None, on: date
) -> Read:
    """The page that the statement gives."""
    began_s = time.perf_counter()
    records = await fetched(session, statement.sql, rows_max=statement.limit + 1)
    told = None
    if not records and statement.nothing is not None:
        told = tuple((await session.fetch(statement.nothing))[0].values())
    rows_ms = (time.perf_counter() - began_s) * 1000
    page = statement.page([tuple(record.values()) for record in records], told)

    def cursor_after(rows: int) -> str:
        place = Position(anchor, on, page.keys[rows - 1], statement.key_types, asked.newest)
        return encode_cursor(place, fingerprint=asked.fingerprint, key=asked.key, now=asked.now)

    return Read(statement, page, cursor_after, rows_ms)
