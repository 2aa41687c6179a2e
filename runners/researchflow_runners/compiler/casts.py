"""How what a cell reads becomes a value of the column's SQL type, exactly or not at all.

PostgreSQL's own casts cut texts, drop times and round numbers without a word. Here a value that
the type cannot hold as it is raises a data error (SQLSTATE class 22), so that its resource is
dead-lettered: 22003 for numbers, 22011 for texts, bytes and what is not a full date or time. The
SQL takes a column, which it reads several times, and relies on sessions whose TimeZone is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from researchflow_runners.compiler.column import Column
from researchflow_runners.compiler.sql_types import SECOND_DIGITS_MAX
from researchflow_runners.sql import Sql, compose, fixed

#: A negative length is SQLSTATE 22011; no text is as long as the other one.
_FITTING = "substring({v}, 1, CASE WHEN {misfit} THEN -1 ELSE 1000000000 END)"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_OFFSET = "(Z|[+-][0-9]{2}:[0-9]{2})"
#: The driver's calendar has the years 1 to 9999 only, which an offset may leave.
_INSTANT_MISFIT = """CASE WHEN {v} !~ {pattern} THEN true
 ELSE extract(year FROM {v}::timestamptz) NOT BETWEEN 1 AND 9999 END"""


def needs_cast(column: Column) -> bool:
    """Whether the column's type may not hold what its cell reads."""
    return column.base_type in _CASTS and column.pg_type != "numeric"


def cast(column: Column, value: Sql) -> Sql:
    """The value in the column's SQL type, or a data error; for a column that `needs_cast`."""
    found = _CASTS[column.base_type](column, value)
    return compose("({})::" + column.pg_type + (' COLLATE "C"' if column.is_text else ""), found)


def _text(column: Column, value: Sql) -> Sql:
    misfit = compose("char_length({}) > {}", value, fixed(str(column.size_max)))
    return compose(_FITTING, v=value, misfit=misfit)


def _bytes(column: Column, value: Sql) -> Sql:
    if column.size_max is None:
        return compose("decode({}, 'base64')", value)
    misfit = compose("octet_length(decode({}, 'base64')) > {}", value, fixed(str(column.size_max)))
    return compose("decode({}, 'base64')", compose(_FITTING, v=value, misfit=misfit))


def _numeric(column: Column, value: Sql) -> Sql:
    """Digits beyond the scale must be zeros: in their place stands a number that is too large."""
    precision, scale = _numbers(column)
    return compose(
        f"CASE WHEN {{v}} <> round({{v}}, {scale}) THEN 1e{precision} ELSE {{v}} END", v=value
    )


def _double(_column: Column, value: Sql) -> Sql:
    """Shown again, the float must have every digit of the number."""
    return compose(
        "CASE WHEN {v}::double precision::text::numeric <> {v} THEN 1e400 ELSE {v} END", v=value
    )


def _date(_column: Column, value: Sql) -> Sql:
    return _written(value, _DAY)


def _time(column: Column, value: Sql) -> Sql:
    return _written(value, _CLOCK + _fraction(column))


def _timestamp(column: Column, value: Sql) -> Sql:
    """The clock as it was written: PostgreSQL passes over the offset."""
    return _written(value, f"{_DAY}T{_CLOCK}{_fraction(column)}{_OFFSET}?")


def _timestamptz(column: Column, value: Sql) -> Sql:
    pattern = _literal(f"{_DAY}T{_CLOCK}{_fraction(column)}{_OFFSET}")
    misfit = compose(_INSTANT_MISFIT, v=value, pattern=pattern)
    return compose(_FITTING, v=value, misfit=misfit)


def _written(value: Sql, pattern: str) -> Sql:
    misfit = compose("{} !~ {}", value, _literal(pattern))
    return compose(_FITTING, v=value, misfit=misfit)


def _fraction(column: Column) -> str:
    """Digits of a second that the type holds; further ones must be zeros."""
    digits = _numbers(column)[0] if "(" in column.pg_type else SECOND_DIGITS_MAX
    return rf"(\.[0-9]{{1,{digits}}}0*)?" if digits else r"(\.0+)?"


def _literal(pattern: str) -> Sql:
    return fixed(f"'^{pattern}$'")


def _numbers(column: Column) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", column.pg_type)))


_CASTS: dict[str, Callable[[Column, Sql], Sql]] = {
    "varchar": _text,
    "bytea": _bytes,
    "numeric": _numeric,
    "double precision": _double,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
}
