"""`~`: the same items in any order, compared less strictly than `=` does."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

from oracle import temporal
from oracle.conversions import system_type
from oracle.item import Item
from oracle.parse import OracleError


def equivalent(left: list[Item], right: list[Item]) -> bool:
    """Whether every item of one side has one of the other for itself."""
    decimals = any(isinstance(item.value, Decimal) for item in (*left, *right))
    if decimals and min(len(left), len(right)) > 1:
        raise OracleError("collections of decimals have no definite answer")
    remaining = list(right)
    for item in left:
        match = next((other for other in remaining if equivalent_items(item, other)), None)
        if match is None:
            return False
        remaining.remove(match)
    return not remaining


def equivalent_items(left: Item, right: Item) -> bool:
    if left.value is None or right.value is None:
        return left.value is right.value
    kinds = {system_type(left), system_type(right)}
    if kinds <= {"integer", "decimal"}:
        return numbers(Decimal(left.value), Decimal(right.value))
    if kinds <= {"date", "dateTime"}:
        parts = {temporal.covered(item.value)[2] for item in (left, right)}
        return len(parts) == 1 and temporal.order(left.value, right.value) == 0
    if len(kinds) > 1:
        raise OracleError(f"cannot compare {left.type} with {right.type}")
    if kinds == {"time"}:
        return temporal.same_time(left.value, right.value) is True
    if kinds == {"string"}:
        return folded(left.value) == folded(right.value)
    return bool(left.value == right.value)


def numbers(left: Decimal, right: Decimal) -> bool:
    places = min(written_places(left), written_places(right))
    one, other = (
        value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP) for value in (left, right)
    )
    return one == other


def written_places(value: Decimal) -> int:
    """Digits after the point, zeroes at the end not counted."""
    return max(0, -int(value.normalize().as_tuple().exponent))


def folded(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", " ", text).lower()
