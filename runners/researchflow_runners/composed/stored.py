"""The composed views of a warehouse, as its table keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.definition import parse_library
from researchflow_runners.composed.parameters import SqlParameter, types_of
from researchflow_runners.composed.reference import Identity
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.view import ComposedView, Source
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import columns_to_json

VIEWS_HELD_MAX = 512

_STORED = """
SELECT view_name, definition::text, columns::text, depends_on::text, fault, expires_at
FROM researchflow.composed_view WHERE expires_at IS NULL OR expires_at > now() ORDER BY view_name
"""
_EXPIRED = "SELECT view_name FROM researchflow.composed_view WHERE expires_at <= now()"
_SET_EXPIRY = """
UPDATE researchflow.composed_view SET expires_at = now() + $2 * interval '1 second'
WHERE view_name = $1 RETURNING expires_at
"""
#: A materialised view may have taken the name of a composed one; the later row counts.
_IDENTITIES = """
SELECT view_name, 'Library' AS kind, definition ->> 'url', definition ->> 'version',
       definition ->> 'id'
FROM researchflow.composed_view
UNION ALL
SELECT view_name, 'ViewDefinition', definition ->> 'url', definition ->> 'version',
       definition ->> 'id'
FROM researchflow.view_catalogue
"""
_STORE = """
INSERT INTO researchflow.composed_view
    (view_name, digest, definition, columns, depends_on, fault)
VALUES ($1, $2, $3::jsonb, $4::jsonb, $5::jsonb, $6)
ON CONFLICT (view_name) DO UPDATE
SET digest = excluded.digest, definition = excluded.definition, columns = excluded.columns,
    depends_on = excluded.depends_on, fault = excluded.fault
"""
_FORGET = "DELETE FROM researchflow.composed_view WHERE view_name = $1"


async def composed_views(session: Session) -> dict[str, ComposedView]:
    """Every composed view by name, as the session's snapshot sees them."""
    return {row[0]: _built(*row.values()) for row in await session.fetch(_STORED)}


async def known_identities(session: Session) -> dict[str, Identity]:
    """That of every published and composed view by name, as the session's snapshot sees them."""
    rows = await session.fetch(_IDENTITIES)
    return {name: Identity(*parts) for name, *parts in rows}


async def store(session: Session, view: ComposedView) -> None:
    """Keeps the view, in place of one of its name."""
    await session.execute(
        _STORE,
        view.name,
        view.digest,
        json.dumps(view.definition),
        columns_to_json(view.columns),
        json.dumps({label: asdict(source) for label, source in view.sources.items()}),
        view.fault,
    )


async def expire(session: Session, name: str, expires_in_s: float | None) -> datetime | None:
    """Says when the view is no longer there, or that it stays; the instant."""
    instant: datetime | None = await session.fetchval(_SET_EXPIRY, name, expires_in_s)
    return instant


async def expired(session: Session) -> list[str]:
    """The names of those that are no longer there and still take up room."""
    return [row[0] for row in await session.fetch(_EXPIRED)]


async def forget(session: Session, name: str) -> None:
    """Takes the view out of the table."""
    await session.execute(_FORGET, name)


def readers(name: str, views: Mapping[str, ComposedView]) -> tuple[str, ...]:
    """The composed views that read the one of that name themselves, in order."""
    return tuple(sorted(view.name for view in views.values() if name in view.depends_on.values()))


def all_readers(names: Sequence[str], views: Mapping[str, ComposedView]) -> tuple[str, ...]:
    """The composed views that read one of these, directly or not; each after those it reads."""
    found: dict[str, None] = {}
    level = list(names)
    while level:
        level = list(dict.fromkeys(reader for name in level for reader in readers(name, views)))
        for reader in level:
            found.pop(reader, None)
            found[reader] = None
    return tuple(found)


def leaves(names: Sequence[str], views: Mapping[str, ComposedView]) -> tuple[str, ...]:
    """The names with every composed view replaced by what it reads in the end; each once."""
    found: dict[str, None] = {}
    pending = list(names)
    while pending:
        name = pending.pop(0)
        if name in views:
            pending.extend(views[name].depends_on.values())
        else:
            found[name] = None
    return tuple(found)


@lru_cache(maxsize=VIEWS_HELD_MAX)
def _built(
    name: str,
    definition: str,
    columns: str,
    depends_on: str,
    fault: str | None,
    expires_at: datetime | None,
) -> ComposedView:
    """The view; its SQL is checked again, for a release may take less than the one before."""
    raw = json.loads(definition)
    sources = {
        label: Source(found["view"], tuple(found["columns"]))
        for label, found in json.loads(depends_on).items()
    }
    checked: CheckedSql | None = None
    parameters: tuple[SqlParameter, ...] = ()
    try:
        library = parse_library(raw)
        relations = {label: source.columns for label, source in sources.items()}
        parameters = library.parameters
        checked = check_sql(
            library.sql,
            relations=relations,
            parameters=types_of(parameters),
            field=library.sql_field,
        )
    except ViewDefinitionError as error:
        fault = fault or error.message
    return ComposedView(
        name=name,
        definition=raw,
        description=raw.get("description") or raw.get("title"),
        columns=tuple(Column(**column) for column in json.loads(columns)),
        sources=sources,
        checked=checked,
        fault=fault,
        expires_at=expires_at,
        parameters=parameters,
    )
