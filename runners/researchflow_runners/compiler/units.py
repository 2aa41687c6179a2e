"""Units of quantities: UCUM codes that convert exactly, and the calendar words of FHIRPath.

Years are twelve months, and neither is a number of days. ucum.py says which codes convert.
"""

from __future__ import annotations

import json
from functools import cache

from researchflow_runners.compiler.ucum import Unit, known_codes, unit_of

UCUM = "http://unitsofmeasure.org"

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
def conversions_json(code: str | None) -> str:
    """How codes convert, as a JSON object: `{code: [base, numerator, denominator, shift]}`.

    Those of the dimension of a code, itself among them; None for all that data are known to have.
    """
    if code is None:
        found = {one: unit for units in known_codes().values() for one, unit in units.items()}
    else:
        unit = unit_of(code)
        found = {} if unit is None else {**known_codes().get(unit.base, {}), code: unit}
    return json.dumps({one: _entry(unit) for one, unit in found.items()}, separators=(",", ":"))


def _entry(unit: Unit) -> list[str]:
    # Shifts are finite decimals by definition.
    shift = str(float(unit.shift)) if unit.shift else "0"
    return [unit.base, str(unit.factor.numerator), str(unit.factor.denominator), shift]
