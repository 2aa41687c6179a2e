"""The rows of a view as they stand in a statement, and what the parts of one statement share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import (
    Catalogue,
    dates_of,
    find_column,
    find_view,
    value_sql,
)
from researchflow_runners.query.notices import Notice, Told
from researchflow_runners.query.reach import (
    PATIENT,
    Lender,
    find_lender,
    is_known,
    lent_column,
    lent_elsewhere,
    own_key,
)
from researchflow_runners.query.walk import check_size
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join

#: The rows of a view with at least the named columns, as something that may stand in FROM before
#: an alias. PostgreSQL computes every column of a UNION's arms, read or not; naming those that
#: are read spares it the others.
Relations: TypeAlias = Callable[[str, Collection[str]], Sql]


@dataclass(frozen=True, slots=True)
class Mixed:
    """A condition under which several units are put together: of which column of numbers, told
    by which of units, and by which part of the query."""

    condition: Sql
    value: str
    unit: str
    field: str


@dataclass(slots=True)
class FilterScope:
    """One statement's catalogue and relations; hands out aliases and counts filter nodes.

    `on` is the day of the answer. `tables` are its common tables, `ties` counts of keys whose kept
    row others equal, `notices` what the answer is told, `mixed` what puts several units together.
    """

    catalogue: Catalogue
    relations: Relations
    on: date | None = None
    nodes: int = 0
    aliases: int = 0
    tables: list[Sql] = field(default_factory=list)
    ties: list[Sql] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)

    def rows(self, view: str, *, at: str) -> Rows:
        """The view under an alias of its own, or QueryError `unknown_view`."""
        columns = find_view(view, self.catalogue, field=at)
        return Rows(view, columns, self.alias(), self.catalogue)

    def today(self) -> date:
        """The day of the answer; ValueError where the statement is of no answer."""
        if self.on is None:
            raise ValueError("no day is given for ages")
        return self.on

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


#: The total order of a view's rows.
ROW_KEYS = ('_id COLLATE "C"', "_ord")
_REACHING = """\
(SELECT r.*, {lent} FROM {relation} AS r LEFT JOIN {lending} AS l ON {theirs} = {own})\
"""


@dataclass(frozen=True, slots=True)
class Reached:
    """Another view whose row each row points to by its column `key`."""

    lender: Lender
    key: Column

    @property
    def flag(self) -> str:
        """The name of the column that says whether the other row is there."""
        return f"_{self.lender.word}_is_there"

    def names(self) -> list[str]:
        """The flag and the columns that are read, under their names among the rows."""
        lender = self.lender
        lent = [
            f"{lender.word}.{name}"
            for column in lender.columns
            if column.name in lender.read
            for name, _pg_type in column.physical
        ]
        return [self.flag, *lent]


@dataclass(frozen=True, slots=True)
class Rows:
    """A view as it stands in FROM: its name, columns and alias, and what is read so far.

    A name with a dot, such as `patient.gender`, is a column of the row that a key points to.
    """

    view: str
    columns: Sequence[Column]
    alias: Sql
    catalogue: Catalogue = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    reached: dict[str, Reached] = field(default_factory=dict)

    def column(self, name: str, *, at: str) -> Column:
        """The column, from now on one that is read, or QueryError `unknown_column`."""
        word, dot, rest = name.partition(".")
        if dot and is_known(word, self.catalogue):
            return lent_column(self._reach(word, at=at).lender, rest, at=at)
        is_here = any(column.name == name for column in self.columns)
        other = None if is_here else lent_elsewhere(name, self.columns, self.catalogue)
        found = find_column(name, self.columns, view=self.view, field=at, other=other)
        self.read.add(name)
        return found

    def _reach(self, word: str, *, at: str) -> Reached:
        if word not in self.reached:
            lender = find_lender(word, self.view, self.catalogue, at=at)
            key = own_key(lender, self.columns, view=self.view, at=at)
            self.read.add(key.name)
            self.reached[word] = Reached(lender, key)
        return self.reached[word]

    def birth(self, *, at: str) -> Column:
        """The date of birth of the row's patient, which is of the row itself where it has one."""
        own = [column.name for column in self.columns if column.died_at is not None]
        if own:
            return self.column(own[0], at=at)
        lender = self._reach(PATIENT, at=at).lender
        born = next((one.name for one in lender.columns if one.died_at is not None), None)
        if born is not None:
            return self.column(f"{PATIENT}.{born}", at=at)
        raise QueryError(
            f'view "{lender.view}" does not say which date is that of birth',
            code="column_missing",
            hint="name the date of birth in column, such as patient.birth_date",
            field=at,
        )

    def view_of(self, name: str) -> str:
        """The view that a column of this name is of."""
        word, dot, _rest = name.partition(".")
        return self.reached[word].lender.view if dot else self.view

    def dates(self, name: str | None, *, at: str) -> Sequence[Column]:
        """The date columns of that name, or those of the view's event date, from now on read."""
        if name is not None and "." in name:
            column = self.column(name, at=at)
            return dates_of(name, [column], view=self.view_of(name), field=at)
        found = dates_of(name, self.columns, view=self.view, field=at)
        self.read.update(column.name for column in found)
        return found

    def every_column(self) -> Sequence[Column]:
        """All columns, from now on read."""
        self.read.update(column.name for column in self.columns)
        return self.columns

    def relation(self, scope: FilterScope) -> Sql:
        """The relation with the columns read so far: ask when all are known."""
        relation = scope.relations(self.view, self.read)
        for reached in self.reached.values():
            relation = _with_lent(relation, reached, scope)
        return relation

    def names(self) -> list[str]:
        """The names, in the relation, of all that was read, companions of dates included."""
        own = [
            name
            for column in self.columns
            if column.name in self.read
            for name, _pg_type in column.physical
        ]
        return [*own, *(name for one in self.reached.values() for name in one.names())]

    def told(self) -> list[Told]:
        """Which rows of the answer point to a row that is not there."""
        return [
            Told(
                compose(
                    "({} IS NOT NULL AND {}.{} IS NOT TRUE)",
                    value_sql(self.alias, one.key),
                    self.alias,
                    ident(one.flag),
                ),
                f'{{n}} rows name a {one.lender.word} that view "{one.lender.view}" has not: its '
                "columns are missing there",
            )
            for one in self.reached.values()
        ]


def row_order(alias: Sql) -> Sql:
    """ORDER BY's expressions of that order, of rows under the alias."""
    return join(", ", [compose("{}.{}", alias, fixed(key)) for key in ROW_KEYS])


def _with_lent(relation: Sql, reached: Reached, scope: FilterScope) -> Sql:
    lender = reached.lender
    theirs = value_sql(fixed("l"), lender.key)
    lent = [compose("({} IS NOT NULL) AS {}", theirs, ident(reached.flag))]
    for column in lender.columns:
        if column.name in lender.read:
            lent += [
                compose("l.{} AS {}", ident(name), ident(f"{lender.word}.{name}"))
                for name, _pg_type in column.physical
            ]
    return compose(
        _REACHING,
        lent=join(", ", lent),
        relation=relation,
        lending=scope.relations(lender.view, {*lender.read, lender.key.name}),
        theirs=theirs,
        own=value_sql(fixed("r"), reached.key),
    )
