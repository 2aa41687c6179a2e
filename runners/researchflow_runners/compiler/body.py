"""One SELECT under construction: its FROM items, conditions and cells.

A cell is evaluated before the iterations that do not concern it, so that what a resource has once
is computed once, however many rows it gets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from researchflow_runners.compiler.cells import cell
from researchflow_runners.compiler.column import Column
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Constant, ResourceId, RowIndex
from researchflow_runners.compiler.periods import high, low
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.sharing import share
from researchflow_runners.compiler.united import Offer
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join

#: Nodes that cost nothing to evaluate again.
FREE = (ResourceId, RowIndex, Constant)
LATERAL = "CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS {}"


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
class Value:
    """The SQL of a cell, and that of a date's period where it is computed beside it."""

    sql: Sql
    period: tuple[Sql, Sql] | None = None


@dataclass
class Body:
    """FROM items, criteria, conditions and cells of one SELECT.

    `criteria` are of the resource; they become conditions, with what they share with cells.
    `several` has the numbers of the items that may make several rows of one. `orders` are the
    iterations among them; None when something else, such as a union, is one too. `dated` are the
    numbers of the cells whose period `selected` gave. Of each of `root_keys` the resource must have
    a member for there to be a row.
    """

    items: list[Sql] = field(default_factory=list)
    criteria: list[Expr] = field(default_factory=list)
    conditions: list[Sql] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    several: list[int] = field(default_factory=list)
    orders: list[str] | None = field(default_factory=list)
    dated: frozenset[int] = frozenset()
    root_keys: list[frozenset[str]] = field(default_factory=list)

    def add(self, item: Sql, *, several: bool, iteration: str | None = None) -> None:
        """Adds a FROM item; `iteration` is the alias of one whose `n` numbers its rows."""
        if several:
            self.several.append(len(self.items))
            if iteration is None:
                self.orders = None
            elif self.orders is not None:
                self.orders.append(iteration)
        self.items.append(item)

    def select(self, scope: Scope, *extra: Sql, periods: bool = False) -> Sql:
        """The body as a SELECT whose columns are `extra` and then those of `outputs`."""
        named = outputs(self.selected(scope, periods=periods))
        return compose("SELECT {} FROM (SELECT) AS o{}", join(", ", [*extra, *named]), self.tail())

    def tail(self) -> Sql:
        """The FROM items and the WHERE clause."""
        where = compose(" WHERE {}", join(" AND ", self.conditions)) if self.conditions else EMPTY
        return compose("{}{}", join("", [compose(" {}", one) for one in self.items]), where)

    def selected(self, scope: Scope, *, periods: bool) -> list[Value]:
        """The value of each cell, with the FROM items that it needs added; call it once.

        With `periods`, dates that are evaluated before other items get their period there.
        """
        values = {number: Value(one.read) for number, one in enumerate(self.cells)}
        added: dict[int, list[Sql]] = {}
        criteria = self.criteria
        for place, numbers in sorted(self._places().items()):
            cells = [self.cells[number] for number in numbers]
            exprs = [one.expr for one in cells if one.expr is not None]
            replaced, added[place] = share([*criteria, *exprs], lambda: scope.alias("k"))
            self.conditions += [compose("({})", one.boolean()) for one in replaced[: len(criteria)]]
            replaced, criteria = replaced[len(criteria) :], []
            found = [_value(one, expr) for one, expr in zip(cells, replaced, strict=True)]
            if cells and place < len(self.items):
                early = _Early(scope, cells, found)
                added[place] += early.items(periods=periods)
                values |= zip(numbers, early.values, strict=True)
            else:
                values |= zip(numbers, map(Value, found), strict=True)
        self.items = [
            one
            for place, item in enumerate([*self.items, None])
            for one in (*added.get(place, ()), item)
            if one is not None
        ]
        self.dated = frozenset(n for n, value in values.items() if value.period is not None)
        return [values[number] for number in range(len(self.cells))]

    def _places(self) -> dict[int, list[int]]:
        """Numbers of cells by how many items stand before their evaluation."""
        last = max(self.several, default=-1)
        places: dict[int, list[int]] = defaultdict(list)
        if self.criteria:
            places[0 if self.several else len(self.items)] = []
        for number, one in enumerate(self.cells):
            if one.expr is not None:
                is_early = one.after <= last and not isinstance(one.expr, FREE)
                places[one.after if is_early else len(self.items)].append(number)
        return places


@dataclass
class _Early:
    """Cells that are evaluated in FROM items of their own."""

    scope: Scope
    cells: Sequence[Cell]
    found: Sequence[Sql]
    values: list[Value] = field(default_factory=list)

    def items(self, *, periods: bool) -> list[Sql]:
        """The items, in order; fills `values`."""
        alias = self.scope.alias("e")
        computed = [compose("{} AS {}", one, fixed(f"c{n}")) for n, one in enumerate(self.found)]
        items = [compose(LATERAL, join(", ", computed), fixed(alias))]
        reads = [fixed(f"{alias}.c{number}") for number in range(len(self.found))]
        dates = [n for n, one in enumerate(self.cells) if periods and one.column.has_range]
        self.values = [Value(read) for read in reads]
        if dates:
            starts = self.scope.alias("e")
            lows = [compose("{} AS {}", low(reads[n]), fixed(f"l{n}")) for n in dates]
            items.append(compose(LATERAL, join(", ", lows), fixed(starts)))
            ends = self.scope.alias("e")
            highs = [
                compose("{} AS {}", high(reads[n], fixed(f"{starts}.l{n}")), fixed(f"h{n}"))
                for n in dates
            ]
            items.append(compose(LATERAL, join(", ", highs), fixed(ends)))
            for n in dates:
                self.values[n] = Value(reads[n], (fixed(f"{starts}.l{n}"), fixed(f"{ends}.h{n}")))
        return items


def outputs(values: Sequence[Value]) -> list[Sql]:
    """The values as `c0`, `c1` …, and periods that are known as `l0`, `h0` …."""
    named = []
    for number, value in enumerate(values):
        named.append(compose("{} AS {}", value.sql, fixed(f"c{number}")))
        if value.period is not None:
            start, end = value.period
            named.append(compose("{} AS {}", start, fixed(f"l{number}")))
            named.append(compose("{} AS {}", end, fixed(f"h{number}")))
    return named


def _value(planned: Cell, expr: Expr) -> Sql:
    value = cell(planned.column, expr)
    if planned.nullable is None or isinstance(expr, RowIndex):
        return value
    return compose("CASE WHEN {}.n IS NOT NULL THEN {} END", fixed(planned.nullable), value)
