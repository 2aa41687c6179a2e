"""`repeat`: the paths of a select applied to their own results, again and again.

The walk is preorder: a node, then its children path by path. It ends by itself, because every path
leads to a node deeper in a finite document; a path that could stay where it is, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, Requirement, any_of, numbered, unnumbered
from researchflow_runners.compiler.nodes import Focus, Resource, ResourceMeta
from researchflow_runners.compiler.operators.combining import Combined
from researchflow_runners.compiler.operators.filtering import Filtered, Select
from researchflow_runners.compiler.operators.first import OneOf
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import Types
from researchflow_runners.errors import FhirPathError
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join

#: A node and then what is below it, where there is something: so deep are the nested loops, which
#: cost a third of the recursion that takes over below them.
BRANCH = """SELECT x.v FROM {rows} AS {node}(v)
 CROSS JOIN LATERAL (SELECT {node}.v UNION ALL {below}) AS x(v){condition}"""
LEVELS = 3
#: With several paths every level multiplies the text of the statement.
LEVELS_OF_SEVERAL = 1
NOTHING = "SELECT NULL::jsonb WHERE false"
WALK = """(WITH RECURSIVE w(v, place) AS ({first} UNION ALL
 SELECT c.v, w.place || c.place FROM w CROSS JOIN LATERAL ({next}) AS c(v, place))
 SELECT w.v, row_number() OVER (ORDER BY w.place) AS n FROM w ORDER BY w.place)"""


def repeated(paths: Sequence[str], scope: Scope, field: str) -> tuple[Sql, Types, Requirement]:
    """The walk as a SELECT of `v`, in order, the types of its nodes, and its root keys."""
    types = _reachable(paths, scope, field)
    keys = any_of([one.root_keys() for one in _resolved(paths, scope, field)])
    levels = LEVELS if len(paths) == 1 else LEVELS_OF_SEVERAL
    walk = _Walk(paths, types, field).below(scope, levels)
    return walk, types, keys


@dataclass(frozen=True)
class _Walk:
    """The paths, and the types of all nodes that they lead to."""

    paths: Sequence[str]
    types: Types
    field: str

    def below(self, scope: Scope, levels: int) -> Sql:
        """A SELECT of all nodes below the focus of the scope, in order."""
        exprs = _resolved(self.paths, scope, self.field)
        if levels == 0:
            following = _resolved(
                self.paths, scope.on(Focus("w", self.types, is_walked=True)), self.field
            )
            walk = compose(WALK, first=_children(exprs), next=_children(following))
            return compose("SELECT y.v FROM {} AS y(v, n){}", walk, _condition(exprs, scope.this))
        branches = [self._branch(one, scope, levels) for one in exprs if one.types]
        return join(" UNION ALL ", branches) if branches else fixed(NOTHING)

    def _branch(self, expr: Expr, scope: Scope, levels: int) -> Sql:
        alias = scope.alias("w")
        return compose(
            BRANCH,
            rows=unnumbered(expr),
            node=fixed(alias),
            below=self.below(scope.on(Focus(alias, self.types, is_walked=True)), levels - 1),
            condition=_condition([expr], scope.this),
        )


def _condition(exprs: Sequence[Expr], focus: Expr) -> Sql:
    """A WHERE clause that is false where the focus has no member that the paths start with."""
    keys = any_of([_first_keys(one, focus) for one in exprs])
    if keys is None:
        return EMPTY
    found = [compose(f"({{}} -> '{key}') IS NOT NULL", focus.value()) for key in sorted(keys)]
    return compose(" WHERE ({})", join(" OR ", found))


def _first_keys(expr: Expr, focus: Expr) -> Requirement:
    while isinstance(expr, (Child, Filtered, OneOf, Select)):
        if isinstance(expr, Child) and expr.source == focus:
            return frozenset(expr.json_keys())
        expr = expr.source
    return None


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
    focus = scope.this if scope.this.types == types else Focus("w", types, is_walked=True)
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
