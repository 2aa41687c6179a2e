"""Columns as a query sees them: what may be done with each, and where it is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from researchflow_runners.compiler.column import HIGH_SUFFIX, LOW_SUFFIX, Column
from researchflow_runners.compiler.sql_types import MOMENT_TYPES, WHOLE_TYPES
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import by_likeness, nearest
from researchflow_runners.query.misnamed import meant
from researchflow_runners.sql import Sql, compose, fixed, ident, join

#: The columns of every view that a query may name.
Catalogue: TypeAlias = Mapping[str, Sequence[Column]]

#: How a column compares. `period` columns are dates, dateTimes and instants; `opaque` ones are
#: lists, whole FHIR elements and bytes, which can only be shown, counted and tested for presence.
Kind = Literal["boolean", "integer", "decimal", "text", "time", "period", "opaque"]


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One column of an answer; `type` is its FHIR type, `is_list` marks a JSON array of it."""

    name: str
    type: str
    description: str | None = None
    system: str | None = None
    is_list: bool = False


def kind_of(column: Column) -> Kind:
    """How values of the column compare."""
    base = column.base_type
    if column.has_range or base in MOMENT_TYPES:
        return "period"
    if base in ("jsonb", "bytea"):
        return "opaque"
    if base == "boolean":
        return "boolean"
    if base in WHOLE_TYPES:
        return "integer"
    if base in ("numeric", "double precision"):
        return "decimal"
    return "time" if base == "time" or column.fhir_type == "time" else "text"


def compared_type(column: Column) -> str:
    """The PostgreSQL type in which values of the column are compared and sorted."""
    if column.is_text:
        return "text"
    # A decimal constant compared with a float would be rounded to one.
    return "numeric" if column.base_type == "double precision" else column.base_type


def answer_column(column: Column) -> AnswerColumn:
    """The column as an answer describes it."""
    return AnswerColumn(
        name=column.name,
        type=column.fhir_type,
        description=column.description,
        system=column.system,
        is_list=column.collection,
    )


def find_view(name: str, catalogue: Catalogue, *, field: str) -> Sequence[Column]:
    """The columns of the view, or QueryError `unknown_view`."""
    columns = catalogue.get(name)
    if columns is None:
        raise QueryError(
            f'unknown view "{name}"',
            code="unknown_view",
            hint="use one of the listed views; register_view makes another",
            field=field,
            allowed=by_likeness(name, sorted(catalogue)),
            did_you_mean=nearest(name, catalogue),
        )
    return columns


def find_column(
    name: str, columns: Sequence[Column], *, view: str, field: str, other: str | None = None
) -> Column:
    """The column of that name, or QueryError `unknown_column`, which proposes the other name."""
    for column in columns:
        if column.name == name:
            return column
    names = [column.name for column in columns]
    guess, hint = meant(name, names)
    if other is not None:
        guess, hint = other, f'use "{other}": a column of the row that this view\'s key points to'
    raise QueryError(
        f'view "{view}" has no column "{name}"',
        code="unknown_column",
        hint=hint,
        field=field,
        allowed=by_likeness(name, names),
        did_you_mean=guess,
    )


def event_dates(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The dates of what a row tells, by rank: a row's own is the first that has a value."""
    dated = [column for column in columns if column.event is not None]
    return tuple(sorted(dated, key=lambda column: column.event or 0))


def event_span(alias: Sql, dates: Sequence[Column]) -> tuple[Sql, Sql]:
    """The begin and the end of the first of these dates that a row has, null without any."""
    lows = [low_sql(alias, date) for date in dates]
    if len(dates) == 1:
        return lows[0], high_sql(alias, dates[0])
    cases = [
        compose(" WHEN {} IS NOT NULL THEN {}", low, high_sql(alias, date))
        for low, date in zip(lows, dates, strict=True)
    ]
    return compose("coalesce({})", join(", ", lows)), compose("CASE{} END", join("", cases))


def dates_of(
    name: str | None, columns: Sequence[Column], *, view: str, field: str
) -> tuple[Column, ...]:
    """The column of that name, or those of the view's event date: the first with a value counts.

    QueryError `column_missing` where neither is told, `unknown_column` or `value_type` for a name
    that is no date.
    """
    dates = {column.name: column for column in columns if kind_of(column) == "period"}
    named = tuple(column for one, column in dates.items() if one == name)
    if found := named if name else event_dates(columns):
        return found
    is_column = any(column.name == name for column in columns)
    what = f'"{name}" is no date' if name else "no event date is told"
    raise QueryError(
        f'{what} of view "{view}"',
        code="value_type" if is_column else "unknown_column" if name else "column_missing",
        hint="name a date column of the view" if dates else "this view has no dates",
        field=field,
        allowed=list(dates),
        did_you_mean=nearest(name, dates) if name else None,
    )


def value_sql(alias: Sql, column: Column) -> Sql:
    """The column as it compares; text does by code point whatever the database's locale."""
    plain = compose("{}.{}", alias, ident(column.name))
    if column.is_text:
        return compose('{} COLLATE "C"', plain)
    if column.base_type == "double precision":
        # Through text: the cast itself keeps 15 digits only.
        return compose("{}::text::numeric", plain)
    return plain


def shown_as(compared: Sql, column: Column) -> Sql:
    """A value that compares as the column does, in the type that an answer shows."""
    if column.base_type == "double precision":
        return compose("({})::double precision", compared)
    return compared


def low_sql(alias: Sql, column: Column) -> Sql:
    """The first instant that a period column's value may mean.

    Days and clocks without a zone are compared with instants as UTC, which sessions have.
    """
    return compose("{}.{}", alias, ident(column.name + (LOW_SUFFIX if column.has_range else "")))


def high_sql(alias: Sql, column: Column) -> Sql:
    """The first instant after the period that a column's value means."""
    if column.has_range:
        return compose("{}.{}", alias, ident(column.name + HIGH_SUFFIX))
    length = "1 day" if column.base_type == "date" else "1 microsecond"
    return compose("({} + interval {})", low_sql(alias, column), fixed(f"'{length}'"))
