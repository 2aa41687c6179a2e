"""The total order of an answer, and the rows that come after a given one in it.

The sort keys of a row are the columns `k0`, `k1`, … of the statement that gives the answer.
Instants, dates and times travel as PostgreSQL's text: Python's calendar is narrower, and the
driver takes its two ends for infinities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

AS_TEXT = frozenset({"timestamptz", "timestamp", "date", "time"})


@dataclass(frozen=True, slots=True)
class SortKey:
    """One expression of the total order; missing values come last in either direction."""

    sql: Sql
    pg_type: str
    descending: bool = False


def order_sql(keys: Sequence[SortKey]) -> Sql:
    """` ORDER BY …`; empty without keys, as for the one row of an ungrouped aggregate."""
    if not keys:
        return EMPTY
    directions = ("DESC" if key.descending else "ASC" for key in keys)
    ordered = (f"k{number} {way} NULLS LAST" for number, way in enumerate(directions))
    return fixed(" ORDER BY " + ", ".join(ordered))


def after_sql(keys: Sequence[SortKey], values: tuple[Any, ...]) -> Sql:
    """The rows that come after the one with these keys; nothing comes after a missing value."""
    alternatives: list[Sql] = []
    equal: list[Sql] = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        name = fixed(f"k{number}")
        if value is None:
            equal.append(compose("{} IS NULL", name))
            continue
        constant = _constant(value, key.pg_type)
        sign = fixed("<" if key.descending else ">")
        beyond = compose("({} {} {} OR {} IS NULL)", name, sign, constant, name)
        alternatives.append(compose("({})", join(" AND ", [*equal, beyond])))
        equal.append(compose("{} = {}", name, constant))
    return compose("({})", join(" OR ", alternatives)) if alternatives else fixed("false")


def shown_sql(number: int, key: SortKey) -> str:
    """The sort key of that number as a statement hands it out."""
    return f"k{number}::text" if key.pg_type in AS_TEXT else f"k{number}"


def _constant(value: Any, pg_type: str) -> Sql:
    if pg_type in AS_TEXT:
        return compose("({})::" + pg_type, param(value, "text"))
    return param(value, pg_type)
