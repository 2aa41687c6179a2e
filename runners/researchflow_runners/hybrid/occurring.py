"""What does occur in a column, where nothing occurs of what was asked.

The values of a column are told where it carries codes, or few values that each occur often; of keys
and free texts, which may be somebody's, nothing is. Numbers and dates are told from the least to
the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.compiler.column import Column
from researchflow_runners.naming import nearest_value
from researchflow_runners.query.columns import kind_of, low_sql, value_sql
from researchflow_runners.query.model import Compare
from researchflow_runners.query.rows import FilterScope, Rows
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.database import Session

VALUES_SHOWN_MAX = 5
#: More values than this are not compared for the nearest one.
VALUES_COMPARED_MAX = 1_000
#: A text without a code system is no free text when it has at most so many values, each so often.
FEW_VALUES_MAX = 50
OFTEN_MIN = 2
#: Columns of the same view that are named where one is empty.
OTHERS_MAX = 4
#: Systems whose codes say of what state or kind a record is, not what it is about.
_STATE_SYSTEMS = ("http://terminology.hl7.org/", "http://hl7.org/fhir/")
_CODE_SYSTEM_OF_RECORDS = "http://hl7.org/fhir/sid/"

_EXISTS = "SELECT EXISTS (SELECT 1 FROM {relation} AS {alias})"
_VALUES = """
SELECT {value}::text AS v, count(*) AS n FROM {relation} AS {alias} WHERE {value} IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}
"""
_RANGE = "SELECT min({value})::text, max({value})::text FROM {relation} AS {alias}"


async def told(session: Session, where: Compare, rows: Rows, scope: FilterScope) -> str:
    """A sentence for a comparison that no row meets, with what the column holds instead."""
    column = rows.column(where.column, at="where")
    relation = rows.relation(scope)
    if where.op == "is_null":
        return f'every row of view "{rows.view}" has a value in "{where.column}"'
    what = "another value" if where.op in ("ne", "not_in") else "such a value"
    what = "a value" if where.op == "not_null" else what
    said = f'no row of view "{rows.view}" has {what} in "{where.column}"'
    kind = kind_of(column)
    if kind in ("text", "boolean"):
        values = await _values(session, column, rows, relation)
        if values:
            return said + _shown(where, column, values)
    elif kind != "opaque":
        least, greatest = await _range(session, column, rows, relation)
        if least is not None:
            return f"{said}: they go from {least} to {greatest}"
    return said + await _empty(session, column, rows, scope)


async def _values(
    session: Session, column: Column, rows: Rows, relation: Sql
) -> list[tuple[str, int]]:
    """The values of a column, the most frequent first, with how often each occurs."""
    sql = compose(
        _VALUES,
        value=value_sql(rows.alias, column),
        relation=relation,
        alias=rows.alias,
        most=param(VALUES_COMPARED_MAX, "bigint"),
    )
    return [(row["v"], row["n"]) for row in await session.fetch(sql)]


def _shown(where: Compare, column: Column, values: Sequence[tuple[str, int]]) -> str:
    if not _may_be_told(column, values):
        return ""
    known = [value for value, _count in values]
    asked = where.value if isinstance(where.value, list) else [where.value]
    guesses = (nearest_value(str(one), known) for one in asked if one is not None)
    guess = next((near for near in guesses if near), None)
    meant = f'; did you mean "{guess}"?' if guess else ""
    return f"; most frequent there: {', '.join(known[:VALUES_SHOWN_MAX])}{meant}"


def _may_be_told(column: Column, values: Sequence[tuple[str, int]]) -> bool:
    if column.is_key or column.key_of is not None:
        return False
    if column.system is not None or column.element is not None or not column.is_text:
        return True
    rows = sum(count for _value, count in values)
    return len(values) <= FEW_VALUES_MAX and rows >= OFTEN_MIN * len(values)


async def _range(
    session: Session, column: Column, rows: Rows, relation: Sql
) -> tuple[str | None, str | None]:
    """The least and the greatest value; of dates, the days on which they begin."""
    value = value_sql(rows.alias, column)
    if kind_of(column) == "period":
        value = compose("({} AT TIME ZONE 'UTC')::date", low_sql(rows.alias, column))
    row = await session.fetchrow(compose(_RANGE, value=value, relation=relation, alias=rows.alias))
    assert row is not None
    return row[0], row[1]


async def _empty(session: Session, column: Column, rows: Rows, scope: FilterScope) -> str:
    """What to say of an empty column: where the codes of this data are."""
    relation = rows.relation(scope)
    if not await session.fetchval(compose(_EXISTS, relation=relation, alias=rows.alias)):
        return ": the view has no rows"
    if column.system is None:
        return ": the column is empty in this data"
    others = [one for one in rows.columns if one is not column and _is_about(one)]
    found = []
    for other in others[:OTHERS_MAX]:
        own = scope.rows(rows.view, at="view")
        own.column(other.name, at="where")
        values = await _values(session, other, own, own.relation(scope))
        if values:
            frequent = ", ".join(value for value, _count in values[:VALUES_SHOWN_MAX])
            found.append(f'"{other.name}" has codes of {other.system}, such as {frequent}')
    return ": the column is empty in this data" + "".join(f"; {one}" for one in found)


def _is_about(column: Column) -> bool:
    """Whether the column carries codes of what a record is about."""
    system = column.system
    if system is None or not column.is_text:
        return False
    return system.startswith(_CODE_SYSTEM_OF_RECORDS) or not system.startswith(_STATE_SYSTEMS)
