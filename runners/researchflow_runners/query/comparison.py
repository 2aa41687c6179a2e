"""One column against a constant, as the two conditions `holds` and `fails`.

SQL's logic has three values, an answer keeps only what is true. Each comparison therefore gives
the condition under which it is true and the one under which it is false; where neither holds it
is unknown. A filter below `not` uses the second one, so no condition is ever negated.

Dates, dateTimes and instants compare as periods, as FHIR search does (R4, 3.1.1.4.4 and .5):
with V the period of the stored value and C the constant's,

    eq  true when V lies within C, false when they are disjoint      ne  its opposite
    lt  true when V ends before C begins, false when V begins no earlier than C    ge  its opposite
    gt  true when V begins after C ends, false when V ends within C or earlier     le  its opposite

so `eq 2024-06` means within that June, `ge 2024` on or after its first day, `gt 2024` after its
last one. A value `2024` compared with `2024-06` is unknown: it may or may not be that month.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.query.columns import (
    Kind,
    compared_type,
    high_sql,
    kind_of,
    low_sql,
    value_sql,
)
from researchflow_runners.query.impossible import check_possible
from researchflow_runners.query.model import VALUES_MAX, Compare, Operator, Scalar
from researchflow_runners.query.period import Period
from researchflow_runners.query.values import (
    as_boolean,
    as_number,
    as_period,
    as_text,
    as_time,
)
from researchflow_runners.sql import Sql, compose, fixed, ident, join, param

_PRESENCE: tuple[Operator, ...] = ("is_null", "not_null")
_EQUALITY: tuple[Operator, ...] = ("eq", "ne", "in", "not_in")
_ORDER: tuple[Operator, ...] = ("lt", "le", "gt", "ge")
_SUBSTRING: tuple[Operator, ...] = ("contains", "starts_with")

OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    "boolean": ("eq", "ne", *_PRESENCE),
    "integer": (*_EQUALITY, *_ORDER, *_PRESENCE),
    "decimal": (*_EQUALITY, *_ORDER, *_PRESENCE),
    "text": (*_EQUALITY, *_SUBSTRING, *_PRESENCE),
    "time": (*_EQUALITY, *_ORDER, *_PRESENCE),
    "period": (*_EQUALITY, *_ORDER, *_PRESENCE),
    "opaque": _PRESENCE,
}

_SYMBOLS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPPOSITE: dict[str, Operator] = {
    "eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt",
    "in": "not_in", "not_in": "in", "is_null": "not_null", "not_null": "is_null",
}  # fmt: skip
_CONSTANTS: dict[Kind, str] = {
    "integer": "bigint",
    "decimal": "numeric",
    "text": "text",
    "time": "text",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """The condition under which a filter is true and the one under which it is false."""

    holds: Sql
    fails: Sql

    def negated(self) -> Truth:
        """The filter's `not`: unknown stays unknown."""
        return Truth(self.fails, self.holds)


def compare_truth(compare: Compare, column: Column, alias: Sql, *, field: str) -> Truth:
    """The conditions of one comparison, or QueryError when its operator or value does not fit."""
    kind = kind_of(column)
    _check_operator(compare, kind, field=field)
    if compare.op in _PRESENCE:
        return _presence(compare, column, alias, field=field)
    check_possible(compare, column, field=f"{field}.value")
    if compare.op in ("in", "not_in"):
        values = _values(compare, field=field)
        truth = _membership(values, kind, column, alias, field=field)
        return truth if compare.op == "in" else truth.negated()
    value = _scalar(compare, field=field)
    at = f"{field}.value"
    if kind == "period":
        return _period_truth(compare.op, _period(value, column, field=at), column, alias)
    if compare.op in _SUBSTRING:
        return _substring(compare.op, as_text(value, column=column.name, field=at), column, alias)
    constant = _constant(value, kind, column, field=at)
    return Truth(
        _plain(compare.op, column, alias, constant),
        _plain(_OPPOSITE[compare.op], column, alias, constant),
    )


def _check_operator(compare: Compare, kind: Kind, *, field: str) -> None:
    if compare.op in OPERATORS[kind]:
        return
    reasons = {
        "text": "text has no order here; compare numbers and dates in their own columns",
        "opaque": "this column holds lists, elements or bytes; only its presence can be asked for",
    }
    raise QueryError(
        f'operator "{compare.op}" does not apply to column "{compare.column}"',
        code="operator_not_allowed",
        hint=reasons.get(kind, f"the column is of kind {kind}; use one of the allowed operators"),
        field=f"{field}.op",
        allowed=OPERATORS[kind],
        did_you_mean=nearest(compare.op, OPERATORS[kind]),
    )


def _presence(compare: Compare, column: Column, alias: Sql, *, field: str) -> Truth:
    if compare.value is not None:
        _wrong_shape(compare, "leave value out", field=field)
    stored = value_sql(alias, column)
    truth = Truth(compose("{} IS NULL", stored), compose("{} IS NOT NULL", stored))
    return truth if compare.op == "is_null" else truth.negated()


def _values(compare: Compare, *, field: str) -> list[Scalar]:
    if not isinstance(compare.value, list) or not 0 < len(compare.value) <= VALUES_MAX:
        _wrong_shape(compare, f"give a list of 1 to {VALUES_MAX} values", field=field)
    return compare.value


def _scalar(compare: Compare, *, field: str) -> Scalar:
    if compare.value is None or isinstance(compare.value, list):
        _wrong_shape(compare, "give one value; use in for a list", field=field)
    return compare.value


def _wrong_shape(compare: Compare, hint: str, *, field: str) -> NoReturn:
    raise QueryError(
        f'operator "{compare.op}" on column "{compare.column}" does not take this value',
        code="value_type",
        hint=hint,
        field=f"{field}.value",
    )


def _constant(value: Scalar, kind: Kind, column: Column, *, field: str) -> Sql:
    if kind == "boolean":
        return param(as_boolean(value, column=column.name, field=field), "boolean")
    typed = param(_checked(value, kind, column, field=field), _CONSTANTS[kind])
    return compose("({})::time", typed) if compared_type(column) == "time" else typed


def _checked(value: Scalar, kind: Kind, column: Column, *, field: str) -> Any:
    if kind in ("integer", "decimal"):
        return as_number(value, kind, column=column.name, field=field)
    if compared_type(column) == "time":
        return as_time(value, column=column.name, field=field)
    return as_text(value, column=column.name, field=field)


def _period(value: Scalar, column: Column, *, field: str) -> Period:
    """A clock without a zone is compared with clocks only."""
    zoned = column.base_type != "timestamp"
    return as_period(value, column=column.name, field=field, zoned=zoned)


def _plain(op: str, column: Column, alias: Sql, constant: Sql) -> Sql:
    return compose("{} " + _SYMBOLS[op] + " {}", value_sql(alias, column), constant)


def _membership(
    values: Sequence[Scalar], kind: Kind, column: Column, alias: Sql, *, field: str
) -> Truth:
    at = [f"{field}.value[{position}]" for position in range(len(values))]
    if kind == "period":
        periods = [
            _period(value, column, field=place) for value, place in zip(values, at, strict=True)
        ]
        return any_truth([_period_truth("eq", each, column, alias) for each in periods])
    checked = [
        _checked(value, kind, column, field=place) for value, place in zip(values, at, strict=True)
    ]
    listed = param(checked, _CONSTANTS[kind] + "[]")
    if compared_type(column) == "time":
        listed = compose("({})::time[]", listed)
    stored = value_sql(alias, column)
    return Truth(
        compose("{} = ANY ({})", stored, listed), compose("{} <> ALL ({})", stored, listed)
    )


def _substring(op: str, text: str, column: Column, alias: Sql) -> Truth:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = param(f"{escaped}%" if op == "starts_with" else f"%{escaped}%", "text")
    # The locale of the database, not "C", knows that É and é are one letter.
    stored = compose('({}.{} COLLATE "default")', alias, ident(column.name))
    return Truth(
        compose("{} ILIKE {}", stored, pattern), compose("{} NOT ILIKE {}", stored, pattern)
    )


def _period_truth(op: str, constant: Period, column: Column, alias: Sql) -> Truth:
    make = _PERIOD_TESTS[op]
    ends = _Ends(
        low=low_sql(alias, column),
        high=high_sql(alias, column),
        from_=_instant(constant.low),
        until=_instant(constant.high),
    )
    opposite = _PERIOD_TESTS[_OPPOSITE[op]]
    return Truth(make(ends), opposite(ends))


def _instant(moment: datetime | None) -> Sql:
    """The instant as text: the driver takes the ends of Python's calendar for infinities."""
    text = "infinity" if moment is None else moment.isoformat()
    return compose("({})::timestamptz", param(text, "text"))


@dataclass(frozen=True, slots=True)
class _Ends:
    low: Sql
    high: Sql
    from_: Sql
    until: Sql

    def test(self, template: str) -> Sql:
        return compose(template, low=self.low, high=self.high, a=self.from_, z=self.until)


#: `low < high` always; the second bound of `eq` and `lt` on `low` lets an index on it help.
_PERIOD_TESTS: dict[str, Callable[[_Ends], Sql]] = {
    "eq": lambda ends: ends.test("({low} >= {a} AND {low} < {z} AND {high} <= {z})"),
    "ne": lambda ends: ends.test("({high} <= {a} OR {low} >= {z})"),
    "lt": lambda ends: ends.test("({low} < {a} AND {high} <= {a})"),
    "ge": lambda ends: ends.test("{low} >= {a}"),
    "gt": lambda ends: ends.test("{low} >= {z}"),
    "le": lambda ends: ends.test("({low} < {z} AND {high} <= {z})"),
}


def all_truth(truths: Sequence[Truth]) -> Truth:
    """True when all are, false when one is."""
    return Truth(
        _joined(" AND ", [truth.holds for truth in truths]),
        _joined(" OR ", [truth.fails for truth in truths]),
    )


def any_truth(truths: Sequence[Truth]) -> Truth:
    """True when one is, false when all are."""
    return Truth(
        _joined(" OR ", [truth.holds for truth in truths]),
        _joined(" AND ", [truth.fails for truth in truths]),
    )


def at_least_truth(least: int, truths: Sequence[Truth]) -> Truth:
    """True when so many are, false when so many cannot be: the others are false."""
    if least == 1:
        return any_truth(truths)
    if least == len(truths):
        return all_truth(truths)
    return Truth(
        _several(least, [truth.holds for truth in truths]),
        _several(len(truths) - least + 1, [truth.fails for truth in truths]),
    )


def _several(least: int, conditions: Sequence[Sql]) -> Sql:
    """Whether so many conditions are true."""
    counted = [compose("coalesce(({})::integer, 0)", condition) for condition in conditions]
    return compose("({} >= {})", join(" + ", counted), param(least, "integer"))


def _joined(separator: str, conditions: Sequence[Sql]) -> Sql:
    return compose("({})", join(separator, conditions)) if conditions else fixed("true")
