"""What one column of a relation holds: how many values, which ones most often, in which units."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import kind_of, low_sql, value_sql
from researchflow_runners.sql import Sql, compose, fixed, ident, param
from researchflow_runners.store.database import Session

TOP_MAX = 10
UNITS_MAX = 10
#: A text is told to this length; one that is longer says how long it is.
TEXT_CHARS_MAX = 60

#: The groups are read several times, and made once. Values that all occur once are no top ten,
#: unless there are no more than that.
_COUNTS = """
WITH g AS MATERIALIZED (
    SELECT {value} AS v, min({order}) AS o, count(*) AS n FROM {relation} AS t GROUP BY 1
)
SELECT coalesce(sum(n) FILTER (WHERE v IS NULL), 0)::bigint AS nulls,
       count(v) AS different,
       (SELECT {told} FROM g WHERE v IS NOT NULL ORDER BY o, v LIMIT 1) AS least,
       (SELECT {told} FROM g WHERE v IS NOT NULL ORDER BY o DESC, v DESC LIMIT 1) AS most,
       (SELECT json_agg(json_build_array({told}, n) ORDER BY n DESC, v)
        FROM (SELECT v, n FROM g
              WHERE v IS NOT NULL
                AND (n > 1 OR (SELECT count(v) FROM g) <= {top_max})
              ORDER BY n DESC, v LIMIT {top_max}) AS g)::text AS top
FROM g
"""
_COUNTS_OF_KEYS = """
SELECT count(*) FILTER (WHERE {value} IS NULL) AS nulls, count(DISTINCT {value}) AS different
FROM {relation} AS t
"""
_UNITS = """
SELECT {unit} AS unit, count(*) AS n, {least} AS least, {most} AS most
FROM {relation} AS t WHERE {value} IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1 LIMIT {units_max}
"""
_DISPLAYS = """
SELECT {value} AS code, mode() WITHIN GROUP (ORDER BY {display}) AS display
FROM {relation} AS t WHERE {value} = ANY ({codes}) GROUP BY 1
"""
#: As JSON writes it, which is how answers tell it.
_TEXT = "(to_json({}) #>> '{{}}')"
_TOLD = """
CASE WHEN char_length({text}) > {most} THEN left({text}, {most}) || '… (' || char_length({text})
  || ' characters)' ELSE {text} END
"""

Relation = Callable[[Collection[str]], Sql]


@dataclass(frozen=True, slots=True)
class Value:
    """A value as text, how many rows have it, and what it displays as most often, if it is a
    code."""

    text: str
    rows: int
    display: str | None = None


@dataclass(frozen=True, slots=True)
class UnitRange:
    """The numbers of one unit, None where none is recorded."""

    unit: str | None
    rows: int
    least: str
    most: str


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column; the least and most by date or number, by code point for text.

    Numbers of several units have them by unit alone, and no values; keys of resources have neither.
    """

    column: Column
    nulls: int
    different: int
    least: str | None = None
    most: str | None = None
    top: tuple[Value, ...] = ()
    units: tuple[UnitRange, ...] = ()


async def profile_column(
    session: Session, column: Column, columns: Sequence[Column], relation: Relation
) -> ColumnProfile:
    """The column among all of its view's; StoreError `statement_timeout`."""
    alias = fixed("t")
    value = _grouped(alias, column)
    if column.is_key:
        row = await session.fetchrow(
            compose(_COUNTS_OF_KEYS, value=value, relation=relation({column.name}))
        )
        assert row is not None
        return ColumnProfile(column, row["nulls"], row["different"])
    is_period = kind_of(column) == "period"
    row = await session.fetchrow(
        compose(
            _COUNTS,
            value=value,
            order=low_sql(alias, column) if is_period else _orderable(value, column),
            told=_told(fixed("v")),
            relation=relation({column.name}),
            top_max=param(TOP_MAX, "integer"),
        )
    )
    assert row is not None
    top = tuple(Value(text, rows) for text, rows in json.loads(row["top"] or "[]"))
    found = ColumnProfile(column, row["nulls"], row["different"], row["least"], row["most"], top)
    if column.key_of is not None:
        return replace(found, least=None, most=None, top=())
    if column.unit is not None:
        return await _by_unit(session, found, columns, relation)
    return await _displayed(session, found, columns, relation)


async def _by_unit(
    session: Session, found: ColumnProfile, columns: Sequence[Column], relation: Relation
) -> ColumnProfile:
    column = found.column
    (unit,) = (one for one in columns if one.name == column.unit)
    value = value_sql(fixed("t"), column)
    records = await session.fetch(
        compose(
            _UNITS,
            unit=value_sql(fixed("t"), unit),
            value=value,
            least=compose(_TEXT, compose("min({})", value)),
            most=compose(_TEXT, compose("max({})", value)),
            relation=relation({column.name, unit.name}),
            units_max=param(UNITS_MAX, "integer"),
        )
    )
    units = tuple(UnitRange(*record.values()) for record in records)
    if len(units) < 2:
        return replace(found, units=units)
    return replace(found, units=units, least=None, most=None, top=())


async def _displayed(
    session: Session, found: ColumnProfile, columns: Sequence[Column], relation: Relation
) -> ColumnProfile:
    """The profile of a code with the words that it displays as."""
    column = found.column
    displays = [one for one in columns if one.display_of == column.name]
    if not displays or not found.top:
        return found
    records = await session.fetch(
        compose(
            _DISPLAYS,
            value=value_sql(fixed("t"), column),
            display=value_sql(fixed("t"), displays[0]),
            codes=param([one.text for one in found.top], "text[]"),
            relation=relation({column.name, displays[0].name}),
        )
    )
    words = {record["code"]: record["display"] for record in records}
    return replace(found, top=tuple(replace(one, display=words.get(one.text)) for one in found.top))


def _grouped(alias: Sql, column: Column) -> Sql:
    """The value by which rows are put together; JSON by its text."""
    if kind_of(column) == "opaque":
        return compose('({}.{})::text COLLATE "C"', alias, ident(column.name))
    return value_sql(alias, column)


def _orderable(value: Sql, column: Column) -> Sql:
    """What min() takes: of two equal texts, or of true and false, either."""
    return compose("({})::integer", value) if kind_of(column) == "boolean" else value


def _told(value: Sql) -> Sql:
    text = compose(_TEXT, value)
    return compose(_TOLD, text=text, most=param(TEXT_CHARS_MAX, "integer"))
