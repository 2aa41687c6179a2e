"""`type()`: the name and the namespace of an item's type."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, single
from researchflow_runners.compiler.operators.type_tests import is_open
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.whole import whole
from researchflow_runners.sql import Sql, compose, fixed

#: The type of what type() gives.
TYPE_INFO = "System.TypeInfo"
NAMES = """(SELECT jsonb_build_object('namespace', split_part(t.t, '.', 1),
 'name', split_part(t.t, '.', 2)) FROM (SELECT CASE WHEN t.t LIKE 'System.%' THEN t.t
 ELSE 'FHIR.' || t.t END AS t FROM {} AS t(t)) AS t)"""


@dataclass(frozen=True)
class TypeInfo(Expr):
    """What type each item of a node has; `wholes` where only the data tell."""

    source: Expr
    wholes: Expr | None

    @property
    def types(self) -> Types:
        return (TYPE_INFO,)

    @property
    def many(self) -> bool:
        return self.source.many

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        if self.wholes is not None:
            return compose(
                NAMES, compose("(SELECT w.v ->> 't' FROM {} AS w(v))", self.wholes.rows())
            )
        known = fixed(f"'{self.source.types[0]}'")
        return compose(NAMES, compose("(SELECT {} FROM {} AS w(v))", known, self.source.rows()))


@function("type")
def type_(call: Invocation) -> Expr:
    source = call.source
    if not source.types:
        return source
    is_known = len(source.types) == 1 and not is_open(source)
    return TypeInfo(source, None if is_known else whole(source, call.scope), span=call.span)


def type_name(source: TypeInfo, name: str) -> Expr:
    """`type().name` or `type().namespace`."""
    return Child(source, ((name, "System.String"),), element_many=False, span=source.span)
