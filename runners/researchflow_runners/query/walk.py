"""A filter tree, node by node: what each node holds, and over which view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

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
    Not,
    Query,
    SubQuery,
    Within,
)

FILTER_NODES_MAX = 200


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


def nodes_of(view: str, where: Filter | None) -> Iterator[Placed]:
    """Every node of a filter, the outer ones first.

    QueryError `filter_too_large`: ask this first, the walk needs no stack and so no bound.
    """
    pending = [(Placed(view, where), 1)] if where is not None else []
    nodes = 0
    while pending:
        placed, depth = pending.pop(0)
        nodes += 1
        check_size(depth, nodes, at="where")
        yield placed
        pending += [(Placed(placed.view, part), depth + 1) for part in parts_of(placed.node)]
        other = other_of(placed.node)
        if other is not None and other.where is not None:
            pending.append((Placed(other.view, other.where), depth + 1))


def views_of(query: Query) -> tuple[str, ...]:
    """The names of all views the query reads, its own first, each once.

    QueryError `filter_too_large`.
    """
    others = (other_of(placed.node) for placed in nodes_of(query.view, query.where))
    return tuple(dict.fromkeys([query.view, *(other.view for other in others if other)]))


def rewritten(view: str, where: Filter, change: Callable[[str, Compare], Compare]) -> Filter:
    """The filter with every comparison, given with its view, changed."""
    if isinstance(where, Compare):
        return change(view, where)
    parts = [rewritten(view, part, change) for part in parts_of(where)]
    other = other_of(where)
    if other is not None and other.where is not None:
        inner = rewritten(other.view, other.where, change)
        other = other.model_copy(update={"where": inner})
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
            return where.model_copy(update={"query": other})
        case Within():
            window = where.within.model_copy(update={"of": other})
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
