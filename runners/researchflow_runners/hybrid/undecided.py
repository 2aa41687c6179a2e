"""Rows that a window of time neither keeps nor loses: a date in it is partial or missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import undecided_count
from researchflow_runners.query.model import AllOf, Event, Filter, Query, SubQuery, Within
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.query.walk import filters_of, other_of, parts_of
from researchflow_runners.sql import compose
from researchflow_runners.store.database import Session

WINDOWS_MAX = 4


class Window(NamedTuple):
    """A window, the view whose rows are asked, and what else they must meet."""

    view: str
    node: Within
    beside: tuple[Filter, ...]


async def undecided(
    session: Session, query: Query, catalogue: Catalogue, relations: Relations
) -> tuple[str, ...]:
    """A sentence for each of the first windows that leaves rows undecided, with how many."""
    windows = list(_windows(query))[:WINDOWS_MAX]
    if not windows or query.cursor is not None:
        return ()
    found = []
    for one in windows:
        scope = FilterScope(catalogue, relations)
        counted = undecided_count(one.node, one.view, one.beside, scope)
        count = await session.fetchval(compose("{}SELECT {}", scope.with_sql(), counted))
        if count:
            found.append(
                f'{count} rows of view "{one.view}" are undecided: their date, or that of an event '
                f'in "{one.node.within.of.view}", is partial or missing'
            )
    return tuple(found)


def _windows(asked: Query | SubQuery | Event) -> Iterator[Window]:
    filters = filters_of(asked)
    for number, where in enumerate(filters):
        yield from _in(asked.view, where, tuple(_others(filters, number)))


def _in(view: str, node: Filter, beside: tuple[Filter, ...]) -> Iterator[Window]:
    if isinstance(node, Within):
        yield Window(view, node, beside)
    parts = parts_of(node)
    for number, part in enumerate(parts):
        more = _others(parts, number) if isinstance(node, AllOf) else ()
        yield from _in(view, part, (*beside, *more))
    other = other_of(node)
    if other is not None:
        yield from _windows(other)


def _others(filters: Sequence[Filter], number: int) -> Sequence[Filter]:
    return [*filters[:number], *filters[number + 1 :]]
