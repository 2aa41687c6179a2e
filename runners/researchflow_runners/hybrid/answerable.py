"""The views that a query may name: materialised ones, and composed ones that stand on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from researchflow_runners.composed.stored import composed_views, leaves
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import FreshnessError, QueryError
from researchflow_runners.sql import Sql
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views

AnswerableViews: TypeAlias = Mapping[str, PublishedView | ComposedView]


async def answerable_views(session: Session) -> AnswerableViews:
    """Every view that the session's snapshot can answer from, by name."""
    return {**await composed_views(session), **await published_views(session)}


def composed_among(views: AnswerableViews) -> dict[str, ComposedView]:
    """The composed ones."""
    return {name: view for name, view in views.items() if isinstance(view, ComposedView)}


def materialised(names: Sequence[str], views: AnswerableViews) -> tuple[PublishedView, ...]:
    """The materialised views that these are made of, each once.

    QueryError `view_not_published` names the first that is not there; its `field` is
    `depends_on` when a composed view is there and a view it reads is not.
    """
    found = []
    for name in leaves(names, composed_among(views)):
        view = views.get(name)
        if not isinstance(view, PublishedView):
            raise _not_published(name, names, views)
        found.append(view)
    return tuple(found)


def relation_of(
    name: str,
    columns: Collection[str],
    views: AnswerableViews,
    relation: Callable[[PublishedView], Sql],
) -> Sql:
    """The rows of a view with at least these columns, of the state that `relation` reads.

    A composed view keeps all its columns: its rows are told apart by them.
    """
    view = views[name]
    if isinstance(view, PublishedView):
        kept = tuple(column for column in view.columns if column.name in columns)
        if len(kept) < len(set(columns)):
            raise _lacks_columns(view, set(columns))
        return relation(replace(view, columns=kept))
    return view.relation(lambda other, read: relation_of(other, read, views, relation))


def _lacks_columns(view: PublishedView, columns: set[str]) -> FreshnessError:
    """A composed view is asked at an anchor whose views had other columns."""
    missing = sorted(columns - {column.name for column in view.columns})
    return FreshnessError(
        f'at that anchor view "{view.name}" had no column "{missing[0]}"',
        code="anchor_before_view",
        hint="ask the view itself at that anchor, or the composed view at a later one",
        field="as_of",
    )


def _not_published(name: str, names: Sequence[str], views: AnswerableViews) -> QueryError:
    is_asked = name in names
    return QueryError(
        f'view "{name}" is not materialised'
        if is_asked
        else f'view "{name}", which a composed view reads, is not materialised',
        code="view_not_published",
        hint="run refresh_views first",
        field="view" if is_asked else "depends_on",
        allowed=sorted(views),
    )
