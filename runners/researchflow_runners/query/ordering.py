"""The columns that an answer is sorted by, and their names."""

from __future__ import annotations

import json
from collections.abc import Sequence

from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.query.keyset import SortKey
from researchflow_runners.query.model import Query
from researchflow_runners.query.outputs import Key, Output


def sort_key(key: Key, *, descending: bool = False) -> SortKey:
    """The key as one of an answer's total order."""
    return SortKey(key[0], key[1], descending)


def ordered(query: Query, outputs: Sequence[Output]) -> list[SortKey]:
    """What the question sorts by, all of it columns of the answer."""
    by_name = {output.column.name: output for output in outputs}
    keys: list[SortKey] = []
    for position, order in enumerate(query.order_by):
        at = f"order_by[{position}].column"
        output = by_name.get(order.column)
        if output is None:
            raise QueryError(
                f'the answer has no column "{order.column}" to sort by',
                code="unknown_column",
                hint=_how_to_show(query, order.column),
                field=at,
                allowed=sorted(by_name),
                did_you_mean=nearest(order.column, by_name),
            )
        check_sortable(output, at=at)
        keys.extend(sort_key(key, descending=order.descending) for key in output.keys)
    return keys


def _how_to_show(query: Query, column: str) -> str:
    """How the answer gets a column of that name."""
    if not query.group_by and not query.aggregates:
        return "sort by a column of the answer: add it to columns, or leave columns out"
    example = json.dumps({"fn": "min", "column": column})
    return f"groups are sorted by what they show: add it to group_by, or aggregate it: {example}"


def check_sortable(output: Output, *, at: str) -> None:
    """QueryError `operator_not_allowed` for a column that has no order."""
    if output.keys:
        return
    raise QueryError(
        f'column "{output.column.name}" holds lists or elements and has no order',
        code="operator_not_allowed",
        hint="sort and group by single values",
        field=at,
    )


def check_names(outputs: Sequence[Output], *, at: str) -> None:
    """QueryError `duplicate_column` where two columns have one name."""
    seen: set[str] = set()
    for output in outputs:
        if output.column.name in seen:
            raise QueryError(
                f'the answer would have two columns named "{output.column.name}"',
                code="duplicate_column",
                hint="ask for each column once, and give aggregates names of their own",
                field=at,
            )
        seen.add(output.column.name)
