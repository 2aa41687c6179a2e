"""Common subexpressions: what several cells need is evaluated once per row.

Only navigation is shared, which never fails: a branch of `iif()` that is not taken must not raise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import AsText, Bound, Child, Constant
from researchflow_runners.compiler.operators.conversion import Default
from researchflow_runners.compiler.operators.existence import Exists
from researchflow_runners.compiler.operators.subsetting import At, OneOf
from researchflow_runners.compiler.types import kind_of
from researchflow_runners.sql import Sql, compose, fixed, join

#: Fields evaluated once per item of a collection, where an outer FROM item is out of place.
PER_ITEM_FIELDS = frozenset({"criterion", "projection"})


def share(exprs: Sequence[Expr], alias: Callable[[], str]) -> tuple[list[Expr], list[Sql]]:
    """The nodes with what they share replaced, and the FROM items that compute that, in order."""
    uses: Counter[Expr] = Counter()
    for expr in exprs:
        _count(expr, 1, uses)
    shared = frozenset(node for node, count in uses.items() if count > 1 and _is_shareable(node))
    stages = _Stages(shared, alias)
    replaced = [stages.replaced(expr)[0] for expr in exprs]
    return replaced, stages.items()


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
class _Stages:
    """Shared nodes, each in the first FROM item that comes after those of the nodes inside it."""

    shared: frozenset[Expr]
    alias: Callable[[], str]
    aliases: list[str] = field(default_factory=list)
    computed: list[list[Sql]] = field(default_factory=list)
    known: dict[Expr, tuple[Expr, int]] = field(default_factory=dict)

    def replaced(self, node: Expr) -> tuple[Expr, int]:
        """The node over FROM items, and how many of these stand before it."""
        if node not in self.known:
            self.known[node] = self._replaced(node)
        return self.known[node]

    def items(self) -> list[Sql]:
        """OFFSET 0 keeps PostgreSQL from copying the expressions back to where they are read."""
        return [
            compose("CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS {}", join(", ", one), fixed(alias))
            for alias, one in zip(self.aliases, self.computed, strict=True)
        ]

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
        return (self._bound(made, depth), depth + 1) if node in self.shared else (made, depth)

    def _bound(self, node: Expr, depth: int) -> Bound:
        if depth == len(self.computed):
            self.aliases.append(self.alias())
            self.computed.append([])
        stage = self.computed[depth]
        bound = Bound(self.aliases[depth], f"s{len(stage)}", node.types, node.form)
        stage.append(compose("{} AS {}", node.value(), fixed(bound.column)))
        return bound


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
