"""The columns a query shows: how each is computed and how it sorts.

Dates, dateTimes and instants sort by the period they mean (begin, then end) and then by their
text; `min` and `max` give the text of the first and the last value in that order. Where a tag
made them a SQL date or timestamp, they are sorted and given as that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import (
    AnswerColumn,
    answer_column,
    compared_type,
    high_sql,
    kind_of,
    low_sql,
    shown_as,
    value_sql,
)
from researchflow_runners.query.notices import Told
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import EMPTY, Sql, compose

#: An expression that is sorted by, and its PostgreSQL type.
Key: TypeAlias = tuple[Sql, str]


@dataclass(frozen=True, slots=True)
class Units:
    """Whether values of several units are put together: `mixed` is true of such a group.

    `value` and `unit` name the columns. `over_groups` says that it is told of all groups together,
    as `differ` always is.
    """

    mixed: Sql
    value: str
    unit: str
    over_groups: bool = False
    differ: Sql = EMPTY


@dataclass(frozen=True, slots=True)
class Output:
    """One column of the answer; without `keys` it cannot be sorted or grouped by.

    PostgreSQL hands out the value of an `is_json` column as JSON text. A group is told apart by
    `grouping`, which is its keys where they are not aggregates. `period` is the begin and the end
    of a date that is shown as its text; a label is a text that sorts by what it is told of.
    `units` is given where values of several could be put together, `tied` where one of several
    rows of a date is taken. `notices` and `warnings` are what the answer is told of it.
    """

    column: AnswerColumn
    shown: Sql
    keys: tuple[Key, ...]
    is_json: bool = False
    is_label: bool = False
    own_grouping: tuple[Key, ...] | None = None
    period: tuple[Sql, Sql] | None = None
    units: Units | None = None
    tied: Sql | None = None
    notices: tuple[Told, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def grouping(self) -> tuple[Key, ...]:
        """What tells groups apart."""
        return self.keys if self.own_grouping is None else self.own_grouping


def column_output(column: Column, rows: Rows) -> Output:
    """A column of the view as it is."""
    shown = shown_as(value_sql(rows.alias, column), column)
    keys = _column_keys(column, rows.alias)
    period = (keys[0][0], keys[1][0]) if column.has_range else None
    is_json = column.pg_type == "jsonb"
    return Output(answer_column(column), shown, keys, is_json=is_json, period=period)


def _column_keys(column: Column, alias: Sql) -> tuple[Key, ...]:
    kind = kind_of(column)
    own = (value_sql(alias, column), compared_type(column))
    if kind == "opaque":
        return ()
    if not column.has_range:
        return (own,)
    return (
        (low_sql(alias, column), "timestamptz"),
        (high_sql(alias, column), "timestamptz"),
        own,
    )


def display_output(column: Column, rows: Rows) -> Output:
    """Of the texts that display one code, the most frequent; of equals the first by code point.

    Where there is no code, the text itself tells groups apart.
    """
    stored = value_sql(rows.alias, column)
    code = value_sql(rows.alias, rows.column(str(column.display_of), at="group_by"))
    uncoded = compose("CASE WHEN {} IS NULL THEN {} END", code, stored)
    found = compose("mode() WITHIN GROUP (ORDER BY {})", stored)
    described = AnswerColumn(
        column.name, column.fhir_type, description=f"Most frequent display of {column.display_of}"
    )
    key_type = compared_type(column)
    return Output(described, found, ((found, key_type),), own_grouping=((uncoded, key_type),))
