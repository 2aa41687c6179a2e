"""Quantities: how two of them compare, and how one is written."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from oracle.item import Item
from oracle.parse import OracleError
from researchflow_runners.fhir import model

UCUM = "http://unitsofmeasure.org"
POWERS = {"k": 3, "": 0, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
METRIC = re.compile(r"([kdcmunpf]?)(g|L|l|mol|m|s)")
COUNTED = {"min": 60, "h": 3_600, "d": 86_400, "wk": 604_800}


def is_quantity(item: Item) -> bool:
    return model().is_subtype(item.type, "Quantity")


def order(left: Item, right: Item) -> int | None:
    """-1, 0 or 1; None when the two cannot be compared."""
    if not is_quantity(left) or not is_quantity(right):
        raise OracleError(f"cannot compare {left.type} with {right.type}")
    if "comparator" in left.value or "comparator" in right.value:
        return None
    if "value" not in left.value or "value" not in right.value or _word_and_code(left, right):
        return None
    one, other = Decimal(str(left.value["value"])), Decimal(str(right.value["value"]))
    if _unit(left.value) != _unit(right.value):
        converted, other_converted = _converted(left.value), _converted(right.value)
        if converted is None or other_converted is None or converted[0] != other_converted[0]:
            return None
        one, other = one * converted[1], other * other_converted[1]
    return (one > other) - (one < other)


def _word_and_code(left: Item, right: Item) -> bool:
    """`1 year` beside `1 'a'`: a calendar year and a mean one."""
    words = [(one.extra or {}).get("word") for one in (left, right)]
    literals = all("word" in (one.extra or {}) for one in (left, right))
    longer = {left.value.get("code"), right.value.get("code")} & {"a", "mo"}
    return literals and bool(longer) and words[0] != words[1] and None in words


def _unit(value: dict[str, Any]) -> str:
    if value.get("system") == UCUM and value.get("code"):
        return str(value["code"])
    if value.get("unit"):
        return str(value["unit"])
    return f"{value.get('system', '')}|{value['code']}" if value.get("code") else "1"


def _converted(value: dict[str, Any]) -> tuple[str, Decimal] | None:
    """The base unit and how many of it one is."""
    code = str(value.get("code")) if value.get("system") == UCUM else ""
    if code in ("a", "mo"):
        return "month", Decimal(12 if code == "a" else 1)
    if code in COUNTED:
        return "s", Decimal(COUNTED[code])
    match = METRIC.fullmatch(code)
    if match is None:
        return None
    base = "L" if match[2] == "l" else match[2]
    return base, Decimal(10) ** POWERS[match[1]]


def literal(number: str, unit: str, *, word: bool) -> Item:
    """`5 'mg'` or `4 years`."""
    codes = {"year": "a", "month": "mo", "week": "wk", "day": "d", "hour": "h", "minute": "min"}
    codes |= {"second": "s", "millisecond": "ms"}
    code = codes[unit.removesuffix("s")] if word else unit
    value = {"value": Decimal(number), "unit": unit, "system": UCUM, "code": code}
    return Item(value, "Quantity", {"word": unit if word else None})


def written(item: Item) -> str | None:
    """The text of a quantity; None for one with a comparator or without a value."""
    if "comparator" in item.value or "value" not in item.value:
        return None
    word = (item.extra or {}).get("word")
    if word:
        return f"{item.value['value']} {word}"
    unit = _unit(item.value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{item.value['value']} '{unit}'"
