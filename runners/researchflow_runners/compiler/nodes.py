"""The nodes that every expression is made of: focus, constants, elements, the resource's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from researchflow_runners.compiler.expr import (
    Expr,
    Form,
    IntegerExpr,
    KeyExpr,
    Path,
    StringExpr,
)
from researchflow_runners.compiler.jsonpath import PathParts, Variable, json_scalar
from researchflow_runners.compiler.types import Types, is_primitive
from researchflow_runners.sql import Sql, compose, fixed, param

#: Greatest value of PostgreSQL's integer; an integer64 may be greater.
INTEGER_MAX = 2**31 - 1


@dataclass(frozen=True)
class Focus(Expr):
    """The node an expression is evaluated on: a column `v` of a FROM item.

    `is_walked` says that it is one of a walk, of which only values are known.
    """

    alias: str
    focus_types: Types
    is_walked: bool = field(default=False, repr=False)

    @property
    def lacks_value(self) -> bool:
        return any(map(is_primitive, self.types))

    @property
    def types(self) -> Types:
        return self.focus_types

    @property
    def verbatim(self) -> bool:
        return True

    def value(self) -> Sql:
        return fixed(f"{self.alias}.v")

    def path(self) -> Path:
        return Path(self, ())

    def text(self) -> Sql:
        return compose("({} #>> '{{}}')", self.value())

    def exists(self) -> Sql:
        return compose("({} IS NOT NULL)", self.value())


@dataclass(frozen=True)
class Resource(Focus):
    """The resource; `id` and `meta` come from the source's own columns, not from its text."""


@dataclass(frozen=True)
class ResourceId(KeyExpr):
    """The resource's id, from the source."""

    alias: str
    resource: str

    @property
    def key_of(self) -> str | None:
        return self.resource

    def value(self) -> Sql:
        return fixed(f"{self.alias}.id")


@dataclass(frozen=True)
class ResourceMeta(Expr):
    """The resource's meta: the source's when it keeps meta apart from the text."""

    alias: str

    @property
    def types(self) -> Types:
        return ("Meta",)

    def value(self) -> Sql:
        return fixed(f"coalesce({self.alias}.meta, {self.alias}.v -> 'meta')")

    def path(self) -> Path:
        return Path(self, ())


@dataclass(frozen=True)
class RowIndex(IntegerExpr):
    """`%rowIndex`: the place of the current item in the innermost iteration, from 0."""

    alias: str | None

    def value(self) -> Sql:
        # The null row of forEachOrNull has no ordinality; its index is 0.
        return fixed(f"coalesce({self.alias}.n - 1, 0)::integer" if self.alias else "0")


@dataclass(frozen=True)
class ItemIndex(IntegerExpr):
    """`$index`: the place of an item in its collection, from 0."""

    alias: str

    def value(self) -> Sql:
        return fixed(f"({self.alias}.n - 1)::integer")


@dataclass(frozen=True)
class Empty(Expr):
    """No item, whatever the resource."""

    @property
    def types(self) -> Types:
        return ()

    def value(self) -> Sql:
        return fixed("NULL::jsonb")


@dataclass(frozen=True)
class Constant(Expr):
    """A literal or `%name`; `text_value` is how it is written."""

    type_name: str
    text_value: str

    @property
    def types(self) -> Types:
        return (self.type_name,)

    @property
    def form(self) -> Form:
        kind = self.kind
        if kind == "boolean":
            return "boolean"
        if kind == "integer":
            return "integer" if abs(int(self.text_value)) <= INTEGER_MAX else "numeric"
        return "numeric" if kind == "decimal" else "text"

    def value(self) -> Sql:
        if self.form == "boolean":
            return param(self.text_value == "true", "boolean")
        if self.form in ("integer", "numeric"):
            # Sent as text and cast: exact for decimals of any length.
            return compose(f"({{}})::{self.form}", param(self.text_value, "text"))
        return param(self.text_value, "text")

    def operand(self, item: Expr) -> PathParts:
        bare = self.form in ("boolean", "integer", "numeric")
        return (Variable(self.text_value if bare else json_scalar(self.text_value)),)

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        if self.form != "boolean":
            return None
        return ("(1 == 1)" if (self.text_value == "true") != negated else "(1 == 0)",)


@dataclass(frozen=True)
class AsText(StringExpr):
    """One item as the text that stands in the resource."""

    source: Expr

    def value(self) -> Sql:
        return self.source.text()


@dataclass(frozen=True)
class Bound(Expr):
    """A node evaluated once and kept in a column, because several cells read it."""

    read: Sql
    bound_types: Types
    bound_form: Form
    may_lack_value: bool = field(default=False, repr=False)

    @property
    def lacks_value(self) -> bool:
        return self.may_lack_value

    @property
    def types(self) -> Types:
        return self.bound_types

    @property
    def form(self) -> Form:
        return self.bound_form

    def value(self) -> Sql:
        return self.read

    def path(self) -> Path | None:
        return Path(self, ()) if self.form == "json" else None

    def text(self) -> Sql:
        return self.value() if self.form == "text" else compose("({} #>> '{{}}')", self.value())
