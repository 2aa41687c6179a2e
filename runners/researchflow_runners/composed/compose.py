"""A Library becomes a composed view over the views of a warehouse, or is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.definition import SqlLibrary, parse_library
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.stored import composed_views
from researchflow_runners.composed.view import ComposedView, Source
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import nearest
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
    instead: Mapping[str, Sequence[Column]] | None = None,
) -> ComposedView:
    """The SQLView over the views that the session's snapshot has; within a transaction.

    `instead` gives the columns that views of these names shall have. Raises ViewDefinitionError:
    those of parse_library, check_sql and describe, and `library_type` (an SQLQuery is no view),
    `name_taken`, `view_not_published`, `dependency_cycle` or `too_many_relations`.
    """
    library = parse_library(definition)
    if library.kind != "sql-view" or library.name is None:
        raise ViewDefinitionError(
            "an SQLQuery cannot be registered as a view",
            code="library_type",
            field="type",
            hint="Leave its parameters out and set the type to sql-view, or run it as it is.",
            allowed=("sql-view",),
        )
    composed = await composed_views(session)
    columns: dict[str, Sequence[Column]] = {
        name: view.columns for name, view in composed.items() if view.fault is None
    }
    published = await published_views(session)
    if library.name in published:
        raise name_taken(library.name, "a materialised view")
    columns |= {name: view.columns for name, view in published.items()} | dict(instead or {})
    relations = _relations(library, columns)
    _check_shape(library.name, library, composed)
    names = {label: [column.name for column in found] for label, found in relations.items()}
    checked = check_sql(library.sql, relations=names, field=library.sql_field)
    return ComposedView(
        name=library.name,
        definition=library.definition,
        description=library.description,
        columns=await describe(session, checked, relations, field=library.sql_field),
        sources={label: Source(view, tuple(names[label])) for label, view in library.views.items()},
        checked=checked,
    )


def name_taken(name: str, what: str) -> ViewDefinitionError:
    """The refusal of a name that another view has."""
    return ViewDefinitionError(
        f'the name "{name}" is that of {what}',
        code="name_taken",
        field="name",
        hint="Give it another name, or drop that view first.",
    )


def _relations(
    library: SqlLibrary, columns: Mapping[str, Sequence[Column]]
) -> dict[str, Sequence[Column]]:
    """The columns behind each label."""
    for dependency in library.depends_on:
        if dependency.view not in columns:
            raise ViewDefinitionError(
                f'there is no view "{dependency.view}" for the label "{dependency.label}"',
                code="view_not_published",
                field="relatedArtifact",
                allowed=sorted(columns),
                did_you_mean=nearest(dependency.view, columns),
                hint="Depend on a materialised or composed view, by its name or canonical URL.",
            )
    return {label: columns[view] for label, view in library.views.items()}


def _check_shape(name: str, library: SqlLibrary, composed: Mapping[str, ComposedView]) -> None:
    """Bounds how composed views stand on one another."""
    level, relations = list(library.views.values()), 0
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
