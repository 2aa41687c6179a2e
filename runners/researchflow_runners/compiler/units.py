"""Units of quantities: UCUM codes that convert exactly, and the calendar words of FHIRPath.

Grams, litres, metres, moles and seconds convert between their metric prefixes, seconds also to
minutes, hours, days and weeks. Years are twelve months, and neither is a number of days. Every
other unit compares with itself only: nothing is rounded, and nothing is guessed of a composed
unit such as `mg/dL`.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache

UCUM = "http://unitsofmeasure.org"

#: Metric prefix → power of ten.
PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
#: Unit → what it is measured in; UCUM writes the litre in two ways.
METRIC = {"g": "g", "L": "L", "l": "L", "m": "m", "mol": "mol", "s": "s"}
#: Unit → the unit it is counted in, and how many of these.
COUNTED = {
    "min": ("s", 60), "h": ("s", 3_600), "d": ("s", 86_400), "wk": ("s", 604_800),
    "mo": ("mo", 1), "a": ("mo", 12),
}  # fmt: skip
#: Calendar word without its plural → UCUM code, as FHIR maps the two.
CALENDAR_CODES = {
    "year": "a", "month": "mo", "week": "wk", "day": "d", "hour": "h", "minute": "min",
    "second": "s", "millisecond": "ms",
}  # fmt: skip
#: Codes whose calendar word means another length, so that FHIRPath compares them to no end.
INDEFINITE = frozenset({"a", "mo"})


def calendar_code(word: str) -> str:
    """The UCUM code of a calendar word, singular or plural."""
    return CALENDAR_CODES[word.removesuffix("s")]


@cache
def conversions() -> dict[str, tuple[str, str]]:
    """UCUM code → base unit and factor, as decimal text."""
    table = {code: (base, str(count)) for code, (base, count) in COUNTED.items()}
    for unit, base in METRIC.items():
        for prefix, exponent in PREFIXES.items():
            table[prefix + unit] = (base, format(Decimal(1).scaleb(exponent), "f"))
    return table


@cache
def conversions_json(base: str | None) -> str:
    """The table as a JSON object: `{code: [base, factor]}`, of one base unit where it is known."""
    found = {code: one for code, one in conversions().items() if base in (None, one[0])}
    return json.dumps(found, separators=(",", ":"))
