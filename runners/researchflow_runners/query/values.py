"""A filter's constant, checked against its column and turned into what PostgreSQL compares."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NoReturn

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Kind
from researchflow_runners.query.model import Scalar
from researchflow_runners.query.period import Period, parse_period

TEXT_CHARS_MAX = 10_000
INTEGER_MAX = 2**63 - 1
DECIMAL_DIGITS_MAX = 1_000

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?")
_ZONE = re.compile(r"T.*(Z|[+-][0-9]{2}:[0-9]{2})$")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")

_EXPECTED: dict[Kind, str] = {
    "boolean": "true or false",
    "integer": "a whole number",
    "decimal": "a number, or a text of one to keep more digits than a float has",
    "text": f"a text of at most {TEXT_CHARS_MAX} characters",
    "time": "a time such as 08:30:00",
    "period": "an ISO 8601 date such as 2024, 2024-06, 2024-06-01 or 2024-06-01T08:30:00Z, or one"
    " told from today or the column's newest date: today-2y, newest-90d (d w m y)",
    "opaque": "no value",
}


def as_boolean(value: Scalar, *, column: str, field: str) -> bool:
    """The constant for a boolean column."""
    if not isinstance(value, bool):
        refuse("boolean", column=column, field=field)
    return value


def as_text(value: Scalar, *, column: str, field: str) -> str:
    """The constant for a text or time column; NUL and lone surrogates match nothing stored."""
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX or not _storable(value):
        refuse("text", column=column, field=field)
    return value


def as_number(value: Scalar, kind: Kind, *, column: str, field: str) -> int | Decimal:
    """The constant for an integer or decimal column, exact as it was written."""
    number = _integer(value) if kind == "integer" else _decimal(value)
    if number is None:
        refuse(kind, column=column, field=field)
    return number


def as_time(value: Scalar, *, column: str, field: str) -> str:
    """The constant for a column of SQL's TIME: hours and minutes at least."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        refuse("time", column=column, field=field)
    return value


def as_period(value: Scalar, *, column: str, field: str, zoned: bool = True) -> Period:
    """The constant for a date, dateTime or instant column; not `zoned`, for one without zones."""
    period = parse_period(value) if isinstance(value, str) else None
    if period is None or not isinstance(value, str):
        refuse("period", column=column, field=field)
    if not zoned and _ZONE.search(value):
        raise QueryError(
            f'column "{column}" holds clock times without a zone',
            code="value_type",
            hint="leave the zone out of the value; a TIMESTAMP WITH TIME ZONE would compare zones",
            field=field,
        )
    return period


def refuse(kind: Kind, *, column: str, field: str) -> NoReturn:
    """Raises QueryError `value_type`; the value itself is not repeated."""
    raise QueryError(
        f'column "{column}" does not compare with a value of this type',
        code="value_type",
        hint=f"give {_EXPECTED[kind]}",
        field=field,
    )


def _storable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def _integer(value: Scalar) -> int | None:
    if isinstance(value, bool | str):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    number = int(value)
    return number if abs(number) <= INTEGER_MAX else None


def _decimal(value: Scalar) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 10**DECIMAL_DIGITS_MAX else None
    text = value if isinstance(value, str) else repr(value)
    if len(text) > DECIMAL_DIGITS_MAX or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return number if abs(number.adjusted()) < DECIMAL_DIGITS_MAX else None
