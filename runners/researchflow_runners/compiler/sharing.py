"""Common subexpressions: a node that several columns need is evaluated once per row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Bound
from researchflow_runners.compiler.operators.existence import Exists
from researchflow_runners.compiler.operators.subsetting import OneOf
from researchflow_runners.sql import Sql, compose, fixed, join

#: Fields evaluated once per item of a collection, where an outer FROM item is out of place.
PER_ITEM_FIELDS = frozenset({"criterion", "projection"})


def share(exprs: Sequence[Expr], alias: str) -> tuple[list[Expr], Sql | None]:
    """The nodes with what they share replaced, and the FROM item that computes it, if any."""
    uses = Counter(node for expr in exprs for node in _candidates(expr))
    shared = {
        node: Bound(alias, f"s{number}", node.types)
        for number, node in enumerate(node for node, count in uses.items() if count > 1)
    }
    if not shared:
        return list(exprs), None
    replaced = [_replaced(expr, shared) for expr in exprs]
    # Nodes that only occur inside larger shared ones are not read any more.
    read = {node for expr in replaced for node in _walk(expr) if isinstance(node, Bound)}
    computed = [
        compose("{} AS {}", node.value(), fixed(bound.column))
        for node, bound in shared.items()
        if bound in read
    ]
    # OFFSET 0 keeps PostgreSQL from copying the expressions back to where they are read.
    return replaced, compose("(SELECT {} OFFSET 0) AS {}", join(", ", computed), fixed(alias))


def _candidates(expr: Expr) -> Iterator[Expr]:
    return (node for node in _walk(expr) if isinstance(node, OneOf))


def _walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    for _name, value in _evaluated(expr):
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Expr):
                yield from _walk(child)


def _evaluated(expr: Expr) -> Iterator[tuple[str, object]]:
    """The fields whose nodes the expression computes once per row."""
    for field in fields(expr):
        asked = isinstance(expr, Exists) and field.name == "source"
        if field.name not in PER_ITEM_FIELDS and not asked:
            yield field.name, getattr(expr, field.name)


def _replaced(expr: Expr, shared: dict[Expr, Bound]) -> Expr:
    if expr in shared:
        return shared[expr]
    changes: dict[str, object] = {}
    for name, value in _evaluated(expr):
        if isinstance(value, Expr):
            changes[name] = _replaced(value, shared)
        elif isinstance(value, tuple):
            changes[name] = tuple(
                _replaced(one, shared) if isinstance(one, Expr) else one for one in value
            )
    return replace(expr, **changes) if changes else expr  # type: ignore[arg-type]  # same fields
