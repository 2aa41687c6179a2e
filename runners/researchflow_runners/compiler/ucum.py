"""UCUM codes: what a unit measures, and how many base units one of it is, exactly.

The table has the units of clinical data whose ratio is exact by definition; UCUM's own definitions
(ucum.org, version 2.2) are the source. Units that no ratio connects, such as international units
of one substance and another, or a year and a day, are a dimension each. Mole and gram are two
dimensions: only the substance connects them. What is not in the table compares with itself only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

#: Metric prefix → power of ten.
PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
#: Units of their own dimension; those in METRIC take prefixes.
BASES = ("m", "s", "g", "mol", "K", "[iU]", "eq", "osm", "mo", "[pH]", "cd", "C", "[arb'U]")
#: Unit → how many of another term it is.
DEFINED = {
    "L": ("1", "dm3"), "l": ("1", "dm3"), "Hz": ("1", "s-1"), "N": ("1", "kg.m.s-2"),
    "Pa": ("1", "N.m-2"), "J": ("1", "N.m"), "W": ("1", "J.s-1"), "bar": ("100000", "Pa"),
    "atm": ("101325", "Pa"), "cal": ("4.184", "J"), "Cal": ("4184", "J"), "[Cal]": ("4184", "J"),
    "m[Hg]": ("133322", "Pa"), "m[H2O]": ("9806.65", "Pa"), "t": ("1000", "kg"),
    "kat": ("1", "mol.s-1"), "U": ("1", "umol.min-1"), "Bq": ("1", "s-1"),
    "Gy": ("1", "J.kg-1"), "Sv": ("1", "J.kg-1"), "Ci": ("37000000000", "Bq"),
    "A": ("1", "C.s-1"), "V": ("1", "J.C-1"), "[IU]": ("1", "[iU]"), "min": ("60", "s"),
    "h": ("3600", "s"), "d": ("86400", "s"), "wk": ("604800", "s"), "a": ("12", "mo"),
    "%": ("0.01", ""), "[ppth]": ("0.001", ""), "[ppm]": ("0.000001", ""),
    "[ppb]": ("0.000000001", ""), "10*": ("10", ""), "10^": ("10", ""), "ar": ("100", "m2"),
    "[lb_av]": ("453.59237", "g"), "[oz_av]": ("28.349523125", "g"), "[gr]": ("0.06479891", "g"),
    "[stone_av]": ("6350.29318", "g"), "[in_i]": ("0.0254", "m"), "[ft_i]": ("0.3048", "m"),
    "[yd_i]": ("0.9144", "m"), "[mi_i]": ("1609.344", "m"), "[sin_i]": ("0.00064516", "m2"),
    "[gal_us]": ("3.785411784", "dm3"), "[qt_us]": ("0.946352946", "dm3"),
    "[pt_us]": ("0.473176473", "dm3"), "[cup_us]": ("0.2365882365", "dm3"),
    "[foz_us]": ("0.0295735295625", "dm3"), "[tbs_us]": ("0.01478676478125", "dm3"),
    "[tsp_us]": ("0.00492892159375", "dm3"), "[drp]": ("0.00005", "dm3"),
    "[psi]": ("8896443230521/1290320000", "Pa"), "[degR]": ("5/9", "K"),
}  # fmt: skip
METRIC = frozenset({
    "m", "s", "g", "mol", "K", "[iU]", "[IU]", "eq", "osm", "C", "L", "l", "Hz", "N", "Pa", "J",
    "W", "bar", "cal", "m[Hg]", "m[H2O]", "t", "kat", "U", "Bq", "Gy", "Sv", "Ci", "A", "V", "cd",
})  # fmt: skip
#: Temperatures that begin elsewhere: what to add, and the unit in which to count then.
SHIFTED = {"Cel": ("273.15", "K"), "[degF]": ("459.67", "[degR]")}

#: What stands above and below the stroke in data; other composed codes compare with themselves.
_ABOVE = ("g", "mol", "[iU]", "[IU]", "eq", "osm", "L", "l", "J", "cal", "U", "kat")
_ABOVE_PREFIXES = ("", "k", "d", "m", "u", "n", "p", "f")
_COUNTS = ("1", "", "10*3", "10*6", "10*9", "10*12", "10^3", "10^6", "10^9", "10^12")
_BELOW = (
    "L", "l", "dL", "dl", "mL", "ml", "uL", "ul", "m3", "mm3", "g", "kg", "mmol", "h", "min", "s",
    "d", "m2", "kg/h", "kg/min",
)  # fmt: skip

_TOKEN = re.compile(r"[./()]|\{[^{}]*\}|(?:\[[^\]]*\]|10[*^]|[A-Za-z%'_])+(?:[+-]?\d+)?|\d+")
_UNIT = re.compile(r"(.*?)([+-]?\d+)?")


@dataclass(frozen=True)
class Unit:
    """A unit as `(number + shift) * factor` of its dimension's base."""

    dimension: tuple[tuple[str, int], ...]
    factor: Fraction
    shift: Fraction = Fraction(0)

    @property
    def base(self) -> str:
        """The dimension as a text: equal for units that convert."""
        return ".".join(f"{name}{power}" for name, power in self.dimension) or "1"

    def times(self, other: Unit, power: int = 1) -> Unit:
        """The product with a power of another unit."""
        found = dict(self.dimension)
        for name, exponent in other.dimension:
            found[name] = found.get(name, 0) + exponent * power
        kept = tuple(sorted((name, exponent) for name, exponent in found.items() if exponent))
        return Unit(kept, self.factor * other.factor**power)


ONE = Unit((), Fraction(1))


@cache
def unit_of(code: str) -> Unit | None:
    """The unit of a UCUM code; None for one that the table does not have."""
    if code in SHIFTED:
        shift, counted = SHIFTED[code]
        found = unit_of(counted)
        return None if found is None else Unit(found.dimension, found.factor, Fraction(shift))
    tokens = _TOKEN.findall(code)
    if "".join(tokens) != code or not code:
        return None
    try:
        found, rest = _term(tokens)
    except _Unknown:
        return None
    return found if not rest else None


class _Unknown(Exception):
    """A unit that the table does not have."""


def _term(tokens: list[str]) -> tuple[Unit, list[str]]:
    """The product of components up to the end or a closing parenthesis."""
    found, power = ONE, 1
    if tokens and tokens[0] == "/":
        tokens, power = tokens[1:], -1
    while True:
        component, tokens = _component(tokens)
        found = found.times(component, power)
        if not tokens or tokens[0] not in "./":
            return found, tokens
        power = 1 if tokens[0] == "." else -1
        tokens = tokens[1:]


def _component(tokens: list[str]) -> tuple[Unit, list[str]]:
    if not tokens:
        raise _Unknown
    first, rest = tokens[0], tokens[1:]
    if first == "(":
        found, rest = _term(rest)
        if not rest or rest[0] != ")":
            raise _Unknown
        return found, rest[1:]
    found = ONE if first.startswith("{") else _simple(first)
    while rest and rest[0].startswith("{"):
        rest = rest[1:]
    return found, rest


def _simple(token: str) -> Unit:
    if token.isdecimal():
        return Unit((), Fraction(int(token)))
    match = _UNIT.fullmatch(token)
    name, power = (match[1], int(match[2] or 1)) if match else (token, 1)
    return ONE.times(_atom(name), power)


@cache
def _atom(name: str) -> Unit:
    if name in BASES:
        return Unit(((name, 1),), Fraction(1))
    if name in DEFINED:
        number, term = DEFINED[name]
        found = unit_of(term) if term else ONE
        if found is None:
            raise _Unknown
        return Unit(found.dimension, found.factor * Fraction(number))
    for prefix, exponent in PREFIXES.items():
        if name.startswith(prefix) and name[len(prefix) :] in METRIC:
            found = _atom(name[len(prefix) :])
            return Unit(found.dimension, found.factor * Fraction(10) ** exponent)
    raise _Unknown


@cache
def known_codes() -> dict[str, dict[str, Unit]]:
    """The codes that data are looked up by: base → code → unit."""
    found: dict[str, dict[str, Unit]] = {}
    for code in _written():
        unit = unit_of(code)
        if unit is not None:
            found.setdefault(unit.base, {})[code] = unit
    return found


def _written() -> Iterator[str]:
    """Every simple unit with every prefix, and what stands above and below a stroke in data."""
    yield from (*BASES, *DEFINED, *SHIFTED, "1", *_COUNTS[2:])
    yield from (f"{prefix}{unit}" for prefix, unit in product(PREFIXES, sorted(METRIC)))
    yield from ("m2", "cm2", "mm2", "m3", "cm3", "mm3", "dm3", "kg/m2", "g/m2", "m/s", "cm/s")
    above = [f"{prefix}{unit}" for prefix, unit in product(_ABOVE_PREFIXES, _ABOVE)]
    yield from (f"{one}/{other}" for one, other in product([*above, *_COUNTS], _BELOW))
