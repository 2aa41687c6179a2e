"""`iif()` and `toString()`."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, Form, Path, single
from researchflow_runners.compiler.nodes import AsText, Empty
from researchflow_runners.compiler.operators.existence import Exists
from researchflow_runners.compiler.operators.first import OneOf
from researchflow_runners.compiler.operators.logic import require_boolean
from researchflow_runners.compiler.operators.quantities import quantity_text
from researchflow_runners.compiler.operators.strings import TextCall
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.whole import passes_on
from researchflow_runners.errors import Span
from researchflow_runners.sql import Sql, compose

CHOSEN_ITEMS = """(SELECT b.v FROM (SELECT ({}) IS TRUE AS met OFFSET 0) AS w CROSS JOIN LATERAL
 (SELECT t.v FROM {} AS t(v) WHERE w.met UNION ALL SELECT o.v FROM {} AS o(v) WHERE NOT w.met)
 AS b)"""


@dataclass(frozen=True)
class Iif(Expr):
    """One of two nodes; the second when the criterion is false or empty."""

    when: Expr
    then: Expr
    otherwise: Expr

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys((*self.then.types, *self.otherwise.types)))

    @property
    def form(self) -> Form:
        forms = {one.form for one in (self.then, self.otherwise) if one.types}
        return forms.pop() if len(forms) == 1 else "json"

    @property
    def lacks_value(self) -> bool:
        return self.then.lacks_value or self.otherwise.lacks_value

    def value(self) -> Sql:
        return self._chosen(self._branch(self.then), self._branch(self.otherwise))

    def text(self) -> Sql:
        if self.form != "json":
            return super().text()
        return self._chosen(self.then.text(), self.otherwise.text())

    def _chosen(self, then: Sql, otherwise: Sql) -> Sql:
        return compose("CASE WHEN {} THEN {} ELSE {} END", self.when.boolean(), then, otherwise)

    def _branch(self, branch: Expr) -> Sql:
        if not branch.types:
            return compose("NULL")
        return branch.value() if branch.form == self.form else branch.json()


@dataclass(frozen=True)
class ChosenItems(Expr):
    """All items of one of two nodes, of which one at least may hold several."""

    when: Expr
    then: Expr
    otherwise: Expr

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys((*self.then.types, *self.otherwise.types)))

    @property
    def many(self) -> bool:
        return True

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        return compose(CHOSEN_ITEMS, self.when.boolean(), self.then.rows(), self.otherwise.rows())


@dataclass(frozen=True)
class Default(Expr):
    """`iif(item.exists(), item, otherwise)` of JSON items."""

    item: OneOf
    otherwise: Expr

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys((*self.item.types, *self.otherwise.types)))

    def value(self) -> Sql:
        return compose("coalesce({}, {})", self.item.value(), self.otherwise.value())

    def path(self) -> Path:
        return Path(self, ())

    def text(self) -> Sql:
        return compose("({} #>> '{{}}')", self.value())


for _kind in (Iif, ChosenItems):
    passes_on(_kind, "then", "otherwise")
passes_on(Default, "item", "otherwise")


def chosen(when: Expr, then: Expr, otherwise: Expr, span: Span) -> Expr:
    """The node of `iif()`; an element that both branches end in is taken after the choice."""
    is_single = not (then.many or otherwise.many)
    if isinstance(then, Child) and isinstance(otherwise, Child) and is_single:
        is_same = (then.keys, then.element_many) == (otherwise.keys, otherwise.element_many)
        if is_same and then.source.form == otherwise.source.form == "json":
            source = chosen(when, then.source, otherwise.source, span)
            return Child(source, then.keys, element_many=False, span=span)
    asked = when.probe if isinstance(when, Exists) else None
    takes_json = bool(otherwise.types) and otherwise.form == "json" and not then.lacks_value
    if asked == then and isinstance(then, OneOf) and takes_json:
        return Default(then, otherwise, span=span)
    return Iif(when, then, otherwise, span=span)


@function("iif", arguments=2, optional=1)
def iif(call: Invocation) -> Expr:
    if call.source.many:
        raise call.refused("works on one item", hint="Use it within select(), or after first().")
    on = call.source
    criterion = require_boolean(call.argument(0, on=on), "the criterion of 'iif()'")
    then = call.argument(1, on=on)
    otherwise = call.argument(2, on=on) if len(call.arguments) == 3 else Empty()
    if not then.types and not otherwise.types:
        return Empty(span=call.span)
    if then.many or otherwise.many:
        return ChosenItems(criterion, then, otherwise, span=call.span)
    return chosen(criterion, then, otherwise, call.span)


@function("toString")
def to_string(call: Invocation) -> Expr:
    if call.source.kind == "quantity":
        return quantity_text(call.source, call.span)
    if call.source.kind in ("complex", "mixed"):
        raise call.refused("converts primitive values only", hint="Select one element of it.")
    return TextCall("{}", (_as_text(call.source),), span=call.span)


def _as_text(source: Expr) -> Expr:
    return source if source.kind == "string" else AsText(source)
