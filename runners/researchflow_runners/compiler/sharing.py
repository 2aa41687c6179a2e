"""Common subexpressions: what several cells need is evaluated once per row.

Only navigation is shared, which never fails: a branch of `iif()` that is not taken must not raise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import AsText, Bound, Constant
from researchflow_runners.compiler.operators.conversion import Default
from researchflow_runners.compiler.operators.existence import Exists
from researchflow_runners.compiler.operators.first import OneOf
from researchflow_runners.compiler.operators.subsetting import At
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import kind_of
from researchflow_runners.sql import Sql, compose, fixed

#: Fields evaluated once per item of a collection, where an outer FROM item is out of place.
PER_ITEM_FIELDS = frozenset({"criterion", "projection"})


@dataclass(frozen=True)
class Shared:
    """Nodes with what they share replaced.

    `stages` compute that: columns of subqueries, each of which reads those before it; `depths` says
    for each node how many of them it needs.
    """

    exprs: list[Expr]
    depths: list[int]
    stages: list[Stage]


@dataclass(frozen=True)
class Stage:
    """Columns of one subquery, and the alias they are read under."""

    alias: str
    columns: list[Sql] = field(default_factory=list)

    def add(self, sql: Sql, scope: Scope) -> Sql:
        """Adds a column; gives how to read it."""
        name = scope.alias("s")
        self.columns.append(compose("{} AS {}", sql, fixed(name)))
        return fixed(f"{self.alias}.{name}")


def share(exprs: Sequence[Expr], scope: Scope, *, alias: str | None = None) -> Shared:
    """The nodes over what they share; under one alias, or one for each stage."""
    uses: Counter[Expr] = Counter()
    for expr in exprs:
        _count(expr, 1, uses)
    wanted = frozenset(node for node, count in uses.items() if count > 1 and _is_shareable(node))
    staging = _Staging(wanted, scope, alias)
    found = [staging.replaced(expr) for expr in exprs]
    return Shared([one for one, _depth in found], [depth for _one, depth in found], staging.stages)


def _count(node: Expr, times: int, uses: Counter[Expr]) -> None:
    """Counts how often the SQL of each node stands in that of the cells."""
    is_known = node in uses
    uses[node] += times
    if _is_shareable(node):
        if is_known:
            return
        times = 1
    for child in _operands(node):
        _count(child, times * node.repeats_operands, uses)


def _is_shareable(node: Expr) -> bool:
    if isinstance(node, At):
        return isinstance(node.index, Constant)
    if isinstance(node, (OneOf, Default, AsText)):
        return True
    # An object that leads to several elements.
    return (
        isinstance(node, Child)
        and not node.many
        and node.path() is not None
        and kind_of(node.types) in ("complex", "quantity")
    )


@dataclass
class _Staging:
    """Puts each wanted node into the first stage after those of the nodes inside it."""

    wanted: frozenset[Expr]
    scope: Scope
    alias: str | None
    stages: list[Stage] = field(default_factory=list)
    known: dict[Expr, tuple[Expr, int]] = field(default_factory=dict)

    def replaced(self, node: Expr) -> tuple[Expr, int]:
        """The node over stages, and how many of these it needs."""
        if node not in self.known:
            self.known[node] = self._replaced(node)
        return self.known[node]

    def _replaced(self, node: Expr) -> tuple[Expr, int]:
        changes: dict[str, object] = {}
        depth = 0
        for name, value in _evaluated(node):
            parts = value if isinstance(value, tuple) else (value,)
            if not any(isinstance(one, Expr) for one in parts):
                continue
            found = [self.replaced(one) if isinstance(one, Expr) else (one, 0) for one in parts]
            depth = max(depth, *(level for _one, level in found))
            changes[name] = tuple(one for one, _level in found)
            if not isinstance(value, tuple):
                changes[name] = found[0][0]
        made = replace(node, **changes) if changes else node  # type: ignore[arg-type]  # same fields
        return (self._bound(made, depth), depth + 1) if node in self.wanted else (made, depth)

    def _bound(self, node: Expr, depth: int) -> Bound:
        if depth == len(self.stages):
            self.stages.append(Stage(self.alias or self.scope.alias("k")))
        read = self.stages[depth].add(node.value(), self.scope)
        return Bound(read, node.types, node.form, node.lacks_value)


def _operands(node: Expr) -> Iterator[Expr]:
    for _name, value in _evaluated(node):
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Expr):
                yield child


def _evaluated(expr: Expr) -> Iterator[tuple[str, object]]:
    """The fields whose nodes the expression computes once per row."""
    for one in fields(expr):
        asked = isinstance(expr, Exists) and one.name == "source"
        if one.name not in PER_ITEM_FIELDS and not asked:
            yield one.name, getattr(expr, one.name)
