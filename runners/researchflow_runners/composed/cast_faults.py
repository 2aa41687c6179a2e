"""Which cast of a SQL text does not read what a row holds, and in how many rows; never the value.

PostgreSQL names neither the cast nor the column, and its message quotes the value. So each cast of
a column is tried over the rows of its view, with `pg_input_is_valid`, which PostgreSQL has from 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.composed.column_casts import ColumnCast
from researchflow_runners.query.rows import Relations
from researchflow_runners.sql import Sql, compose, fixed, ident, join, param
from researchflow_runners.store.database import Session

#: What the domain iso_text takes: a cast of computed text to a date goes through it.
_ISO_SIGNS = "^[-+0-9:.TtZz ]*( BC)?$"
TRIED_FROM_VERSION = 160_000


@dataclass(frozen=True, slots=True)
class CastFault:
    """A cast that fails on so many rows of a view."""

    cast: ColumnCast
    view: str
    rows: int


async def cast_faults(
    session: Session, casts: Sequence[tuple[ColumnCast, str]], relations: Relations
) -> tuple[CastFault, ...]:
    """Those of the casts, each of a column of the named view, that fail on rows of it.

    Nothing where PostgreSQL cannot try a cast.
    """
    if not casts or await _version(session) < TRIED_FROM_VERSION:
        return ()
    found = []
    for view in dict.fromkeys(name for _cast, name in casts):
        own = tuple(dict.fromkeys(cast for cast, name in casts if name == view))
        (counted,) = await session.fetch(_counting(view, own, relations))
        found += [CastFault(cast, view, counted[n]) for n, cast in enumerate(own) if counted[n]]
    return tuple(found)


def _counting(view: str, casts: Sequence[ColumnCast], relations: Relations) -> Sql:
    counts = [compose("count(*) FILTER (WHERE {})", _fails(cast)) for cast in casts]
    columns = {cast.column for cast in casts}
    return compose("SELECT {} FROM {} AS r", join(", ", counts), relations(view, columns))


def _fails(cast: ColumnCast) -> Sql:
    """Whether a row's text is none of the type."""
    value = compose("r.{}", ident(cast.column))
    reads = compose("pg_input_is_valid({}, {})", value, param(cast.type, "text"))
    if cast.is_date:
        reads = compose("({} ~ {} AND {})", value, param(_ISO_SIGNS, "text"), reads)
    return compose("{} IS NOT NULL AND NOT {}", value, reads)


async def _version(session: Session) -> int:
    number = await session.fetchval(fixed("SELECT current_setting('server_version_num')::integer"))
    return int(number)
