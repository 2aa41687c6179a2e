"""`repeat`: the paths of a select applied to their own results, again and again.

The walk is preorder: a node, then its children path by path. It ends by itself, because every path
leads to a node deeper in a finite document; a path that could stay where it is, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from researchflow_runners.compiler.expr import Expr, numbered
from researchflow_runners.compiler.nodes import Child, Focus
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types
from researchflow_runners.errors import FhirPathError
from researchflow_runners.sql import Sql, compose, fixed, join

WALK = """(WITH RECURSIVE w(v, place) AS ({first} UNION ALL
 SELECT c.v, w.place || c.place FROM w CROSS JOIN LATERAL ({next}) AS c(v, place))
 SELECT w.v, row_number() OVER (ORDER BY w.place) AS n FROM w ORDER BY w.place)"""


def repeated(paths: Sequence[str], scope: Scope, field: str) -> tuple[Sql, Types]:
    """The walk as a FROM item with the columns (v, n), and the types of its nodes."""
    types = _reachable(paths, scope, field)
    walked = Focus("w", types)
    return (
        compose(
            WALK,
            first=_children(paths, scope, field),
            next=_children(paths, scope.on(walked), field),
        ),
        types,
    )


def _children(paths: Sequence[str], scope: Scope, field: str) -> Sql:
    """One level down: each child with its place, [path number, item number]."""
    branches = []
    for number, path in enumerate(paths):
        expr = resolve_text(path, replace(scope, lenient=True), field=f"{field}.repeat[{number}]")
        branches.append(
            compose(
                "SELECT b.v, ARRAY[{}, b.n] AS place FROM {} AS b(v, n)",
                fixed(f"{number}::bigint"),
                numbered(expr),
            )
        )
    return join(" UNION ALL ", branches)


def _reachable(paths: Sequence[str], scope: Scope, field: str) -> Types:
    """The types of all nodes of the walk."""
    types: Types = ()
    while True:
        found = list(types)
        for focus_types in (scope.this.types, types):
            for number, path in enumerate(paths):
                expr = _resolve_on(path, focus_types, scope, f"{field}.repeat[{number}]")
                found.extend(expr.types)
        merged = tuple(dict.fromkeys(found))
        if merged == types:
            return types
        types = merged


def _resolve_on(path: str, types: Types, scope: Scope, field: str) -> Expr:
    focus = scope.this if scope.this.types == types else Focus("w", types)
    expr = resolve_text(path, replace(scope, this=focus, lenient=True), field=field)
    if expr.types and not _descends(expr):
        raise FhirPathError(
            f"the repeat path '{path}' does not lead to a deeper element",
            code="repeat_without_end",
            field=field,
            hint="Start the path with an element, such as item.",
            span=expr.span,
        )
    return expr


def _descends(expr: Expr) -> bool:
    """Whether the expression steps from the focus into an element."""
    if isinstance(expr, Child):
        return True
    source = getattr(expr, "source", None)
    return isinstance(source, Expr) and _descends(source)
