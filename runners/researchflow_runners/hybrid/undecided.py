"""Rows that a window of time neither keeps nor loses: a date in it is partial or missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import undecided_count
from researchflow_runners.query.model import Filter, Query, Within
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.query.walk import conjuncts_of
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


def _windows(query: Query) -> Iterator[Window]:
    for view, node, beside in conjuncts_of(query):
        if isinstance(node, Within):
            yield Window(view, node, beside)
