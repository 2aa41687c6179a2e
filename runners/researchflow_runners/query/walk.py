"""A filter tree, node by node: what each node holds, and over which view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

from researchflow_runners.errors import QueryError
from researchflow_runners.query.model import (
    FILTER_DEPTH_MAX,
    AllOf,
    AnyOf,
    AtLeast,
    Compare,
    Event,
    Filter,
    InQuery,
    Latest,
    Not,
    Query,
    SubQuery,
    Within,
)

FILTER_NODES_MAX = 200

Asking = TypeVar("Asking", Query, SubQuery, Event)
Holder = TypeVar("Holder", Query, SubQuery, Event, Latest)
#: A comparison over the rows of a view as what stands in its place.
Change: TypeAlias = Callable[[str, Compare], Compare]


class Placed(NamedTuple):
    """A node and the view whose rows it is asked of."""

    view: str
    node: Filter


def parts_of(node: Filter) -> list[Filter]:
    """The filters that a node combines, over the rows of its own view."""
    match node:
        case AllOf():
            return node.all_of
        case AnyOf():
            return node.any_of
        case AtLeast():
            return node.at_least.of
        case Not():
            return [node.not_]
        case _:
            return []


def other_of(node: Filter) -> SubQuery | Event | None:
    """What a node asks of another view."""
    match node:
        case InQuery():
            return node.query
        case Within():
            return node.within.of
        case _:
            return None


def filters_of(asked: Query | SubQuery | Event) -> list[Filter]:
    """The filters over the rows of a question's own view."""
    found = [asked.where]
    if not isinstance(asked, Event):
        found += [one.where for one in (asked.latest_per, asked.first_per) if one is not None]
    return [one for one in found if one is not None]


def nodes_of(query: Query) -> Iterator[Placed]:
    """Every node of a question's filters, the outer ones first.

    QueryError `filter_too_large`: ask this first, the walk needs no stack and so no bound.
    """
    pending = [(Placed(query.view, one), 1) for one in filters_of(query)]
    nodes = 0
    while pending:
        placed, depth = pending.pop(0)
        nodes += 1
        check_size(depth, nodes, at="where")
        yield placed
        pending += [(Placed(placed.view, part), depth + 1) for part in parts_of(placed.node)]
        other = other_of(placed.node)
        if other is not None:
            pending += [(Placed(other.view, one), depth + 1) for one in filters_of(other)]


def views_of(query: Query) -> tuple[str, ...]:
    """The names of all views the query reads, its own first, each once.

    QueryError `filter_too_large`.
    """
    others = (other_of(placed.node) for placed in nodes_of(query))
    return tuple(dict.fromkeys([query.view, *(other.view for other in others if other)]))


def rewritten(asked: Asking, change: Change) -> Asking:
    """The question with every comparison of its filters, given with its view, changed."""
    changed = _with_filter(asked, asked.view, change)
    if isinstance(asked, Event):
        return changed
    latest = {
        name: _with_filter(one, asked.view, change)
        for name, one in (("latest_per", asked.latest_per), ("first_per", asked.first_per))
        if one is not None
    }
    return changed.model_copy(update=latest)


def _with_filter(holder: Holder, view: str, change: Change) -> Holder:
    if holder.where is None:
        return holder
    return holder.model_copy(update={"where": _rewritten(view, holder.where, change)})


def _rewritten(view: str, where: Filter, change: Change) -> Filter:
    if isinstance(where, Compare):
        return change(view, where)
    parts = [_rewritten(view, part, change) for part in parts_of(where)]
    match where:
        case AllOf():
            return where.model_copy(update={"all_of": parts})
        case AnyOf():
            return where.model_copy(update={"any_of": parts})
        case AtLeast():
            several = where.at_least.model_copy(update={"of": parts})
            return where.model_copy(update={"at_least": several})
        case Not():
            return where.model_copy(update={"not_": parts[0]})
        case InQuery():
            return where.model_copy(update={"query": rewritten(where.query, change)})
        case Within():
            event = rewritten(where.within.of, change)
            window = where.within.model_copy(update={"of": event})
            return where.model_copy(update={"within": window})


def check_size(depth: int, nodes: int, *, at: str) -> None:
    """QueryError `filter_too_large` beyond the bounds."""
    if depth <= FILTER_DEPTH_MAX and nodes <= FILTER_NODES_MAX:
        return
    raise QueryError(
        "the filter is too large",
        code="filter_too_large",
        hint=f"nest at most {FILTER_DEPTH_MAX} deep and use at most {FILTER_NODES_MAX} filters",
        field=at,
    )
