"""What an answer is told about its rows: counted by the statement that gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.sql import Sql, compose, fixed, join


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence that is told when its count, a scalar of the statement, is above zero.

    `told` has `{n}` where the count stands.
    """

    count: Sql
    told: str


def of_rows(condition: Sql, told: str, *, grouped: bool) -> Notice:
    """Counts the rows for which the condition is true, over the whole answer."""
    counted = compose("count(*) FILTER (WHERE {})", condition)
    template = "sum({}) OVER ()" if grouped else "{} OVER ()"
    return Notice(compose(template, counted), told)


def counts_sql(notices: Sequence[Notice]) -> Sql:
    """The counts as one array."""
    if not notices:
        return fixed("NULL::bigint[]")
    return compose("ARRAY[{}]::bigint[]", join(", ", [notice.count for notice in notices]))


def warnings(notices: Sequence[Notice], counts: Sequence[int] | None) -> tuple[str, ...]:
    """The sentences of those that counted something."""
    return tuple(
        notice.told.format(n=count)
        for notice, count in zip(notices, counts or (), strict=False)
        if count
    )
