"""Binary operators over collections, three-valued."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Any

from oracle import durations, quantities, temporal
from oracle.equivalence import equivalent
from oracle.item import Item, as_boolean, single
from oracle.parse import OracleError

TEMPORAL = ("date", "dateTime", "instant")


def operate(operator: str, left: list[Item], right: list[Item]) -> list[Item]:
    """The result of `left operator right`."""
    if operator in ("and", "or", "xor", "implies"):
        return boolean(logic(operator, as_boolean(left), as_boolean(right)))
    if operator in ("=", "!="):
        same = equal(left, right)
        return boolean(same if operator == "=" or same is None else not same)
    if operator in ("~", "!~"):
        return boolean(equivalent(left, right) is (operator == "~"))
    if operator == "|":
        return distinct([*left, *right])
    if operator == "in":
        return boolean(member_of(left, right))
    if operator == "contains":
        return boolean(member_of(right, left))
    one, other = single(left), single(right)
    if operator == "&":
        return [Item(str(one.value if one else "") + str(other.value if other else ""), "string")]
    if one is None or other is None:
        return []
    if operator in ("<", ">", "<=", ">="):
        return boolean(decide(operator, compare(one, other)))
    if operator in ("+", "-") and quantities.is_quantity(other):
        return durations.shift(operator, one, other)
    return arithmetic(operator, one.value, other.value)


def boolean(value: bool | None) -> list[Item]:
    return [] if value is None else [Item(value, "boolean")]


def logic(operator: str, left: bool | None, right: bool | None) -> bool | None:
    if operator == "implies":
        return logic("or", None if left is None else not left, right)
    if operator == "and" and (left is False or right is False):
        return False
    if operator == "or" and (left is True or right is True):
        return True
    if left is None or right is None:
        return None
    return left != right if operator == "xor" else operator == "and"


def equal(left: list[Item], right: list[Item]) -> bool | None:
    """Item by item and in order; None when a side is empty or a date is undecided."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    results = [equal_items(*pair) for pair in zip(left, right, strict=True)]
    if False in results:
        return False
    return None if None in results else True


def equal_items(left: Item, right: Item) -> bool | None:
    if left.value is None or right.value is None:
        return None
    if left.type in TEMPORAL and right.type in TEMPORAL:
        order = temporal.order(left.value, right.value)
        return None if order is None else order == 0
    if left.type == right.type == "time":
        return temporal.same_time(left.value, right.value)
    if {left.type, right.type} & {*TEMPORAL, "time"}:
        return False
    if quantities.is_quantity(left) and quantities.is_quantity(right):
        order = quantities.order(left, right)
        return None if order is None else order == 0
    if isinstance(left.value, bool) is not isinstance(right.value, bool):
        return False
    return bool(left.value == right.value)


def compare(left: Item, right: Item) -> int | None:
    if left.type in TEMPORAL and right.type in TEMPORAL:
        return temporal.order(left.value, right.value)
    if quantities.is_quantity(left) or quantities.is_quantity(right):
        return quantities.order(left, right)
    values = (left.value, right.value)
    numbers = [isinstance(value, int | Decimal) for value in values]
    texts = [isinstance(value, str) for value in values]
    if bool in map(type, values) or not (all(numbers) or all(texts)):
        raise OracleError(f"cannot compare {left.type} with {right.type}")
    return int(values[0] > values[1]) - int(values[0] < values[1])


def decide(operator: str, order: int | None) -> bool | None:
    if order is None:
        return None
    return {"<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[operator]


def arithmetic(operator: str, left: Any, right: Any) -> list[Item]:
    if isinstance(left, str) and isinstance(right, str) and operator == "+":
        return [Item(left + right, "string")]
    if not isinstance(left, int | Decimal) or not isinstance(right, int | Decimal):
        raise OracleError(f"cannot compute {operator!r} on these types")
    if operator in ("/", "div", "mod") and right == 0:
        return []
    if operator == "/":
        return [Item(Decimal(left) / Decimal(right), "decimal")]
    found = compute(operator, left, right)
    whole = isinstance(left, int) and isinstance(right, int)
    if (whole or operator == "div") and not -(2**31) <= found < 2**31:
        return []
    return [Item(found, "integer" if whole else "decimal")]


def compute(operator: str, left: Any, right: Any) -> Any:
    if operator == "div":
        return int((Decimal(left) / Decimal(right)).to_integral_value(ROUND_DOWN))
    if operator == "mod":
        return left - right * compute("div", left, right)
    return (
        {"+": left.__add__, "-": left.__sub__, "*": left.__mul__}[operator](right)
        if (type(left) is type(right))
        else compute(operator, Decimal(left), Decimal(right))
    )


def distinct(items: list[Item]) -> list[Item]:
    kept: list[Item] = []
    for item in items:
        if not any(equal_items(item, other) for other in kept):
            kept.append(item)
    return kept


def member_of(needle: list[Item], items: list[Item]) -> bool | None:
    item = single(needle)
    return None if item is None else any(equal_items(item, other) for other in items)
