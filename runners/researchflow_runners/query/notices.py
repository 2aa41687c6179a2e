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


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence about the rows of which the condition is true."""

    condition: Sql
    told: str

    @property
    def of_group(self) -> Sql:
        """How many rows of a group there are."""
        return compose("count(*) FILTER (WHERE {})", self.condition)

    def over_rows(self) -> Notice:
        """Counted over an answer of rows."""
        return Notice(compose("{} OVER ()", self.of_group), self.told)

    def over_groups(self) -> Notice:
        """Counted over an answer of groups."""
        return Notice(compose("sum({}) OVER ()", self.of_group), self.told)


def counts_sql(notices: Sequence[Notice]) -> Sql:
    """The counts as one array."""
    if not notices:
        return fixed("NULL::bigint[]")
    return compose("ARRAY[{}]::bigint[]", join(", ", [notice.count for notice in notices]))


def warnings(notices: Sequence[Notice], counts: Sequence[int] | None) -> tuple[str, ...]:
    """The sentences of those that counted something, each once."""
    told = (
        notice.told.format(n=count)
        for notice, count in zip(notices, counts or (), strict=False)
        if count
    )
    return tuple(dict.fromkeys(told))
