"""A Library becomes a composed view over the views of a warehouse, or is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from researchflow_runners.compiler import CompiledView
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.definition import SqlLibrary, parse_library
from researchflow_runners.composed.dependencies import views_behind
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.parameters import types_of
from researchflow_runners.composed.reference import Identity, identity_of
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.stored import composed_views, known_identities
from researchflow_runners.composed.view import ComposedView, Source, unvalued
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import is_unlisted
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import published_views

#: Composed views that stand on one another.
LEVELS_MAX = 4
#: Relations of materialised views in the statement of one composed view.
RELATIONS_MAX = 64


async def compose_view(
    session: Session,
    definition: Mapping[str, Any],
    *,
    instead: Mapping[str, CompiledView | ComposedView] | None = None,
) -> ComposedView:
    """The SQLView over the views that the session's snapshot has; within a transaction.

    `instead` are views that shall stand for those of their names. Raises ViewDefinitionError:
    those of parse_library, views_behind, check_sql and describe, and `library_type` (an SQLQuery
    is no view), `name_taken`, `dependency_cycle`, `too_many_relations`, `parameter_unused` or
    `view_takes_parameters` (of a view it would read).
    """
    library, own_name = _view_library(definition)
    composed = await composed_views(session)
    published = await published_views(session)
    if own_name in published:
        raise name_taken(own_name, "a materialised view")
    sound = {name: view for name, view in composed.items() if view.fault is None}
    columns = {
        name: view.columns for name, view in {**sound, **published, **(instead or {})}.items()
    }
    views = views_behind(library, await _identities(session, columns, instead or {}))
    _check_staying(views, composed)
    _check_readable(views, {**composed, **(instead or {})})
    relations = {label: columns[view] for label, view in views.items()}
    _check_shape(own_name, views, composed)
    names = {label: [column.name for column in found] for label, found in relations.items()}
    checked = check_sql(
        library.sql,
        relations=names,
        parameters=types_of(library.parameters),
        field=library.sql_field,
    )
    _check_used(library, checked)
    valued = checked.over_nulls()
    return ComposedView(
        name=own_name,
        definition=library.definition,
        description=library.description,
        columns=await describe(session, valued, relations, field=library.sql_field),
        sources={label: Source(view, tuple(names[label])) for label, view in views.items()},
        checked=checked,
        parameters=library.parameters,
    )


def _view_library(definition: Mapping[str, Any]) -> tuple[SqlLibrary, str]:
    """The SQLView and its name."""
    library = parse_library(definition)
    if library.kind == "sql-view" and library.name is not None:
        return library, library.name
    raise ViewDefinitionError(
        "an SQLQuery cannot be registered as a view",
        code="library_type",
        field="type",
        hint="Set the type to sql-view, which may have parameters too, or run it as it is.",
        allowed=("sql-view",),
    )


async def _identities(
    session: Session,
    names: Collection[str],
    instead: Mapping[str, CompiledView | ComposedView],
) -> dict[str, Identity]:
    """By what each of these views is named."""
    stored = await known_identities(session)
    given = {name: identity_of(view) for name, view in instead.items()}
    return {name: one for name, one in {**stored, **given}.items() if name in names}


def name_taken(name: str, what: str) -> ViewDefinitionError:
    """The refusal of a name that another view has."""
    return ViewDefinitionError(
        f'the name "{name}" is that of {what}',
        code="name_taken",
        field="name",
        hint="Give it another name, or drop that view first.",
    )


def _check_staying(views: Mapping[str, str], composed: Mapping[str, ComposedView]) -> None:
    """Refuses to build on what will be gone, or is only for whoever knows its name."""
    for view in views.values():
        if is_unlisted(view) or (view in composed and composed[view].expires_at is not None):
            raise ViewDefinitionError(
                "a view cannot stand on one that expires or is not listed",
                code="view_expires",
                field="relatedArtifact",
                hint="Write the other view's SQL as a WITH query, or register it to stay.",
            )


def _check_readable(
    views: Mapping[str, str], known: Mapping[str, CompiledView | ComposedView]
) -> None:
    """Refuses to build on a view that has no rows without values."""
    for name in views.values():
        view = known.get(name)
        if isinstance(view, ComposedView) and view.parameters:
            message, hint = unvalued(view)
            raise ViewDefinitionError(
                message, code="view_takes_parameters", field="relatedArtifact", hint=hint
            )


def _check_used(library: SqlLibrary, checked: CheckedSql) -> None:
    """Refuses a parameter that decides nothing: whoever gives it a value expects that it does."""
    used = set(checked.syntax.parameters.values())
    for number, parameter in enumerate(library.parameters):
        if parameter.name not in used:
            raise ViewDefinitionError(
                f"the SQL does not use the parameter '{parameter.name}'",
                code="parameter_unused",
                field=f"parameter[{number}]",
                hint=f"Use it as :{parameter.name}, or leave it out.",
            )


def _check_shape(name: str, views: Mapping[str, str], composed: Mapping[str, ComposedView]) -> None:
    """Bounds how composed views stand on one another."""
    level, relations = list(views.values()), 0
    for _level in range(LEVELS_MAX):
        if name in level:
            raise ViewDefinitionError(
                f'the view "{name}" would read itself',
                code="dependency_cycle",
                field="relatedArtifact",
                hint="Leave out the view that reads this one.",
            )
        relations += sum(view not in composed for view in level)
        level = [
            deeper
            for view in level
            if view in composed
            for deeper in composed[view].depends_on.values()
        ]
        if not level:
            break
    if level or relations > RELATIONS_MAX:
        raise ViewDefinitionError(
            "composed views stand on one another too often",
            code="too_many_relations",
            field="relatedArtifact",
            hint=f"Keep to {LEVELS_MAX} levels and {RELATIONS_MAX} relations in all.",
        )
