"""Which views are published, and the physical tables that hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import asyncpg

from researchflow_runners.compiler.column import Column, stored_columns
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.store.database import Session

_CATALOGUE = """
SELECT view_name, digest, resource_type, columns, base_table, history_table, overlay_table,
       since_anchor,
       (SELECT after_anchor FROM researchflow.set_aside AS s WHERE s.view_name = c.view_name)
           AS last_anchor
FROM researchflow.view_catalogue AS c
"""


@dataclass(frozen=True, slots=True)
class PublishedView:
    """A view as it is published: one row of the catalogue.

    `last_anchor` is the last anchor that its rows answer for where that is not the newest: the
    view is set aside, or is a former definition.
    """

    name: str
    digest: str
    resource_type: str
    columns: tuple[Column, ...]
    base_table: str
    history_table: str
    overlay_table: str
    since_anchor: int
    last_anchor: int | None = None

    def column(self, name: str) -> Column | None:
        """The public column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def stored_columns(self) -> tuple[tuple[str, str], ...]:
        """Name and type of every column of the view's tables, hidden ones first."""
        return stored_columns(self.columns)


async def published_views(session: Session) -> dict[str, PublishedView]:
    """Every published view by name, as the session's snapshot sees the catalogue."""
    rows = await session.fetch(f"{_CATALOGUE} ORDER BY view_name")
    return {row["view_name"]: published_of(row) for row in rows}


async def published_view(session: Session, name: str) -> PublishedView:
    """One published view; QueryError `view_not_published` names the nearest one."""
    row = await session.fetchrow(f"{_CATALOGUE} WHERE view_name = $1", name)
    if row is not None:
        return published_of(row)
    names = sorted(await published_views(session))
    raise QueryError(
        f'view "{name}" is not materialised',
        code="view_not_published",
        hint="run `researchflow refresh`, or ask one of the allowed views",
        field="view",
        allowed=names,
        did_you_mean=nearest(name, names),
    )


def published_of(row: asyncpg.Record) -> PublishedView:
    """The view of a row with the catalogue's columns."""
    return _published(*row.values())


def columns_to_json(columns: Sequence[Column]) -> str:
    """The catalogue's form of a view's columns."""
    return json.dumps([asdict(column) for column in columns])


@lru_cache(maxsize=256)
def _published(
    name: str,
    digest: str,
    resource_type: str,
    columns: str,
    base_table: str,
    history_table: str,
    overlay_table: str,
    since_anchor: int,
    last_anchor: int | None,
) -> PublishedView:
    return PublishedView(
        name=name,
        digest=digest,
        resource_type=resource_type,
        columns=tuple(Column(**column) for column in json.loads(columns)),
        base_table=base_table,
        history_table=history_table,
        overlay_table=overlay_table,
        since_anchor=since_anchor,
        last_anchor=last_anchor,
    )
