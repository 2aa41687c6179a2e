"""Codes that a question asks for and no row has: why an answer of nothing may be a mistake.

Looked for only when nothing was found, so that an answer with rows costs nothing more. What does
occur is told of columns that carry codes alone, and never of texts or ids, which may be somebody's.
"""

from __future__ import annotations

from collections.abc import Iterator

from researchflow_runners.naming import nearest
from researchflow_runners.query.columns import Catalogue, value_sql
from researchflow_runners.query.comparison import compare_truth
from researchflow_runners.query.model import AllOf, AnyOf, Compare, Filter, InQuery, Not, Query
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.query.statement import Page
from researchflow_runners.query.walk import filters_of
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Session

#: Comparisons of which no row may be true because the code is written otherwise.
_MATCHING = frozenset({"eq", "in", "contains", "starts_with"})
PROBES_MAX = 8
VALUES_SHOWN_MAX = 5
#: More values than this are not compared for the nearest one.
VALUES_COMPARED_MAX = 1_000

_EXISTS = "SELECT EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {holds})"
_OCCURRING = """
SELECT {value} AS v FROM {relation} AS {alias} WHERE {value} IS NOT NULL
GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {most}
"""


def is_nothing(query: Query, page: Page) -> bool:
    """Whether the page is an answer of nothing: no rows, or counts that are all 0."""
    if query.cursor is not None:
        return False
    if query.aggregates and not query.group_by:
        return all(value in (0, None) for row in page.rows for value in row)
    return not page.rows


async def absent_codes(
    session: Session, query: Query, catalogue: Catalogue, relations: Relations
) -> tuple[str, ...]:
    """A sentence for each filter on a coded column that no row of its view meets."""
    asked = [
        (view, where)
        for own in filters_of(query)
        for view, where in _compared(query.view, own)
        if where.op in _MATCHING and _is_coded(where, view, catalogue)
    ]
    found = []
    for view, where in asked[:PROBES_MAX]:
        scope = FilterScope(catalogue, relations)
        rows = scope.rows(view, at="view")
        column = rows.column(where.column, at="where")
        holds = compare_truth(where, column, rows.alias, field="where").holds
        relation = rows.relation(scope)
        exists = compose(_EXISTS, relation=relation, alias=rows.alias, holds=holds)
        if not await session.fetchval(exists):
            occurring = compose(
                _OCCURRING,
                value=value_sql(rows.alias, column),
                relation=relation,
                alias=rows.alias,
                most=param(VALUES_COMPARED_MAX, "bigint"),
            )
            values = [str(row["v"]) for row in await session.fetch(occurring)]
            found.append(_told(view, where, values))
    return tuple(found)


def _is_coded(where: Compare, view: str, catalogue: Catalogue) -> bool:
    return any(
        column.name == where.column and column.system is not None and column.is_text
        for column in catalogue[view]
    )


def _told(view: str, where: Compare, values: list[str]) -> str:
    what = f'no row of view "{view}" has such a value in "{where.column}"'
    if not values:
        return f"{what}: the column is empty in this data; another may carry the codes"
    shown = ", ".join(values[:VALUES_SHOWN_MAX])
    asked = where.value if isinstance(where.value, list) else [where.value]
    guess = next((near for one in asked if (near := nearest(str(one), values))), None)
    meant = f'; did you mean "{guess}"?' if guess else ""
    return f"{what}; most frequent there: {shown}{meant}"


def _compared(view: str, where: Filter | None) -> Iterator[tuple[str, Compare]]:
    """The comparisons that must hold for a row to be found, each with its view."""
    match where:
        case Compare():
            yield view, where
        case InQuery(op="in"):
            for one in filters_of(where.query):
                yield from _compared(where.query.view, one)
        case AnyOf():
            for one in where.any_of:
                yield from _compared(view, one)
        case AllOf():
            for one in where.all_of:
                yield from _compared(view, one)
        case Not() | InQuery() | None:
            return
