"""The rows of a view as they stand in a statement, and what the parts of one statement share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import Catalogue, dates_of, find_column, find_view
from researchflow_runners.query.notices import Notice
from researchflow_runners.query.walk import check_size
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join

#: The rows of a view with at least the named columns, as something that may stand in FROM before
#: an alias. PostgreSQL computes every column of a UNION's arms, read or not; naming those that
#: are read spares it the others.
Relations: TypeAlias = Callable[[str, Collection[str]], Sql]


@dataclass(slots=True)
class FilterScope:
    """One statement's catalogue and relations; hands out aliases and counts filter nodes.

    `tables` are its common tables, `ties` counts of keys whose kept row others equal, `notices`
    what the answer is told.
    """

    catalogue: Catalogue
    relations: Relations
    nodes: int = 0
    aliases: int = 0
    tables: list[Sql] = field(default_factory=list)
    ties: list[Sql] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def rows(self, view: str, *, at: str) -> Rows:
        """The view under an alias of its own, or QueryError `unknown_view`."""
        return Rows(view, find_view(view, self.catalogue, field=at), self.alias())

    def alias(self) -> Sql:
        """A table alias not used before in the statement."""
        self.aliases += 1
        return fixed(f"t{self.aliases}")

    def table(self, select: Sql) -> Sql:
        """The name of a common table with the rows of this SELECT."""
        name = fixed(f"kept{len(self.tables) + 1}")
        self.tables.append(compose("{} AS MATERIALIZED ({})", name, select))
        return name

    def with_sql(self) -> Sql:
        """`WITH … ` of the common tables; ask when the statement is complete."""
        return compose("WITH {} ", join(", ", self.tables)) if self.tables else EMPTY

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
