"""One SELECT under construction: its FROM items, conditions and cells.

A cell is evaluated before the iterations that do not concern it, so that what a resource has once
is computed once, however many rows it gets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from researchflow_runners.compiler.cells import cell
from researchflow_runners.compiler.column import Column
from researchflow_runners.compiler.expr import Expr, numbered, unnumbered
from researchflow_runners.compiler.nodes import Constant, Focus, ResourceId, RowIndex
from researchflow_runners.compiler.periods import high, low
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.sharing import Stage, share
from researchflow_runners.compiler.united import Offer
from researchflow_runners.compiler.whole import whole
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join

WHOLE = "(SELECT coalesce(w.v -> 'v', 'null'), w.v FROM {} AS w(v))"
WHOLE_NUMBERED = "(SELECT coalesce(w.v -> 'v', 'null'), w.n, w.v FROM {} AS w(v, n))"
#: Nodes that cost nothing to evaluate again.
FREE = (ResourceId, RowIndex, Constant)
#: So many cells that cost next to nothing are worth a FROM item.
EARLY_MIN = 3


@dataclass(frozen=True)
class Cell:
    """One column and where its value comes from.

    `expr` reads FROM items of the same body, the first `after` of them; `read` a column of a
    subquery. With `nullable`, the alias of an iteration that may be the null row, on which every
    column is NULL.
    """

    offer: Offer
    expr: Expr | None = None
    read: Sql = EMPTY
    after: int = 0
    nullable: str | None = None
    is_row_index: bool = False

    @property
    def column(self) -> Column:
        """The column as the view gives it."""
        return self.offer.column


@dataclass(frozen=True)
class Iteration:
    """The items of a path as a FROM item, `numbered` with a column `n` or not.

    `items` is the path's node; None for a walk.
    """

    alias: str
    unnumbered: Sql
    numbered: Sql
    or_null: bool
    items: Expr | None = None
    is_whole: bool = False

    def whole(self, scope: Scope) -> Iteration:
        """The iteration with the whole items, as a column `w`, when something asks for these."""
        if self.items is None or self.alias not in scope.wholes:
            return self
        items = whole(self.items, scope)
        return replace(
            self,
            unnumbered=compose(WHOLE, unnumbered(items)),
            numbered=compose(WHOLE_NUMBERED, numbered(items)),
            is_whole=True,
        )

    def item(self, *, is_numbered: bool) -> Sql:
        """The FROM item; a row that stands for no item has no `v`."""
        found, columns = (self.numbered, "v, n") if is_numbered else (self.unnumbered, "v")
        columns += ", w" if self.is_whole else ""
        template = "CROSS JOIN LATERAL {} AS {}" + f"({columns})"
        if self.or_null:
            template = "LEFT JOIN LATERAL {} AS {}" + f"({columns}) ON true"
        return compose(template, found, fixed(self.alias))


@dataclass(frozen=True)
class Value:
    """The SQL of a cell, and that of a date's period where it is computed beside it."""

    sql: Sql
    period: tuple[Sql, Sql] | None = None

    def of(self, alias: str, number: int) -> Value:
        """The value as the column of a subquery, which `outputs` named."""
        value, *period = (fixed(f"{alias}.{letter}{number}") for letter in "clh")
        return Value(value, (period[0], period[1]) if self.period is not None else None)


Values: TypeAlias = dict[int, Value]


@dataclass(frozen=True)
class Whole:
    """What the statement of a view is made of, besides its documents `d`.

    Each stage adds its columns to those of `d`; `conditions` hold before the stage of that number,
    those after the last stage are in `tail`.
    """

    order: Sql
    values: Values
    stages: list[Stage]
    conditions: Mapping[int, Sequence[Sql]]
    tail: Sql


@dataclass
class Body:
    """FROM items, cells and conditions of one SELECT.

    `several` has the numbers of the items that may make several rows of one. `orders` are the
    iterations among them; None when something else, such as a union, is one too. Of each of
    `root_keys` the resource must have a member for there to be a row.
    """

    items: list[Sql | Iteration] = field(default_factory=list)
    conditions: list[Sql] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    several: list[int] = field(default_factory=list)
    orders: list[str] | None = field(default_factory=list)
    root_keys: list[frozenset[str]] = field(default_factory=list)

    def add(self, item: Sql | Iteration, *, several: bool) -> None:
        """Adds a FROM item."""
        if several:
            self.several.append(len(self.items))
            if not isinstance(item, Iteration):
                self.orders = None
            elif self.orders is not None:
                self.orders.append(item.alias)
        self.items.append(item)

    def select(self, scope: Scope, *extra: Sql) -> Sql:
        """The body as a SELECT whose columns are `extra` and then `c0`, `c1` …."""
        values, items = self._evaluated(scope, range(len(self.cells)), periods=False)
        return _select([*extra, *outputs(values)], items, self.conditions)

    def whole(self, scope: Scope, criteria: Sequence[Expr]) -> Whole:
        """The body as that of a view, for the resources that meet the criteria."""
        once, stages, conditions = self._evaluated_once(scope, criteria)
        is_numbered = self.orders is not None and len(self.orders) <= 1
        scope.numbered.update(self.orders or () if is_numbered else ())
        inner, items = self._evaluated(
            scope, [n for n in range(len(self.cells)) if n not in once], periods=True
        )
        last = conditions.pop(len(stages), [])
        if is_numbered:
            # One iteration numbers the rows itself; its null row has no number.
            number = f"coalesce({self.orders[0]}.n, 1)::integer" if self.orders else "1"
            tail = _tail(items, [*last, *self.conditions])
            return Whole(fixed(number), _sorted(once | inner), stages, conditions, tail)
        # Numbered within the resource, so that rows have a total order. What a resource has once
        # stays outside, because numbering copies each row.
        number = "row_number() OVER ()::integer AS _ord"
        rows = _select([fixed(number), *outputs(inner)], items, self.conditions)
        values = _sorted(once | {n: value.of("x", n) for n, value in inner.items()})
        tail = _tail([compose("CROSS JOIN LATERAL ({}) AS x", rows)], last)
        return Whole(fixed("x._ord"), values, stages, conditions, tail)

    def _evaluated_once(
        self, scope: Scope, criteria: Sequence[Expr]
    ) -> tuple[Values, list[Stage], dict[int, list[Sql]]]:
        """Cells of the resource, the stages that they need, and the criteria as conditions."""
        cells = {n: one for n, one in enumerate(self.cells) if one.expr and one.after == 0}
        exprs = [one.expr for one in cells.values() if one.expr is not None]
        shared = share([*criteria, *exprs], scope, alias="d")
        conditions: dict[int, list[Sql]] = defaultdict(list)
        for expr, depth in zip(shared.exprs[: len(criteria)], shared.depths, strict=False):
            conditions[depth].append(compose("({})", expr.boolean()))
        replaced = shared.exprs[len(criteria) :]
        found = {
            n: _value(one, expr) for (n, one), expr in zip(cells.items(), replaced, strict=True)
        }
        values = {n: Value(one) for n, one in found.items()}
        stages = list(shared.stages)
        if self.several:
            costly = {n: one for n, one in found.items() if not isinstance(cells[n].expr, FREE)}
            early, added = _early(self.cells, costly, scope, alias="d", periods=True)
            values |= early
            stages += added
        return values, stages, conditions

    def _evaluated(
        self, scope: Scope, numbers: Iterable[int], *, periods: bool
    ) -> tuple[Values, list[Sql]]:
        """The cells of those numbers, and the FROM items with those that the cells need.

        With `periods`, dates that are evaluated before other items get their period there.
        """
        values = {n: Value(self.cells[n].read) for n in numbers}
        added: dict[int, list[Stage]] = defaultdict(list)
        for place, here in self._places(values).items():
            exprs = [one for n in here if (one := self.cells[n].expr) is not None]
            shared = share(exprs, scope)
            added[place] += shared.stages
            found = {
                n: _value(self.cells[n], expr) for n, expr in zip(here, shared.exprs, strict=True)
            }
            if place < len(self.items):
                early, stages = _early(self.cells, found, scope, periods=periods)
                values |= early
                added[place] += stages
            else:
                values |= {n: Value(one) for n, one in found.items()}
        items: list[Sql] = []
        # From the inside out: what is asked of an inner item may be asked of an outer one.
        found_items = [
            one.whole(scope) if isinstance(one, Iteration) else one for one in reversed(self.items)
        ]
        for place, item in enumerate([*reversed(found_items), EMPTY]):
            if isinstance(item, Iteration):
                item = item.item(is_numbered=item.alias in scope.numbered)
            items += [*map(_lateral, added[place]), item]
        return values, items[:-1]

    def _places(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """Numbers of cells by how many items stand before their evaluation."""
        last, end = max(self.several, default=-1), len(self.items)
        places: dict[int, list[int]] = defaultdict(list)
        for number in numbers:
            one = self.cells[number]
            if one.expr is not None:
                is_early = one.after <= last and not isinstance(one.expr, FREE)
                places[one.after if is_early else end].append(number)
        for place in [one for one in places if one < end]:
            if len(places[place]) < EARLY_MIN and all(map(self._is_plain, places[place])):
                places[end] += places.pop(place)
        return places

    def _is_plain(self, number: int) -> bool:
        """Whether to evaluate the cell costs less than a FROM item."""
        expr = self.cells[number].expr
        path = None if expr is None else expr.path()
        return path is not None and path.keys is not None and isinstance(path.base, Focus)


def _early(
    cells: Sequence[Cell],
    found: Mapping[int, Sql],
    scope: Scope,
    *,
    alias: str | None = None,
    periods: bool,
) -> tuple[Values, list[Stage]]:
    """Cells that are evaluated in stages of their own, and these."""
    values, starts, ends = (Stage(alias or scope.alias("e")) for _ in range(3))
    early: Values = {}
    for number, sql in found.items():
        value = values.add(sql, scope)
        early[number] = Value(value)
        if periods and cells[number].column.has_range:
            start = starts.add(low(value), scope)
            early[number] = Value(value, (start, ends.add(high(value, start), scope)))
    return early, [one for one in (values, starts, ends) if one.columns]


def outputs(values: Values) -> list[Sql]:
    """The values as `c0`, `c1` …, and periods that are known as `l0`, `h0` …."""
    named = []
    for number, value in values.items():
        named.append(compose("{} AS {}", value.sql, fixed(f"c{number}")))
        if value.period is not None:
            start, end = value.period
            named.append(compose("{} AS {}", start, fixed(f"l{number}")))
            named.append(compose("{} AS {}", end, fixed(f"h{number}")))
    return named


def _sorted(values: Values) -> Values:
    return dict(sorted(values.items()))


def _lateral(stage: Stage) -> Sql:
    """OFFSET 0 keeps PostgreSQL from copying the expressions to where they are read."""
    columns = join(", ", stage.columns)
    return compose("CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS {}", columns, fixed(stage.alias))


def _select(columns: Sequence[Sql], items: Sequence[Sql], conditions: Sequence[Sql]) -> Sql:
    tail = _tail(items, conditions)
    return compose("SELECT {} FROM (SELECT) AS o{}", join(", ", columns), tail)


def _tail(items: Sequence[Sql], conditions: Sequence[Sql]) -> Sql:
    """FROM items and the WHERE clause."""
    where = compose(" WHERE {}", join(" AND ", conditions)) if conditions else EMPTY
    return compose("{}{}", join("", [compose(" {}", one) for one in items]), where)


def _value(planned: Cell, expr: Expr) -> Sql:
    value = cell(planned.column, expr)
    if planned.nullable is None or isinstance(expr, RowIndex):
        return value
    return compose("CASE WHEN {}.v IS NOT NULL THEN {} END", fixed(planned.nullable), value)
