"""`toInteger()` and its like, and `convertsToInteger()`: by the type of the one item."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from oracle.item import Item, single
from oracle.parse import OracleError
from researchflow_runners.fhir import model

Items = list[Item]
NUMBERS = {"integer", "decimal"}
WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}
CLOCK = r"(?:[01]\d|2[0-3])(?::[0-5]\d(?::[0-5]\d(?:\.\d+)?)?)?"
ZONE = r"(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d|[+-]14:00)?"


def system_type(item: Item) -> str:
    """The FHIRPath type of a FHIR primitive."""
    if item.type in ("positiveInt", "unsignedInt", "integer64"):
        return "integer"
    if item.type == "instant":
        return "dateTime"
    if item.type in ("boolean", "integer", "decimal", "date", "dateTime", "time"):
        return item.type
    if not model().is_primitive(item.type):
        raise OracleError(f"{item.type} is no primitive")
    return "string"


def to_boolean(value: Any, kind: str) -> bool | None:
    if kind == "string":
        return WORDS.get(value.lower())
    if kind in NUMBERS:
        return {0: False, 1: True}.get(value)
    return value if kind == "boolean" else None


def to_integer(value: Any, kind: str) -> int | None:
    if kind == "string" and re.fullmatch(r"[+-]?\d+", value, re.ASCII):
        return int(value) if -(2**31) <= int(value) < 2**31 else None
    return int(value) if kind in ("integer", "boolean") else None


def to_decimal(value: Any, kind: str) -> Decimal | None:
    if kind == "string" and re.fullmatch(r"[+-]?\d+(\.\d+)?", value, re.ASCII):
        return Decimal(value)
    if kind == "boolean":
        return Decimal("1.0") if value else Decimal("0.0")
    return Decimal(value) if kind in NUMBERS else None


def is_day(text: str) -> bool:
    """Whether the calendar has the year, month or day."""
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        return False
    return True


def to_date(value: Any, kind: str) -> str | None:
    if kind in ("date", "dateTime"):
        return str(value)[:10]
    return value if kind == "string" and is_day(value) else None


def to_datetime(value: Any, kind: str) -> str | None:
    if kind in ("date", "dateTime"):
        return str(value)
    if kind != "string":
        return None
    day, mark, clock = value.partition("T")
    if not is_day(day) or (mark and (len(day) < 10 or not is_clock(clock, ZONE))):
        return None
    return str(value)


def is_clock(text: str, zone: str = "") -> bool:
    return re.fullmatch(CLOCK + zone, text, re.ASCII) is not None


def to_time(value: Any, kind: str) -> str | None:
    if kind == "time" or (kind == "string" and is_clock(value)):
        return str(value)
    return None


def to_text(value: Any, _kind: str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


CONVERSIONS: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "Boolean": (to_boolean, "boolean"),
    "Integer": (to_integer, "integer"),
    "Decimal": (to_decimal, "decimal"),
    "Date": (to_date, "date"),
    "DateTime": (to_datetime, "dateTime"),
    "Time": (to_time, "time"),
    "String": (to_text, "string"),
}


def conversion(name: str, *, asked: bool) -> Callable[[Items], Items]:
    """`to<name>()`, or with `asked` `convertsTo<name>()`."""
    convert, result = CONVERSIONS[name]

    def apply(target: Items) -> Items:
        item = single(target)
        if item is None:
            return []
        value = convert(item.value, system_type(item))
        if asked:
            return [Item(value is not None, "boolean")]
        return [] if value is None else [Item(value, result)]

    return apply


FUNCTIONS = {
    **{f"to{name}": conversion(name, asked=False) for name in CONVERSIONS},
    **{f"convertsTo{name}": conversion(name, asked=True) for name in CONVERSIONS},
}
