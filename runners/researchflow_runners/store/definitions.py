"""The ViewDefinitions of the catalogue, ready to run: of every view that is published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import ResearchFlowError, ViewDefinitionError
from researchflow_runners.store.database import Session

DEFINITIONS_HELD_MAX = 512

_REGISTERED = """
SELECT view_name, definition::text FROM researchflow.view_catalogue
WHERE registered_at IS NOT NULL ORDER BY view_name
"""
_PUBLISHED = """
SELECT definition::text FROM researchflow.view_catalogue WHERE view_name = $1 AND digest = $2
"""


@dataclass(frozen=True, slots=True)
class RegisteredViews:
    """By name: those that this release compiles, and the `definition_outdated` of those that it
    refuses, though the one they were registered with took them."""

    compiled: dict[str, CompiledView]
    outdated: dict[str, ViewDefinitionError]


async def registered_names(session: Session) -> list[str]:
    """The names of the views that were registered at run time, in order."""
    return [row[0] for row in await session.fetch(_REGISTERED)]


async def registered_views(session: Session, *, but: str | None = None) -> RegisteredViews:
    """The views that were registered at run time, without the one called `but`."""
    found = RegisteredViews({}, {})
    for name, definition in await session.fetch(_REGISTERED):
        if name == but:
            continue
        try:
            found.compiled[name] = _registered(name, definition)
        except ViewDefinitionError as error:
            found.outdated[name] = error
    return found


async def published_definition(session: Session, name: str, digest: str) -> CompiledView | None:
    """The view as it is published under this digest.

    None when it is not, or when this process' compiler makes other SQL of the definition.
    """
    text = await session.fetchval(_PUBLISHED, name, digest)
    compiled = _compiled(text) if text is not None else None
    return compiled if compiled is not None and compiled.digest == digest else None


async def as_stored(session: Session, view: CompiledView) -> CompiledView:
    """The view of the definition as jsonb keeps it, so that its digest stays what it is."""
    return _compiled(await session.fetchval("SELECT $1::jsonb::text", json.dumps(view.definition)))


def _registered(name: str, definition: str) -> CompiledView:
    try:
        return _compiled(definition)
    except ResearchFlowError as error:
        raise ViewDefinitionError(
            f'the registered view "{name}" cannot be compiled by this release: {error.message}',
            code="definition_outdated",
            field=error.field,
            span=error.span,
            hint="register a corrected definition, or drop the view",
        ) from error


@lru_cache(maxsize=DEFINITIONS_HELD_MAX)
def _compiled(definition: str) -> CompiledView:
    return compile_view(json.loads(definition))
