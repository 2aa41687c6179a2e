"""The values that a question gives the view it asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from researchflow_runners.composed.parameters import values_of
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.hybrid.absent import absent_among, is_nothing
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.reading import Read
from researchflow_runners.hybrid.sql_equalities import equalities
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.model import Query
from researchflow_runners.query.rows import Relations
from researchflow_runners.query.walk import Placed
from researchflow_runners.store.database import Session


def with_values(query: Query, names: Iterable[str], views: AnswerableViews) -> AnswerableViews:
    """The views, the asked one with its values.

    QueryError as `values_of`; `view_takes_parameters` for another view of the question that takes
    some, for the values are of the one it asks.
    """
    asked = views[query.view]
    if isinstance(asked, ComposedView) and asked.parameters:
        values = values_of(query.view, asked.parameters, query.parameters)
        views = {**views, query.view: replace(asked, values=values)}
    else:
        values_of(query.view, (), query.parameters)
    require_values(names, views, field="view")
    return views


def require_values(names: Iterable[str], views: AnswerableViews, *, field: str) -> None:
    """QueryError `view_takes_parameters` names the first of the views that lacks its values."""
    for name in names:
        view = views.get(name)
        if isinstance(view, ComposedView):
            view.require_values(field)


async def told_of_values(
    session: Session,
    query: Query,
    read: Read,
    views: AnswerableViews,
    catalogue: Catalogue,
    relations: Relations,
) -> Read:
    """The page, with a warning for what the asked view's SQL compares a column with and no row
    has, where it is an answer of nothing: a value may be mistaken as a filter's may."""
    view = views[query.view]
    is_one_row = bool(query.aggregates) and not query.group_by
    if not isinstance(view, ComposedView) or not view.values or view.checked is None:
        return read
    if query.cursor is not None or not is_nothing(read.page, is_one_row=is_one_row):
        return read
    labelled = {label: catalogue[name] for label, name in view.depends_on.items()}
    found = equalities(view.checked, query.parameters, labelled)
    placed = [Placed(view.depends_on[one.view], one.node) for one in found]
    told = await absent_among(session, placed, catalogue, relations)
    warnings = (*read.statement.warnings, *told)
    return replace(read, statement=replace(read.statement, warnings=warnings))
