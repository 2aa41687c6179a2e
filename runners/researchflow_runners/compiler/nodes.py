"""The nodes that every expression is made of: focus, constants, elements, the resource's own."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import (
    Expr,
    Form,
    IntegerExpr,
    KeyExpr,
    Path,
    Requirement,
    StringExpr,
    single,
)
from researchflow_runners.compiler.jsonpath import (
    PathParts,
    Variable,
    call,
    concatenated,
    json_scalar,
    key_step,
)
from researchflow_runners.compiler.types import Types, kind_of
from researchflow_runners.sql import Sql, compose, fixed, join, param

#: Greatest value of PostgreSQL's integer; an integer64 may be greater.
INTEGER_MAX = 2**31 - 1


@dataclass(frozen=True)
class Focus(Expr):
    """The node an expression is evaluated on: a column `v` of a FROM item."""

    alias: str
    focus_types: Types

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


@dataclass(frozen=True)
class Resource(Focus):
    """The resource; `id` and `meta` come from the source's own columns, not from its text."""


@dataclass(frozen=True)
class ResourceId(KeyExpr):
    """The resource's id, from the source."""

    alias: str

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
class Child(Expr):
    """`source.element`: the members under `keys`, JSON key and FHIR type of each.

    Several keys mean a choice element that is not narrowed to one type; an item has only one.
    """

    source: Expr
    keys: tuple[tuple[str, str], ...]
    element_many: bool

    @property
    def types(self) -> Types:
        return tuple(dict.fromkeys(type_name for _key, type_name in self.keys))

    @property
    def many(self) -> bool:
        return self.source.many or self.element_many

    def json_keys(self) -> tuple[str, ...]:
        """The JSON keys, each once."""
        return tuple(dict.fromkeys(key for key, _type in self.keys))

    def path(self) -> Path | None:
        keys = self.json_keys()
        source = self._source_path()
        if len(keys) != 1 or source is None:
            return None
        if not self.element_many:
            return source.member(keys[0])
        return source.then(self._items_step(keys[0]))

    def _items_step(self, key: str) -> str:
        if not self.element_many:
            return key_step(key)
        # An item of a primitive list may be null: a placeholder for an extension beside it.
        placeholder = " ? (@ != null)" if kind_of(self.types) != "complex" else ""
        return f"{key_step(key)}[*]{placeholder}"

    def _source_path(self) -> Path | None:
        path = self.source.path()
        if path is None and not self.source.many and self.source.form == "json":
            return Path(self.source, ())
        return path

    def value(self) -> Sql:
        if self.many:
            return single(self)
        path = self.path()
        if path is not None:
            return path.plain() if path.keys is not None else _first(path)
        source = self.source.value()
        found = [compose(f"({{}} -> '{key}')", source) for key in self.json_keys()]
        return compose("coalesce({})", join(", ", found))

    def rows(self) -> Sql:
        if not self.many or self.path() is not None:
            return super().rows()
        steps = [
            compose(
                "SELECT c.v FROM jsonb_path_query(s.v, {}) AS c(v)",
                fixed(f"'${self._items_step(key)}'"),
            )
            for key in self.json_keys()
        ]
        return compose(
            "(SELECT t.v FROM {} AS s(v) CROSS JOIN LATERAL ({}) AS t)",
            self.source.rows(),
            join(" UNION ALL ", steps),
        )

    def required(self) -> Requirement:
        return self.source.required()

    def root_keys(self) -> Requirement:
        if isinstance(self.source, Resource):
            return frozenset(self.json_keys())
        return self.source.root_keys()

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        operand = self.operand(item) if self.kind == "boolean" else None
        if operand is None:
            return None
        return concatenated("(", operand, " == false)" if negated else " == true)")


def _first(path: Path) -> Sql:
    """The first item of a path."""
    return call("jsonb_path_query_first", path.base.value(), path.parts)


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
