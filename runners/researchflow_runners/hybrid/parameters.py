"""The values that a question gives the view it asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from researchflow_runners.composed.parameters import values_of
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.query.model import Query


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
