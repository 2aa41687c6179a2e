"""Rows that a comparison of dates neither keeps nor loses: their date is too partial.

`1950` is neither before June 1950 nor after it, so no filter finds it and no `not` either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

from researchflow_runners.hybrid.absent import in_time
from researchflow_runners.hybrid.comparisons import Compared, Remembered
from researchflow_runners.query.columns import Catalogue, high_sql, low_sql
from researchflow_runners.query.filters import filter_truth
from researchflow_runners.query.model import Compare
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.sql import Sql, compose, fixed, join
from researchflow_runners.store.database import Session

PROBES_MAX = 12
CONSTANTS_SHOWN_MAX = 3

T = TypeVar("T")

_SOME = "EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {high} - {low} {wide})"
_COUNT = """\
(SELECT count(*) FROM {relation} AS {alias} WHERE {low} IS NOT NULL{beside} AND {undecided})\
"""


class PartialDates:
    """Counts such rows; remembers which columns of a state have no partial date."""

    def __init__(self) -> None:
        self._has_some: Remembered[bool] = Remembered()
        self._counts: Remembered[int] = Remembered()
        self._slow: Remembered[bool] = Remembered()

    async def warnings(
        self,
        session: Session,
        compared: Sequence[Compared],
        catalogue: Catalogue,
        relations: Relations,
        *,
        anchor: str | None,
        state: str | None,
        on: date,
    ) -> tuple[str, ...]:
        """A sentence for each; `anchor` tells the anchor's rows, `state` all rows that are read."""
        dated = [one for one in compared if one.column.has_range]
        scope = FilterScope(catalogue, relations, on=on)
        asked = dated[:PROBES_MAX]
        some = await self._with_some(session, asked, scope, anchor=anchor)
        if some is None:
            return tuple(map(_not_counted, asked))
        counts = await self._counted(session, some, scope, anchor=anchor, state=state)
        if counts is None:
            return tuple(map(_not_counted, some))
        told = (_told(one, count) for one, count in zip(some, counts, strict=True) if count)
        return tuple(dict.fromkeys((*told, *map(_not_counted, dated[PROBES_MAX:]))))

    async def _with_some(
        self, session: Session, asked: Sequence[Compared], scope: FilterScope, *, anchor: str | None
    ) -> list[Compared] | None:
        """Those whose column has dates that the constants may leave undecided."""
        keys = [f"{anchor} {one.view} {one.column.name} {_wide(one)}" for one in asked]
        held = self._has_some if anchor else Remembered[bool]()
        found = await self._values(session, held, keys, asked, _some, scope)
        if found is None:
            return None
        return [one for one, has_some in zip(asked, found, strict=True) if has_some]

    async def _counted(
        self,
        session: Session,
        asked: Sequence[Compared],
        scope: FilterScope,
        *,
        anchor: str | None,
        state: str | None,
    ) -> list[int] | None:
        """How many rows each leaves undecided."""
        keys = [f"{anchor} {one.key}" for one in asked]
        held = self._counts if state else Remembered[int]()
        return await self._values(session, held, keys, asked, _count, scope)

    async def _values(
        self,
        session: Session,
        held: Remembered[T],
        keys: Sequence[str],
        asked: Sequence[Compared],
        probe: Callable[[Compared, FilterScope], Sql],
        scope: FilterScope,
    ) -> list[T] | None:
        """What each probe gives, as remembered or asked now; None when that takes too long.

        What took too long once is not asked again: a composed view would be computed each time.
        """
        unknown = {key: one for key, one in zip(keys, asked, strict=True) if held.get(key) is None}
        if any(self._slow.get(key) for key in unknown):
            return None
        if unknown:
            probes = join(", ", [probe(one, scope) for one in unknown.values()])
            sql = compose("{}SELECT {}", scope.with_sql(), probes)
            row = await in_time(session, session.fetchrow(sql))
            if row is None:
                for key in unknown:
                    self._slow.keep(key, True)
                return None
            for key, value in zip(unknown, row.values(), strict=True):
                held.keep(key, value)
        found = [held.get(key) for key in keys]
        return [one for one in found if one is not None]


def _wide(one: Compared) -> str:
    """Of which length a date may be undecided: a day, where it is compared with a time of day."""
    given = [value for own in one.own for value in _values_of(own)]
    return ">= interval '1 day'" if any("T" in value for value in given) else "> interval '1 day'"


def _values_of(own: Compare) -> list[str]:
    return [str(one) for one in (own.value if isinstance(own.value, list) else [own.value])]


def _some(one: Compared, scope: FilterScope) -> Sql:
    rows = one.rows(scope)
    column = rows.column(one.column.name, at="where")
    return compose(
        _SOME,
        low=low_sql(rows.alias, column),
        high=high_sql(rows.alias, column),
        wide=fixed(_wide(one)),
        relation=rows.relation(scope),
        alias=rows.alias,
    )


def _count(one: Compared, scope: FilterScope) -> Sql:
    rows = one.rows(scope)
    column = rows.column(one.column.name, at="where")
    truths = [filter_truth(own, rows, scope, at="where", depth=1) for own in one.own]
    open_ = [compose("({}) IS NOT TRUE", truth.holds) for truth in truths]
    possible = [compose("({}) IS NOT TRUE", truth.fails) for truth in truths]
    undecided = compose("({}) AND {}", join(" OR ", open_), join(" AND ", possible))
    beside = one.beside_sql(rows, scope)
    return compose(
        _COUNT,
        low=low_sql(rows.alias, column),
        undecided=undecided,
        beside=beside,
        relation=rows.relation(scope),
        alias=rows.alias,
    )


def _told(one: Compared, count: int) -> str:
    rows, are = ("row", "is") if count == 1 else ("rows", "are")
    return (
        f'{count:,} {rows} of view "{one.view}" {are} undecided and left out: '
        f'"{one.column.name}" is too partial for {_constants(one)}'
    )


def _constants(one: Compared) -> str:
    return " and ".join(
        f"{own.op} {', '.join(_values_of(own)[:CONSTANTS_SHOWN_MAX])}" for own in one.own
    )


def _not_counted(one: Compared) -> str:
    return (
        f'rows of view "{one.view}" whose "{one.column.name}" is too partial for '
        f"{_constants(one)} are left out; counting them takes too long"
    )
