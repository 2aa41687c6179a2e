"""The days that relative dates mean in the state that is read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from researchflow_runners.query.columns import Catalogue, find_column, low_sql
from researchflow_runners.query.model import Query
from researchflow_runners.query.relative import Base, Place, newest_asked, resolved
from researchflow_runners.query.rows import Relations
from researchflow_runners.sql import compose, fixed, param
from researchflow_runners.store.database import Session

_NEWEST = """
SELECT (max({low}) AT TIME ZONE 'UTC')::date FROM {relation} AS t
WHERE {low} < (({today} + 1)::timestamp AT TIME ZONE 'UTC')
"""

#: The newest day of each column that was asked for; None where it has none.
Newest = Mapping[Place, date | None]


async def newest_days(
    session: Session, query: Query, catalogue: Catalogue, relations: Relations, *, today: date
) -> Newest:
    """The day of the newest date, of those by today, of every column of which it is asked."""
    found: dict[Place, date | None] = {}
    for view, name in newest_asked(query, catalogue):
        column = find_column(name, catalogue[view], view=view, field="where")
        sql = compose(
            _NEWEST,
            low=low_sql(fixed("t"), column),
            relation=relations(view, {name}),
            today=param(today, "date"),
        )
        found[view, name] = await session.fetchval(sql)
    return found


def with_days(
    query: Query, catalogue: Catalogue, *, today: date, newest: Newest
) -> tuple[Query, tuple[str, ...]]:
    """The query with days for its relative dates, and what to tell of them.

    Of a column without dates no row meets a comparison: `newest` is then today, and said.
    """
    lacking: dict[str, None] = {}

    def day_of(base: Base, place: Place) -> date:
        if base == "today":
            return today
        day = newest[place]
        if day is None:
            lacking[f'"{place[1]}" of view "{place[0]}" has no date by {today}'] = None
        return day or today

    asked, told = resolved(query, catalogue, day_of)
    return asked, (*told, *lacking)
