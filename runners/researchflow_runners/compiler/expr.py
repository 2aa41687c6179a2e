"""The intermediate form of an expression: typed nodes that know how to become SQL.

Every node says what types it may have and whether it may hold several items (`many`), so that an
operator can choose the cheapest correct SQL:

* `value` one item in the node's native `form`, NULL when empty. On a node with `many`, a scalar
  subquery, which PostgreSQL refuses (SQLSTATE 21000) when there really are several items. The value
  of an element that has none is NULL, or JSON's null where the node says that it `lacks_value`.
* `as_item` the same as jsonb, always JSON's null for an element without a value: NULL is no item.
* `path` the node as a SQL/JSON path from some base, when one path can say it.
* `rows` all items in order, as an item for FROM with the one column `v jsonb`.
* `condition` the node as a predicate inside a path filter, when one can say it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, TypeAlias

from researchflow_runners.compiler.jsonpath import (
    KEY_STEP,
    PathParts,
    call,
    concatenated,
    key_step,
)
from researchflow_runners.compiler.types import Kind, Types, is_primitive, kind_of
from researchflow_runners.errors import Span
from researchflow_runners.fhirpath.ast import NOWHERE
from researchflow_runners.sql import Sql, compose, fixed

#: Texts of which a resource must contain one for a node to be true, or to have an item; None
#: when nothing is known.
Requirement: TypeAlias = frozenset[str] | None
Form: TypeAlias = Literal["json", "text", "boolean", "numeric", "integer"]
NULL = fixed("NULL")
ONE_ROW = "(SELECT i.v, 1::bigint AS n FROM (SELECT {} AS v OFFSET 0) AS i WHERE i.v IS NOT NULL)"


@dataclass(frozen=True)
class Expr(ABC):
    """A typed expression over the current focus."""

    span: Span = field(default=NOWHERE, compare=False, kw_only=True, repr=False)
    #: How often the node's SQL holds that of the nodes it is made of.
    repeats_operands: ClassVar[int] = 1

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
    def lacks_value(self) -> bool:
        """Whether `value` may be JSON's null: an element that has no value."""
        return self.many and any(map(is_primitive, self.types))

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

    def needs_value(self, item: Expr) -> bool:
        """Whether the node is empty for an item without a value, as conditions on it are."""
        return False

    def asks_value_of(self, item: Expr) -> bool:
        """Whether the node says nothing but that the item has a value."""
        return False

    def required(self) -> Requirement:
        """What a resource's text must contain for the node to be true, or to have an item."""
        return None

    def root_keys(self) -> Requirement:
        """Members of the resource of which one must be there for the node to have an item."""
        return None

    def one_of(self) -> tuple[Expr, tuple[str, ...]] | None:
        """The item and the texts, when the node says that the item is one of these texts."""
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
            # The function copies what it is given, so it is given no more than it needs.
            base, parts = path.split()
            return call("jsonb_path_query", base, parts)
        return one_row(self)

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
        if self.lacks_value:
            return compose("({} IS NOT NULL)", self.as_item())
        value = self.value() if self.form != "json" else self.present_json()
        return compose("({} IS NOT NULL)", value)

    def present_json(self) -> Sql:
        """The JSON value with JSON's null, which FHIR knows only as a placeholder, made NULL."""
        if all(is_primitive(name) for name in self.types):
            return self.text()
        return compose("nullif({}, 'null')", self.value())

    def as_item(self) -> Sql:
        """One item as jsonb, JSON's null for an element without a value; NULL without an item."""
        return self.json()

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
        return self.value() if self.form == "boolean" else self._cast("boolean")

    def numeric(self) -> Sql:
        """One item as numeric; a JSON value of another type raises SQLSTATE 22023."""
        if self.form in ("numeric", "integer"):
            return self.value()
        return self._cast("numeric")

    def _cast(self, sql_type: str) -> Sql:
        # PostgreSQL casts JSON's null from version 18 on only.
        template = "nullif({}, 'null')" if self.lacks_value else "({})"
        return compose(template + "::" + sql_type, self.value())


class StringExpr(Expr):
    """A node whose one item is a computed string."""

    @property
    def types(self) -> Types:
        return ("System.String",)

    @property
    def form(self) -> Form:
        return "text"


class KeyExpr(Expr):
    """A node whose one item is the id of a resource."""

    @property
    def key_of(self) -> str | None:
        """The type of that resource; None where it may be any."""
        return None

    @property
    def types(self) -> Types:
        return ("id",)

    @property
    def form(self) -> Form:
        return "text"


class IntegerExpr(Expr):
    """A node whose one item is a computed integer."""

    @property
    def types(self) -> Types:
        return ("System.Integer",)

    @property
    def form(self) -> Form:
        return "integer"


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

    def split(self) -> tuple[Sql, PathParts]:
        """The value that single members at the start lead to, and the steps from there."""
        base, parts = self.base.value(), self.parts
        while parts and isinstance(parts[0], str) and (key := KEY_STEP.match(parts[0])):
            base = compose(f"({{}} -> '{key[1]}')", base)
            parts = tuple(filter(None, (parts[0][key.end() :], *parts[1:])))
        return base, parts

    def last_key(self) -> Sql:
        """The last member's name as a constant."""
        return fixed(f"'{(self.keys or ('',))[-1]}'")

    def plain(self) -> Sql:
        """`base -> 'a' -> 'b'`, for a path of single members."""
        value = self.base.value()
        for key in self.keys or ():
            value = compose(f"({{}} -> '{key}')", value)
        return value


def one_row(expr: Expr) -> Sql:
    """The item of a node that holds one at most, as a FROM item with the column v."""
    return compose("(SELECT i.v FROM (SELECT {} AS v) AS i WHERE i.v IS NOT NULL)", expr.as_item())


def any_of(requirements: Sequence[Requirement]) -> Requirement:
    """What follows when one of them holds, nobody knows which."""
    known = [one for one in requirements if one is not None]
    return frozenset().union(*known) if known and len(known) == len(requirements) else None


def substituted(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The node with another one in the place of one that it is made of."""
    if expr == old:
        return new
    changes = {
        one.name: substituted(value, old, new)
        for one in fields(expr)
        if isinstance(value := getattr(expr, one.name), Expr)
    }
    return replace(expr, **changes) if changes else expr  # type: ignore[arg-type]  # same fields


def unnumbered(expr: Expr) -> Sql:
    """All items as a FROM item with the column v; half as dear as one that numbers them."""
    if not expr.many:
        return compose(ONE_ROW, expr.as_item())
    return expr.rows() if expr.path() is None else compose("(SELECT {} AS v)", expr.rows())


def numbered(expr: Expr) -> Sql:
    """All items as a FROM item with the columns (v, n), n counting from 1."""
    if not expr.many:
        return compose(ONE_ROW, expr.as_item())
    if expr.path() is not None:
        return compose("{} WITH ORDINALITY", expr.rows())
    return compose("(SELECT r.v, row_number() OVER () AS n FROM {} AS r(v))", expr.rows())


def single(expr: Expr) -> Sql:
    """The one item of a node that may hold several; PostgreSQL raises 21000 when it does."""
    return compose("(SELECT g.v FROM {} AS g(v))", expr.rows())
