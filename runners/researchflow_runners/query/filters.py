"""A filter tree as the conditions under which it is true and false.

A semi-join is an EXISTS over the other view's relation, read in the same snapshot. Its list never
holds a missing value, so `not_in` keeps every row whose own value is present and not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import (
    Catalogue,
    compared_type,
    find_column,
    find_view,
    kind_of,
    value_sql,
)
from researchflow_runners.query.comparison import Truth, all_truth, any_truth, compare_truth
from researchflow_runners.query.model import (
    FILTER_DEPTH_MAX,
    AllOf,
    AnyOf,
    Compare,
    Filter,
    InQuery,
    Not,
    Query,
)
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, param

FILTER_NODES_MAX = 200

#: The rows of a view with at least the named columns, as something that may stand in FROM before
#: an alias. PostgreSQL computes every column of a UNION's arms, read or not; naming those that
#: are read spares it the others.
Relations: TypeAlias = Callable[[str, Collection[str]], Sql]


@dataclass(slots=True)
class FilterScope:
    """One statement's catalogue and relations; hands out aliases and counts filter nodes."""

    catalogue: Catalogue
    relations: Relations
    nodes: int = 0
    aliases: int = field(default=0)

    def alias(self) -> Sql:
        """A table alias not used before in the statement."""
        self.aliases += 1
        return fixed(f"t{self.aliases}")

    def enter(self, depth: int, *, at: str) -> None:
        """Counts one node; QueryError `filter_too_large` beyond the bounds."""
        self.nodes += 1
        _check_size(depth, self.nodes, at=at)


@dataclass(frozen=True, slots=True)
class Rows:
    """A view as it stands in FROM: its name, columns and alias, and the columns read so far."""

    view: str
    columns: Sequence[Column]
    alias: Sql
    read: set[str] = field(default_factory=set)

    def column(self, name: str, *, at: str) -> Column:
        """The column, from now on one that is read, or QueryError `unknown_column`."""
        found = find_column(name, self.columns, view=self.view, field=at)
        self.read.add(name)
        return found

    def named(self, name: str | None) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def every_column(self) -> Sequence[Column]:
        """All columns, from now on read."""
        self.read.update(column.name for column in self.columns)
        return self.columns

    def relation(self, scope: FilterScope) -> Sql:
        """The relation with the columns read so far: ask when all are known."""
        return scope.relations(self.view, self.read)


def where_sql(where: Filter | None, rows: Rows, scope: FilterScope, *, at: str = "where") -> Sql:
    """` WHERE …` that keeps the rows for which the filter is true; empty without a filter."""
    if where is None:
        return EMPTY
    return compose(" WHERE {}", filter_truth(where, rows, scope, at=at, depth=1).holds)


def filter_truth(where: Filter, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    """The conditions of the filter; `at` is its path in the query."""
    scope.enter(depth, at=at)
    if isinstance(where, Compare):
        column = rows.column(where.column, at=f"{at}.column")
        return compare_truth(where, column, rows.alias, field=at)
    if isinstance(where, InQuery):
        return _in_query(where, rows, scope, at=at, depth=depth)
    if isinstance(where, Not):
        return filter_truth(where.not_, rows, scope, at=f"{at}.not", depth=depth + 1).negated()
    key, parts = ("all_of", where.all_of) if isinstance(where, AllOf) else ("any_of", where.any_of)
    truths = [
        filter_truth(part, rows, scope, at=f"{at}.{key}[{position}]", depth=depth + 1)
        for position, part in enumerate(parts)
    ]
    return all_truth(truths) if isinstance(where, AllOf) else any_truth(truths)


def _in_query(where: InQuery, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    own = rows.column(where.column, at=f"{at}.column")
    other = Rows(
        where.query.view,
        find_view(where.query.view, scope.catalogue, field=f"{at}.query.view"),
        scope.alias(),
    )
    theirs = other.column(where.query.column, at=f"{at}.query.column")
    _check_joinable(own, theirs, at=at)
    _check_keys(own, theirs, other, at=at)
    inner = EMPTY
    if where.query.where is not None:
        place = f"{at}.query.where"
        found = filter_truth(where.query.where, other, scope, at=place, depth=depth + 1)
        inner = compose(" AND {}", found.holds)
    exists = _exists(where, own, theirs, rows=rows, other=other, inner=inner, scope=scope)
    stored = value_sql(rows.alias, own)
    truth = Truth(exists, compose("({} IS NOT NULL AND NOT {})", stored, exists))
    return truth if where.op == "in" else truth.negated()


def _exists(
    where: InQuery,
    own: Column,
    theirs: Column,
    *,
    rows: Rows,
    other: Rows,
    inner: Sql,
    scope: FilterScope,
) -> Sql:
    relation = other.relation(scope)
    if where.query.min_rows == 1:
        return compose(
            "EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {theirs} = {own}{inner})",
            relation=relation,
            alias=other.alias,
            theirs=value_sql(other.alias, theirs),
            own=value_sql(rows.alias, own),
            inner=inner,
        )
    return compose(
        "EXISTS (SELECT 1 FROM (SELECT {theirs} AS v FROM {relation} AS {alias}"
        " WHERE {theirs} IS NOT NULL{inner} GROUP BY 1 HAVING count(*) >= {least}) AS {group}"
        " WHERE {group}.v = {own})",
        relation=relation,
        alias=other.alias,
        theirs=value_sql(other.alias, theirs),
        own=value_sql(rows.alias, own),
        inner=inner,
        least=param(where.query.min_rows, "bigint"),
        group=scope.alias(),
    )


def _check_joinable(own: Column, theirs: Column, *, at: str) -> None:
    joinable = ("text", "integer", "decimal", "time")
    kinds = (kind_of(own), kind_of(theirs))
    alike = kinds[0] == kinds[1] and (
        kinds[0] != "time" or compared_type(own) == compared_type(theirs)
    )
    if alike and kinds[0] in joinable:
        return
    raise QueryError(
        f'column "{own.name}" ({kinds[0]}) cannot be matched with column '
        f'"{theirs.name}" ({kinds[1]})',
        code="column_mismatch",
        hint="match two columns of the same kind, such as id and patient_id",
        field=f"{at}.query.column",
    )


def _check_keys(own: Column, theirs: Column, other: Rows, *, at: str) -> None:
    """Refuses keys of two types of resources: none of one is ever among those of the other."""
    if None in (own.key_of, theirs.key_of) or own.key_of == theirs.key_of:
        return
    fitting = tuple(column.name for column in other.columns if column.key_of == own.key_of)
    raise QueryError(
        f'column "{own.name}" holds keys of {own.key_of}, column "{theirs.name}" of view '
        f'"{other.view}" keys of {theirs.key_of}: they never match',
        code="column_mismatch",
        hint=f"match it with a column that holds keys of {own.key_of}",
        field=f"{at}.query.column",
        allowed=fitting,
        did_you_mean=fitting[0] if fitting else None,
    )


def views_of(query: Query) -> tuple[str, ...]:
    """The names of all views the query reads, its own first, each once.

    QueryError `filter_too_large`: ask this first, the walk needs no stack and so no bound.
    """
    names = [query.view, *(_views_in(query.where) if query.where else ())]
    return tuple(dict.fromkeys(names))


def _views_in(where: Filter) -> Iterator[str]:
    pending: list[tuple[Filter, int]] = [(where, 1)]
    nodes = 0
    while pending:
        node, depth = pending.pop(0)
        nodes += 1
        _check_size(depth, nodes, at="where")
        if isinstance(node, AllOf | AnyOf):
            parts = node.all_of if isinstance(node, AllOf) else node.any_of
            pending.extend((part, depth + 1) for part in parts)
        elif isinstance(node, Not):
            pending.append((node.not_, depth + 1))
        elif isinstance(node, InQuery):
            yield node.query.view
            if node.query.where is not None:
                pending.append((node.query.where, depth + 1))


def _check_size(depth: int, nodes: int, *, at: str) -> None:
    if depth <= FILTER_DEPTH_MAX and nodes <= FILTER_NODES_MAX:
        return
    raise QueryError(
        "the filter is too large",
        code="filter_too_large",
        hint=f"nest at most {FILTER_DEPTH_MAX} deep and use at most {FILTER_NODES_MAX} filters",
        field=at,
    )
