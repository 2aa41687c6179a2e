"""A filter tree, node by node: what each node holds, and over which view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.group_model import AgeGroup, Aggregate
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
from researchflow_runners.query.reach import PATIENT, views_lending

FILTER_NODES_MAX = 200

Asking = TypeVar("Asking", Query, SubQuery, Event)
Holder = TypeVar("Holder", Query, SubQuery, Event, Latest)
#: Aggregates whose values are values of their column.
OF_COLUMN = frozenset({"min", "max", "median", "percentile", "any_value"})
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
    """Every node of a question's filters, of `having` too, the outer ones first.

    QueryError `filter_too_large`: ask this first, the walk needs no stack and so no bound.
    """
    pending = [(Placed(query.view, one), 1) for one in _all_filters(query)]
    nodes = 0
    while pending:
        placed, depth = pending.pop(0)
        nodes += 1
        check_size(depth, nodes, at="where")
        yield placed
        pending += [(Placed(placed.view, part), depth + 1) for part in parts_of(placed.node)]
        other = other_of(placed.node)
        if other is not None:
            pending += [(Placed(other.view, one), depth + 1) for one in _all_filters(other)]


class Conjunct(NamedTuple):
    """A node, the view whose rows it is asked of, and what else those rows must meet."""

    view: str
    node: Filter
    beside: tuple[Filter, ...]


def conjuncts_of(asked: Query | SubQuery | Event) -> Iterator[Conjunct]:
    """Every node of the filters over rows with what stands beside it, the outer ones first."""
    filters = filters_of(asked)
    for number, where in enumerate(filters):
        yield from _conjuncts(asked.view, where, _others(filters, number))


def _conjuncts(view: str, node: Filter, beside: tuple[Filter, ...]) -> Iterator[Conjunct]:
    yield Conjunct(view, node, beside)
    parts = parts_of(node)
    for number, part in enumerate(parts):
        more = _others(parts, number) if isinstance(node, AllOf) else ()
        yield from _conjuncts(view, part, (*beside, *more))
    other = other_of(node)
    if other is not None:
        yield from conjuncts_of(other)


def _others(filters: Sequence[Filter], number: int) -> tuple[Filter, ...]:
    return (*filters[:number], *filters[number + 1 :])


def _all_filters(asked: Query | SubQuery | Event) -> list[Filter]:
    having = None if isinstance(asked, Event) else asked.having
    return [*filters_of(asked), *([having] if having is not None else [])]


def views_of(query: Query, catalogue: Catalogue) -> tuple[str, ...]:
    """The names of all views the query reads, its own first, each once.

    Views that are reached by a word are found in the catalogue; QueryError `filter_too_large`.
    """
    names, columns = [query.view], list(_columns_of(query))
    for placed in nodes_of(query):
        columns += _columns_in(placed.node)
        other = other_of(placed.node)
        if other is not None:
            names.append(other.view)
            columns += _columns_of(other)
    words = [name.partition(".")[0] for name in columns if "." in name]
    return tuple(dict.fromkeys([*names, *views_lending(words, catalogue)]))


def _columns_in(node: Filter) -> Iterator[str]:
    """The columns that a node names of its own rows."""
    if isinstance(node, Compare | InQuery | Within):
        yield node.column
    if isinstance(node, Within) and node.within.date is not None:
        yield node.within.date


def _columns_of(asked: Query | SubQuery | Event) -> Iterator[str]:
    """The columns that a question names of its own rows outside of its filters."""
    if isinstance(asked, Event):
        yield from (asked.column, asked.date or "")
        return
    for latest in (asked.latest_per, asked.first_per):
        if latest is not None:
            yield from (*latest.keys, latest.by or "")
    for one in asked.aggregates:
        yield from (one.column or "", one.age_at or "", one.by or "")
        yield from _birth(one)
    if isinstance(asked, SubQuery):
        yield asked.column
        return
    yield from asked.columns or ()
    for group in asked.group_by:
        yield group if isinstance(group, str) else group.column or ""
        if isinstance(group, AgeGroup):
            yield from (group.age_at or "", *_birth(group))


def _birth(asked: Aggregate | AgeGroup) -> Iterator[str]:
    """An age without a date of birth may be that of the patient."""
    if asked.age_at is not None and asked.column is None:
        yield f"{PATIENT}."


def rewritten(asked: Asking, change: Change) -> Asking:
    """The question with every comparison of its filters, given with its view, changed."""
    changed = _with_filter(asked, asked.view, change)
    if isinstance(asked, Event):
        return changed
    parts: dict[str, object] = {
        name: _with_filter(one, asked.view, change)
        for name, one in (("latest_per", asked.latest_per), ("first_per", asked.first_per))
        if one is not None
    }
    if asked.having is not None:
        parts["having"] = _rewritten(asked.view, asked.having, _of_answer(asked, change))
    return changed.model_copy(update=parts)


def _of_answer(asked: Query | SubQuery, change: Change) -> Change:
    """The change of a comparison over the columns of an answer, which stand for those they are
    made of."""
    sources = {one.output_name: one.column for one in asked.aggregates if one.fn in OF_COLUMN}

    def changed(_view: str, compare: Compare) -> Compare:
        source = sources.get(compare.column, compare.column)
        if source is None:
            return compare
        given = change(asked.view, compare.model_copy(update={"column": source}))
        return given.model_copy(update={"column": compare.column})

    return changed


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
