"""Columns as a query sees them: what may be done with each, and where it is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from researchflow_runners.compiler.column import HIGH_SUFFIX, LOW_SUFFIX, Column
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.sql import Sql, compose, ident

#: The columns of every view that a query may name.
Catalogue: TypeAlias = Mapping[str, Sequence[Column]]

#: How a column compares. `period` columns are dates, dateTimes and instants; `opaque` ones are
#: lists and whole FHIR elements, which can only be shown, counted and tested for presence.
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
    if column.has_range:
        return "period"
    if column.collection or column.pg_type == "jsonb":
        return "opaque"
    if column.pg_type == "boolean":
        return "boolean"
    if column.pg_type in ("integer", "bigint"):
        return "integer"
    if column.pg_type == "numeric":
        return "decimal"
    return "time" if column.fhir_type == "time" else "text"


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
            hint="use one of the listed views",
            field=field,
            allowed=sorted(catalogue),
            did_you_mean=nearest(name, catalogue),
        )
    return columns


def find_column(name: str, columns: Sequence[Column], *, view: str, field: str) -> Column:
    """The column of that name, or QueryError `unknown_column`."""
    for column in columns:
        if column.name == name:
            return column
    names = [column.name for column in columns]
    raise QueryError(
        f'view "{view}" has no column "{name}"',
        code="unknown_column",
        hint="use one of the view's columns",
        field=field,
        allowed=names,
        did_you_mean=nearest(name, names),
    )


def value_sql(alias: Sql, column: Column) -> Sql:
    """The column itself; text compares by code point whatever the database's locale."""
    plain = compose("{}.{}", alias, ident(column.name))
    return compose('{} COLLATE "C"', plain) if column.pg_type == "text" else plain


def low_sql(alias: Sql, column: Column) -> Sql:
    """The first instant that a period column's value may mean."""
    return compose("{}.{}", alias, ident(column.name + LOW_SUFFIX))


def high_sql(alias: Sql, column: Column) -> Sql:
    """The first instant after the period that a column's value means."""
    return compose("{}.{}", alias, ident(column.name + HIGH_SUFFIX))
