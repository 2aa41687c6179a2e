"""The intermediate form of an expression: typed nodes that know how to become SQL.

Every node says what types it may have and whether it may hold several items (`many`), so that an
operator can choose the cheapest correct SQL:

* `value` one item in the node's native `form`, NULL when empty. On a node with `many`, a scalar
  subquery, which PostgreSQL refuses (SQLSTATE 21000) when there really are several items.
* `path` the node as a SQL/JSON path from some base, when one path can say it.
* `rows` all items in order, as an item for FROM with the one column `v jsonb`.
* `condition` the node as a predicate inside a path filter, when one can say it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from researchflow_runners.compiler.jsonpath import (
    PathParts,
    Variable,
    call,
    concatenated,
    json_scalar,
    key_step,
)
from researchflow_runners.compiler.types import Kind, Types, is_primitive, kind_of
from researchflow_runners.errors import Span
from researchflow_runners.fhirpath.ast import NOWHERE
from researchflow_runners.sql import Sql, compose, fixed, join, param

#: Texts of which a resource must contain one for a node to be true, or to have an item; None
#: when nothing is known.
Requirement: TypeAlias = frozenset[str] | None
Form: TypeAlias = Literal["json", "text", "boolean", "numeric", "integer"]
NULL = fixed("NULL")


@dataclass(frozen=True)
class Expr(ABC):
    """A typed expression over the current focus."""

    span: Span = field(default=NOWHERE, compare=False, kw_only=True, repr=False)

    @property
    @abstractmethod
    def types(self) -> Types:
        """The FHIR types an item may have; empty when there is never an item."""

    @property
    def many(self) -> bool:
        """Whether there may be more than one item."""
        return False

    @property
    def form(self) -> Form:
        """The SQL type of `value`."""
        return "json"

    @property
    def kind(self) -> Kind:
        """The kind of its types."""
        return kind_of(self.types)

    @abstractmethod
    def value(self) -> Sql:
        """One item in the native form, or NULL."""

    def path(self) -> Path | None:
        """The node as a path from a base."""
        return None

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        """The node as a filter predicate on `item` that is true exactly when the node is.

        With `negated`, true exactly when the node is false; an empty node satisfies neither.
        None when no predicate says it.
        """
        return None

    def required(self) -> Requirement:
        """What a resource's text must contain for the node to be true, or to have an item."""
        return None

    @property
    def verbatim(self) -> bool:
        """Whether each item stands in the resource's text as it is."""
        return False

    def operand(self, item: Expr) -> PathParts | None:
        """The node as an operand inside a filter on `item`; it holds at most one item."""
        path = self.path()
        if path is None or self.many or path.base != item:
            return None
        return concatenated("@", path.parts)

    def rows(self) -> Sql:
        """All items as a FROM item with the column `v`, in order."""
        path = self.path()
        if path is not None:
            return call("jsonb_path_query", path.base.value(), path.parts)
        return compose("(SELECT i.v FROM (SELECT {} AS v) AS i WHERE i.v IS NOT NULL)", self.json())

    def array(self) -> Sql:
        """All items as a jsonb array, empty when there are none."""
        path = self.path()
        if path is not None:
            found = call("jsonb_path_query_array", path.base.value(), path.parts)
            return compose("coalesce({}, '[]')", found)
        return compose(
            "(SELECT coalesce(jsonb_agg(a.v ORDER BY a.n), '[]') FROM {} AS a(v, n))",
            numbered(self),
        )

    def exists(self) -> Sql:
        """Whether there is an item; never NULL."""
        path = self.path()
        if path is not None and (self.many or path.keys is None):
            found = call("jsonb_path_exists", path.base.value(), path.parts)
            return compose("coalesce({}, false)", found)
        if self.many:
            return compose("EXISTS (SELECT FROM {} AS e(v))", self.rows())
        value = self.value() if self.form != "json" else self.present_json()
        return compose("({} IS NOT NULL)", value)

    def present_json(self) -> Sql:
        """The JSON value with JSON's null, which FHIR knows only as a placeholder, made NULL."""
        if all(is_primitive(name) for name in self.types):
            return self.text()
        return compose("nullif({}, 'null')", self.value())

    def json(self) -> Sql:
        """One item as jsonb."""
        return self.value() if self.form == "json" else compose("to_jsonb({})", self.value())

    def text(self) -> Sql:
        """One item as text, as written in the resource."""
        if self.form == "text":
            return self.value()
        if self.form != "json":
            return compose("({})::text", self.value())
        path = self.path()
        if path is not None and path.keys:
            return compose("({} ->> {})", Path(path.base, path.keys[:-1]).plain(), path.last_key())
        return compose("({} #>> '{{}}')", self.value())

    def boolean(self) -> Sql:
        """One item as boolean; a JSON value of another type raises SQLSTATE 22023."""
        return self.value() if self.form == "boolean" else compose("({})::boolean", self.value())

    def numeric(self) -> Sql:
        """One item as numeric; a JSON value of another type raises SQLSTATE 22023."""
        if self.form in ("numeric", "integer"):
            return self.value()
        return compose("({})::numeric", self.value())


@dataclass(frozen=True)
class Path:
    """Steps from a base. `keys` are the member names when every step takes one single member."""

    base: Expr
    keys: tuple[str, ...] | None
    filtered: PathParts = ()

    @property
    def parts(self) -> PathParts:
        """The steps as path text."""
        return self.filtered if self.keys is None else tuple(key_step(key) for key in self.keys)

    def then(self, *steps: str | PathParts) -> Path:
        """The path with further steps."""
        return Path(self.base, None, concatenated(self.parts, *steps))

    def member(self, key: str) -> Path:
        """The path to one single member."""
        if self.keys is None:
            return self.then(key_step(key))
        return Path(self.base, (*self.keys, key))

    def last_key(self) -> Sql:
        """The last member's name as a constant."""
        return fixed(f"'{(self.keys or ('',))[-1]}'")

    def plain(self) -> Sql:
        """`base -> 'a' -> 'b'`, for a path of single members."""
        value = self.base.value()
        for key in self.keys or ():
            value = compose(f"({{}} -> '{key}')", value)
        return value


def numbered(expr: Expr) -> Sql:
    """All items as a FROM item with the columns (v, n), n counting from 1."""
    if expr.path() is not None:
        return compose("{} WITH ORDINALITY", expr.rows())
    return compose("(SELECT r.v, row_number() OVER () AS n FROM {} AS r(v))", expr.rows())


def single(expr: Expr) -> Sql:
    """The one item of a node that may hold several; PostgreSQL raises 21000 when it does."""
    return compose("(SELECT g.v FROM {} AS g(v))", expr.rows())


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
class ResourceId(Expr):
    """The resource's id, from the source."""

    alias: str

    @property
    def types(self) -> Types:
        return ("id",)

    @property
    def form(self) -> Form:
        return "text"

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
class RowIndex(Expr):
    """`%rowIndex`: the place of the current item in the innermost iteration, from 0."""

    alias: str | None

    @property
    def types(self) -> Types:
        return ("integer",)

    @property
    def form(self) -> Form:
        return "integer"

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
            return "integer"
        return "numeric" if kind == "decimal" else "text"

    def value(self) -> Sql:
        if self.form == "boolean":
            return param(self.text_value == "true", "boolean")
        if self.form in ("integer", "numeric"):
            # Sent as text and cast: exact for decimals of any length.
            return compose(f"({{}})::{self.form}", param(self.text_value, "text"))
        return param(self.text_value, "text")

    def required(self) -> Requirement:
        return frozenset({self.text_value}) if self.form == "text" else None

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
        # An item of a primitive list may be null: a placeholder for an extension beside it.
        placeholder = " ? (@ != null)" if kind_of(self.types) != "complex" else ""
        return source.then(key_step(keys[0]), "[*]", placeholder)

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
                fixed(f"'${key_step(key)}{'[*]' if self.element_many else ''}'"),
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
class Bound(Expr):
    """A node evaluated once and kept in a FROM item, because several columns read it."""

    alias: str
    column: str
    bound_types: Types

    @property
    def types(self) -> Types:
        return self.bound_types

    def value(self) -> Sql:
        return fixed(f"{self.alias}.{self.column}")

    def path(self) -> Path:
        return Path(self, ())

    def text(self) -> Sql:
        return compose("({} #>> '{{}}')", self.value())
