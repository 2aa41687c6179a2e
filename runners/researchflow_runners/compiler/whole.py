"""Items with what JSON keeps beside their value, and with their type.

A value alone does not tell what type it has, nor which id and extensions belong to it. The whole
item is an object: `v` is the value, JSON's null when there is none; `x` what holds the id and the
extensions; `t` the name of the type. Nodes are made whole only where a type test or an extension
asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from researchflow_runners.compiler.child import Child, placed
from researchflow_runners.compiler.expr import Expr, Path, numbered, single
from researchflow_runners.compiler.nodes import Focus, ResourceId
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import SYSTEM, Types, is_primitive
from researchflow_runners.errors import FhirPathError
from researchflow_runners.fhir import model
from researchflow_runners.sql import Sql, compose, fixed

WHOLE = "jsonb_build_object('v', {v}, 'x', {x}, 't', {t})"
BELOW = """(SELECT jsonb_build_object('v', k.v, 'x', k.x, 't', k.t)
 FROM {rows} AS s(v) CROSS JOIN LATERAL (VALUES {keys}) AS k(v, x, t)
 WHERE k.v IS NOT NULL OR k.x IS NOT NULL)"""
LISTED = """(SELECT jsonb_build_object('v', k.v, 'x', k.x, 't', '{type}')
 FROM {rows} AS s(v) CROSS JOIN LATERAL {placed} AS k(v, x))"""
COMPLEX = """(SELECT jsonb_build_object('v', k.v, 'x', k.v, 't', {type}) FROM {rows} AS k(v))"""
KEY = "(SELECT jsonb_build_object('v', k.v, 'x', {}, 't', 'id') FROM {} AS k(v))"
KEPT = "(SELECT t.v FROM {} AS t(v) WHERE t.v ->> 't' IN ({}))"
VALUES = "(SELECT coalesce(w.v -> 'v', 'null') FROM {} AS w(v))"
AS_ITEMS = "(SELECT coalesce(w.v -> 'v', 'null'), w.v, w.n FROM {} AS w(v, n)) AS {}(v, w, n)"


class WholeExpr(Expr):
    """A node whose items are whole; `types` are those of the values."""

    def value(self) -> Sql:
        return single(self) if self.many else compose("(SELECT g.v FROM {} AS g(v))", self.rows())

    @property
    def lacks_value(self) -> bool:
        return False


@dataclass(frozen=True)
class WholeItems(WholeExpr):
    """The items of a node that knows their types."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def rows(self) -> Sql:
        source = self.source
        if isinstance(source, ResourceId):
            beside = fixed(f"{source.alias}.v -> '_id'")
            return compose(KEY, beside, source.rows())
        if isinstance(source, Child) and any(map(is_primitive, source.types)):
            return self._of_primitives(source)
        return compose(COMPLEX, type=_type_of(source.types), rows=source.rows())

    def _of_primitives(self, source: Child) -> Sql:
        if source.element_many:
            key, type_name = source.keys[0]
            return compose(
                LISTED.replace("{type}", type_name),
                rows=source.source.rows(),
                placed=placed(fixed("s.v"), key),
            )
        keys = [
            f"(s.v -> '{key}', s.v -> '{'_' if is_primitive(one) else ''}{key}', '{one}')"
            for key, one in source.keys
        ]
        return compose(BELOW, rows=source.source.rows(), keys=fixed(", ".join(keys)))


def _type_of(types: Types) -> Sql:
    """The type of the item `k.v`, which is the same for all, or that of the resource it is."""
    if len(types) == 1 and not model().is_abstract(types[0]):
        return fixed(f"'{types[0]}'")
    return fixed("k.v ->> 'resourceType'")


@dataclass(frozen=True)
class WholeFocus(WholeExpr):
    """The whole item of a focus, which the FROM item gives as a column `w`."""

    focus: Focus

    @property
    def types(self) -> Types:
        return self.focus.types

    def path(self) -> Path:
        return Path(self, ())

    def value(self) -> Sql:
        return fixed(f"{self.focus.alias}.w")


@dataclass(frozen=True)
class OfType(WholeExpr):
    """The whole items of some types."""

    source: Expr
    kept: Types

    @property
    def types(self) -> Types:
        return self.kept

    @property
    def many(self) -> bool:
        return self.source.many

    def rows(self) -> Sql:
        kept = fixed(", ".join(f"'{one}'" for one in self.kept))
        return compose(KEPT, self.source.rows(), kept)


@dataclass(frozen=True)
class ValuesOfWhole(Expr):
    """The items of a node of whole items, as other nodes have them."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    @property
    def lacks_value(self) -> bool:
        return any(map(is_primitive, self.types))

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        return compose(VALUES, self.source.rows())


def items_as(item: Focus, source: Expr, wholes: Expr | None, *, is_indexed: bool = False) -> Sql:
    """The items of a source under the alias of a focus; `wholes` when it is asked for whole."""
    alias = fixed(item.alias)
    if wholes is not None:
        return compose(AS_ITEMS, numbered(wholes), alias)
    if is_indexed:
        return compose("{} AS {}(v, n)", numbered(source), alias)
    return compose("{} AS {}(v)", source.rows(), alias)


def wholes_of(scope: Scope, item: Focus, source: Expr) -> Expr | None:
    """The source made whole when something asked for the item whole, otherwise None."""
    return whole(source, scope) if item.alias in scope.wholes else None


def whole(expr: Expr, scope: Scope) -> Expr:
    """The node with its items made whole.

    Raises FhirPathError `unsupported` where nothing tells what belongs to a value.
    """
    if isinstance(expr, ValuesOfWhole):
        return expr.source
    if not expr.types:
        return expr
    if isinstance(expr, Focus) and len(expr.types) + any(map(is_primitive, expr.types)) > 1:
        if expr.is_walked:
            raise refused(expr)
        scope.wholes.add(expr.alias)
        return WholeFocus(expr, span=expr.span)
    made = MAKERS.get(type(expr))
    if made is not None:
        return made(expr, scope)
    if isinstance(expr, (Child, ResourceId)) or (
        len(expr.types) == 1 and not _may_have_siblings(expr.types[0])
    ):
        return WholeItems(expr, span=expr.span)
    raise refused(expr)


def _may_have_siblings(type_name: str) -> bool:
    return is_primitive(type_name) and not type_name.startswith(SYSTEM)


def refused(expr: Expr) -> FhirPathError:
    """The error for items of which nobody knows types and extensions."""
    return FhirPathError(
        "cannot tell the types of these items, or what belongs to them",
        code="unsupported",
        hint="Apply ofType() or extension() directly to the element, as in value.ofType(Quantity).",
        span=expr.span,
    )


#: How the nodes that pass on items of others are made whole; the operators add theirs.
MAKERS: dict[type[Expr], Callable[..., Expr]] = {}


def passes_on(kind: type[Expr], *names: str) -> None:
    """Registers a node that passes on the items of the nodes in these fields."""

    def make(expr: Expr, scope: Scope) -> Expr:
        changes = {name: whole(getattr(expr, name), scope) for name in names}
        return replace(expr, **changes)  # type: ignore[arg-type]  # fields of the node

    MAKERS[kind] = make
