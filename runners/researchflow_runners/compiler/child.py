"""Elements below a node, with or without a value.

An element of a primitive type may have an id or extensions, which JSON keeps in a sibling `_name`,
and no value. It is an item nevertheless, whose value is JSON's null here. In a list of primitives
null holds its place.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Path, Requirement, one_row, single
from researchflow_runners.compiler.jsonpath import PathParts, call, concatenated, key_step
from researchflow_runners.compiler.nodes import Resource
from researchflow_runners.compiler.types import Types, is_primitive, kind_of
from researchflow_runners.sql import Sql, compose, fixed, join

#: The items of a list below `{s}`; mostly nothing stands beside them.
LISTED = """jsonb_array_elements(CASE WHEN {s} -> '_{key}' IS NULL THEN {s} -> '{key}'
 ELSE (SELECT jsonb_agg(g.v) FROM {placed} AS g(v, x)) END)"""
#: The places of a list, in order, with their values and what stands beside these.
PLACED = """(SELECT coalesce(p.v, 'null'), p.x FROM (SELECT n.n, {s} -> '{key}' -> n.n AS v,
 nullif({s} -> '_{key}' -> n.n, 'null') AS x
 FROM generate_series(0, greatest(jsonb_array_length({s} -> '{key}'),
 jsonb_array_length({s} -> '_{key}')) - 1) AS n(n)) AS p
 WHERE p.v IS NOT NULL OR p.x IS NOT NULL ORDER BY p.n)"""
ARRAY = """(SELECT CASE WHEN i.v IS NULL THEN '[]' ELSE jsonb_build_array(i.v) END
 FROM (SELECT {} AS v) AS i)"""
ITEM = "coalesce({}, CASE WHEN {} THEN 'null'::jsonb END)"


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

    @property
    def _has_siblings(self) -> bool:
        """Whether an item may stand beside its value, or without one."""
        return any(is_primitive(one) for one in self.types)

    def json_keys(self) -> tuple[str, ...]:
        """The JSON keys of values, each once."""
        return tuple(dict.fromkeys(key for key, _type in self.keys))

    def all_keys(self) -> tuple[str, ...]:
        """The JSON keys under which an item may stand, whether it has a value or not."""
        beside = (f"_{key}" for key, one in self.keys if is_primitive(one))
        return tuple(dict.fromkeys((*self.json_keys(), *beside)))

    def path(self) -> Path | None:
        return None if self.lacks_value else self.value_path()

    def value_path(self) -> Path | None:
        """The path to the values of the items."""
        keys = self.json_keys()
        source = self.source_path()
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

    def source_path(self) -> Path | None:
        """The source as a path."""
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
        return self.of(self.source.value())

    def of(self, source: Sql) -> Sql:
        """The value below one source."""
        found = [compose(f"({{}} -> '{key}')", source) for key in self.json_keys()]
        return compose("coalesce({})", join(", ", found)) if len(found) > 1 else found[0]

    def as_item(self) -> Sql:
        if self.many or not self._has_siblings:
            return self.value()
        return compose(
            "coalesce({}, CASE WHEN {} THEN 'null'::jsonb END)", self.value(), self._at()
        )

    def _at(self) -> Sql:
        """Whether the source has a member for the item, as one that is no list."""
        source = self.source.value()
        found = [compose(f"({{}} ->> '{key}')", source) for key in self.all_keys()]
        return compose("(coalesce({}) IS NOT NULL)", join(", ", found))

    def exists(self) -> Sql:
        if not self._has_siblings:
            return super().exists()
        if not self.many:
            return self._at()
        found = self.paths()
        if found is None:
            return super().exists()
        tests = [
            compose("coalesce({}, false)", call("jsonb_path_exists", one.base.value(), one.parts))
            for one in found
        ]
        return compose("({})", join(" OR ", tests))

    def paths(self) -> list[Path] | None:
        """Paths of which one leads somewhere when there is an item; None when none say it."""
        source = self.source_path()
        if source is None:
            return None
        values = self.json_keys()
        listed = "[*]" if self.element_many else ""
        beside = f"{listed} ? (@ != null)" if listed else ""
        return [
            source.then(key_step(key) + (listed if key in values else beside))
            for key in self.all_keys()
        ]

    def array(self) -> Sql:
        if self.many or not self._has_siblings:
            return super().array()
        return compose(ARRAY, self.as_item())

    def rows(self) -> Sql:
        if not self._has_siblings:
            return self._plain_rows()
        if not self.many:
            return one_row(self)
        if self.element_many:
            return self._listed()
        return compose(
            "(SELECT coalesce({}, 'null') FROM {} AS s(v) WHERE s.v ?| {})",
            self.of(fixed("s.v")),
            self.source.rows(),
            fixed("ARRAY[" + ", ".join(f"'{key}'" for key in self.all_keys()) + "]"),
        )

    def _listed(self) -> Sql:
        key = self.json_keys()[0]
        if not self.source.many:
            return listed(self.source.value(), key)
        return compose(
            "(SELECT t.v FROM {} AS s(v) CROSS JOIN LATERAL {} AS t(v))",
            self.source.rows(),
            listed(fixed("s.v"), key),
        )

    def _plain_rows(self) -> Sql:
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
            return frozenset(self.all_keys())
        return self.source.root_keys()

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        operand = self.operand(item) if self.kind == "boolean" else None
        if operand is None:
            return None
        return concatenated("(", operand, " == false)" if negated else " == true)")


def listed(source: Sql, key: str) -> Sql:
    """The items of a list of primitives as a FROM item with the column v."""
    return compose(LISTED.replace("{key}", key), s=source, placed=placed(source, key))


def placed(source: Sql, key: str) -> Sql:
    """The items of a list of primitives as a FROM item (v, x), x being what stands beside v."""
    return compose(PLACED.replace("{key}", key), s=source)


def _first(path: Path) -> Sql:
    """The first item of a path."""
    return call("jsonb_path_query_first", path.base.value(), path.parts)


@dataclass(frozen=True)
class Values(Expr):
    """The values of an element's items, without those that have none."""

    source: Child

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    def path(self) -> Path | None:
        return self.source.value_path()

    def value(self) -> Sql:
        return single(self)

    def required(self) -> Requirement:
        return self.source.required()

    def root_keys(self) -> Requirement:
        return self.source.root_keys()

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim


def values_of(expr: Expr) -> Expr:
    """The node for what only looks at values: items without one may be left out."""
    if isinstance(expr, Child) and expr.lacks_value and expr.value_path() is not None:
        return Values(expr, span=expr.span)
    return expr
