"""`sum() avg() min() max()` and `sort()`: over the values of a collection.

Without items the sum is 0 and the others are empty. Sorting puts items without a key first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form, numbered, single
from researchflow_runners.compiler.nodes import Focus
from researchflow_runners.compiler.periods import low
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import DATES, NUMBERS, Types, system_type
from researchflow_runners.fhirpath import Node
from researchflow_runners.fhirpath.ast import Sign
from researchflow_runners.sql import Sql, compose, fixed, join

NUMERIC = "nullif(a.v, 'null')::numeric"
#: FHIRPath name → aggregate of the numbers.
OF_NUMBERS = {"sum": f"coalesce(sum({NUMERIC}), 0)", "avg": f"trim_scale(avg({NUMERIC}))"}
START = "(SELECT {low} FROM (SELECT {text} AS t OFFSET 0) AS y)"
SORTED = "(SELECT {alias}.v FROM {items} AS {alias}(v, n) ORDER BY {keys}, {alias}.n)"


@dataclass(frozen=True)
class Aggregate(Expr):
    """One number made of numbers."""

    source: Expr
    name: str

    @property
    def types(self) -> Types:
        whole = self.source.kind in ("integer", "empty") and self.name == "sum"
        return (system_type("integer" if whole else "decimal"),)

    @property
    def form(self) -> Form:
        return "numeric"

    def value(self) -> Sql:
        aggregate = fixed(OF_NUMBERS[self.name])
        return compose("(SELECT {} FROM {} AS a(v))", aggregate, self.source.rows())


@dataclass(frozen=True)
class Sorted(Expr):
    """The items of a node by some keys, each with whether it descends."""

    source: Expr
    item: Focus
    keys: tuple[Expr, ...]
    descending: tuple[bool, ...]

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        keys = [
            compose("{} {}", _key(key), fixed("DESC NULLS FIRST" if down else "NULLS FIRST"))
            for key, down in zip(self.keys, self.descending, strict=True)
        ]
        alias = fixed(self.item.alias)
        return compose(SORTED, alias=alias, items=numbered(self.source), keys=join(", ", keys))


def _key(expr: Expr) -> Sql:
    if expr.kind in NUMBERS:
        return expr.numeric()
    if expr.kind in DATES:
        return compose(START, low=low(fixed("y.t")), text=expr.text())
    return expr.boolean() if expr.kind == "boolean" else compose('{} COLLATE "C"', expr.text())


def sorted_by(call: Invocation, arguments: Sequence[Node | None], *, down: bool) -> Sorted:
    """The items of the call's source by expressions over each; None is the item itself."""
    item = call.scope.item(call.source.types)
    keys, descending = [], []
    for argument in arguments:
        is_down = isinstance(argument, Sign) and argument.operator == "-"
        node = argument.operand if isinstance(argument, Sign) and is_down else argument
        key = item if node is None else call.resolve(node, call.scope.on(item))
        if key.kind in ("complex", "quantity", "mixed"):
            raise call.refused(
                "orders strings, numbers, dates, times and booleans",
                hint="Name an element of one such type, as in name.sort(family).",
            )
        keys.append(key)
        descending.append(is_down or down)
    return Sorted(call.source, item, tuple(keys), tuple(descending), span=call.span)


@function("sort", optional=9)
def sort(call: Invocation) -> Expr:
    if not call.source.types:
        return call.source
    return sorted_by(call, call.arguments or (None,), down=False)


def _of_numbers(name: str) -> None:
    @function(name)
    def implementation(call: Invocation) -> Expr:
        if call.source.kind not in {*NUMBERS, "empty"}:
            raise call.refused(
                "takes integers and decimals only",
                hint="Of quantities, take their values, which must be in one unit.",
                code="not_a_number",
            )
        return Aggregate(call.source, name, span=call.span)


def _end(name: str, *, down: bool) -> None:
    @function(name)
    def implementation(call: Invocation) -> Expr:
        if not call.source.types:
            return call.source
        valued = sorted_by(call, (None,), down=down)
        return Extreme(valued, span=call.span)


@dataclass(frozen=True)
class Extreme(Expr):
    """The first value of a sorted node, those without one passed over."""

    source: Sorted

    @property
    def types(self) -> Types:
        return self.source.types

    def value(self) -> Sql:
        return compose(
            "(SELECT x.v FROM {} AS x(v) WHERE x.v <> 'null' LIMIT 1)", self.source.rows()
        )


for _name in OF_NUMBERS:
    _of_numbers(_name)
_end("min", down=False)
_end("max", down=True)
