"""`repeat`: the paths of a select applied to their own results, again and again.

The walk is preorder: a node, then its children path by path. It ends by itself, because every path
leads to a node deeper in a finite document; a path that could stay where it is, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from researchflow_runners.compiler.expr import Expr, Requirement, any_of, numbered
from researchflow_runners.compiler.nodes import Child, Focus, Resource, ResourceMeta
from researchflow_runners.compiler.operators.combining import Combined
from researchflow_runners.compiler.operators.filtering import Select
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types
from researchflow_runners.errors import FhirPathError
from researchflow_runners.sql import Sql, compose, fixed, join

WALK = """(WITH RECURSIVE w(v, place) AS ({first} UNION ALL
 SELECT c.v, w.place || c.place FROM w CROSS JOIN LATERAL ({next}) AS c(v, place))
 SELECT w.v, row_number() OVER (ORDER BY w.place) AS n FROM w ORDER BY w.place)"""


def repeated(paths: Sequence[str], scope: Scope, field: str) -> tuple[Sql, Types, Requirement]:
    """The walk as a FROM item with columns (v, n), the types of its nodes, and its root keys."""
    types = _reachable(paths, scope, field)
    first = _resolved(paths, scope, field)
    following = _resolved(paths, scope.on(Focus("w", types)), field)
    walk = compose(WALK, first=_children(first), next=_children(following))
    return walk, types, any_of([one.root_keys() for one in first])


def _resolved(paths: Sequence[str], scope: Scope, field: str) -> list[Expr]:
    lenient = replace(scope, lenient=True)
    return [
        resolve_text(path, lenient, field=f"{field}.repeat[{number}]")
        for number, path in enumerate(paths)
    ]


def _children(exprs: Sequence[Expr]) -> Sql:
    """One level down: each child with its place, [path number, item number]."""
    branches = []
    for number, expr in enumerate(exprs):
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
    if not _descends(expr, focus):
        raise FhirPathError(
            f"the repeat path '{path}' does not lead to a deeper element",
            code="repeat_without_end",
            field=field,
            hint="Start the path with an element, such as item.",
            span=expr.span,
        )
    return expr


def _descends(expr: Expr, focus: Expr, *, deeper: bool = False) -> bool:
    """Whether every item stands below the focus; `deeper` says that a step below was seen."""
    if expr == focus:
        return deeper
    if not expr.types or (isinstance(expr, ResourceMeta) and isinstance(focus, Resource)):
        return True
    if isinstance(expr, Combined):
        return all(_descends(one, focus, deeper=deeper) for one in (expr.left, expr.right))
    source = getattr(expr, "source", None)
    if not isinstance(source, Expr):
        return False
    if isinstance(expr, Select):
        inside = deeper or _descends(source, focus)
        return _descends(source, focus, deeper=True) and _descends(
            expr.projection, expr.item, deeper=inside
        )
    return _descends(source, focus, deeper=deeper or isinstance(expr, Child))
