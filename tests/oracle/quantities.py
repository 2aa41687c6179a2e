"""Quantities: how two of them compare, and how one is written."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from oracle.item import Item
from oracle.parse import OracleError
from researchflow_runners.fhir import model

UCUM = "http://unitsofmeasure.org"
POWERS = {"k": 3, "": 0, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
METRIC = re.compile(r"([kdcmunpf]?)(g|L|l|mol|m|s)")
#: Code → dimension, base units in one, what to add before.
OTHERS: dict[str, tuple[str, ...]] = {
    "min": ("s", "60"), "h": ("s", "3600"), "d": ("s", "86400"), "wk": ("s", "604800"),
    "mo": ("month", "1"), "a": ("month", "12"), "[lb_av]": ("g", "453.59237"),
    "g/dL": ("g/L", "10"), "g/L": ("g/L", "1"), "mg/dL": ("g/L", "0.01"), "1": ("1", "1"),
    "%": ("1", "0.01"), "K": ("K", "1"), "Cel": ("K", "1", "273.15"),
    "[degF]": ("K", "5/9", "459.67"), "mm[Hg]": ("Pa", "133.322"), "kPa": ("Pa", "1000"),
}  # fmt: skip


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
    if _unit(left.value) == _unit(right.value):
        sides = [Fraction(str(side.value["value"])) for side in (left, right)]
    else:
        dimensions = [_dimension(side.value) for side in (left, right)]
        if None in dimensions or dimensions[0] != dimensions[1]:
            return None
        sides = [found for side in (left, right) if (found := _converted(side.value)) is not None]
    one, other = sides
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


def _converted(value: dict[str, Any]) -> Fraction | None:
    """The number in base units of the unit's dimension, which `_dimension` names."""
    found = _unit_of(value)
    if found is None:
        return None
    return (Fraction(str(value["value"])) + found[2]) * found[1]


def _dimension(value: dict[str, Any]) -> str | None:
    found = _unit_of(value)
    return None if found is None else found[0]


def _unit_of(value: dict[str, Any]) -> tuple[str, Fraction, Fraction] | None:
    """Dimension, base units in one, and what to add before."""
    code = str(value.get("code")) if value.get("system") == UCUM else ""
    if code in OTHERS:
        dimension, factor, *shift = OTHERS[code]
        return dimension, Fraction(factor), Fraction(shift[0] if shift else 0)
    match = METRIC.fullmatch(code)
    if match is None:
        return None
    base = "L" if match[2] == "l" else match[2]
    return base, Fraction(10) ** POWERS[match[1]], Fraction(0)


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
