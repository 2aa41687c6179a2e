"""A filter tree as the conditions under which it is true and false.

A semi-join is an EXISTS over the other view's relation, read in the same snapshot. Its list never
holds a missing value, so `not_in` keeps every row whose own value is present and not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import (
    Catalogue,
    compared_type,
    dates_of,
    find_column,
    find_view,
    kind_of,
    value_sql,
)
from researchflow_runners.query.comparison import (
    Truth,
    all_truth,
    any_truth,
    at_least_truth,
    compare_truth,
)
from researchflow_runners.query.model import (
    AllOf,
    AtLeast,
    Compare,
    Filter,
    InQuery,
    Not,
    Within,
)
from researchflow_runners.query.walk import check_size
from researchflow_runners.query.within import Dated, events_sql, within_truth
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, param

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
        check_size(depth, self.nodes, at=at)


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

    def dates(self, name: str | None, *, at: str) -> Sequence[Column]:
        """The date columns of that name, or those of the view's event date, from now on read."""
        found = dates_of(name, self.columns, view=self.view, field=at)
        self.read.update(column.name for column in found)
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
    if isinstance(where, Within):
        return _within(where, rows, scope, at=at, depth=depth)
    if isinstance(where, AtLeast):
        return _at_least(where, rows, scope, at=at, depth=depth)
    if isinstance(where, AllOf):
        return all_truth(_truths(where.all_of, rows, scope, at=f"{at}.all_of", depth=depth))
    return any_truth(_truths(where.any_of, rows, scope, at=f"{at}.any_of", depth=depth))


def _truths(
    parts: Sequence[Filter], rows: Rows, scope: FilterScope, *, at: str, depth: int
) -> list[Truth]:
    return [
        filter_truth(part, rows, scope, at=f"{at}[{position}]", depth=depth + 1)
        for position, part in enumerate(parts)
    ]


def _at_least(where: AtLeast, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    several = where.at_least
    if several.n > len(several.of):
        raise QueryError(
            f"{several.n} of {len(several.of)} filters can never be true",
            code="value_never_matches",
            hint="give n filters or more in of, or a smaller n",
            field=f"{at}.at_least.n",
        )
    return at_least_truth(
        several.n, _truths(several.of, rows, scope, at=f"{at}.at_least.of", depth=depth)
    )


def _within(where: Within, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    at_window = f"{at}.within"
    window, event = where.within, where.within.of
    own = rows.column(where.column, at=f"{at}.column")
    other = _other(event.view, scope, at=f"{at_window}.of")
    theirs = other.column(event.column, at=f"{at_window}.of.column")
    _check_joinable(own, theirs, at=f"{at_window}.of")
    _check_keys(own, theirs, other, at=f"{at_window}.of")
    dated = Dated(rows.alias, own, rows.dates(window.date, at=f"{at_window}.date"))
    events = Dated(other.alias, theirs, other.dates(event.date, at=f"{at_window}.of.date"))
    inner = _inner(event.where, other, scope, at=f"{at_window}.of.where", depth=depth)
    found = events_sql(window, events, other.relation(scope), inner)
    return within_truth(window, dated, found, scope.alias())


def _other(view: str, scope: FilterScope, *, at: str) -> Rows:
    """Another view that a filter looks into."""
    return Rows(view, find_view(view, scope.catalogue, field=f"{at}.view"), scope.alias())


def _inner(where: Filter | None, other: Rows, scope: FilterScope, *, at: str, depth: int) -> Sql:
    """` AND …` that keeps the other view's rows of which the filter is true."""
    if where is None:
        return EMPTY
    found = filter_truth(where, other, scope, at=at, depth=depth + 1)
    return compose(" AND {}", found.holds)


def _in_query(where: InQuery, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    own = rows.column(where.column, at=f"{at}.column")
    other = _other(where.query.view, scope, at=f"{at}.query")
    theirs = other.column(where.query.column, at=f"{at}.query.column")
    _check_joinable(own, theirs, at=f"{at}.query")
    _check_keys(own, theirs, other, at=f"{at}.query")
    inner = _inner(where.query.where, other, scope, at=f"{at}.query.where", depth=depth)
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
        field=f"{at}.column",
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
        field=f"{at}.column",
        allowed=fitting,
        did_you_mean=fitting[0] if fitting else None,
    )
