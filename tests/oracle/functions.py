"""Functions whose arguments are evaluated first; each takes and gives lists of items."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import partial
from typing import Any

from oracle import conversions, numbers, quantities, temporal
from oracle.item import Item, as_boolean, child, single
from oracle.operators import distinct
from oracle.parse import OracleError

Items = list[Item]
STARTED_AT = datetime.now(UTC)


def extension(target: Items, url: Items) -> Items:
    wanted = single(url)
    found = [extension for item in target for extension in child(item, "extension")]
    return [one for one in found if wanted is not None and one.value.get("url") == wanted.value]


def negate(target: Items) -> Items:
    value = as_boolean(target)
    return [] if value is None else [Item(not value, "boolean")]


def join(target: Items, separator: Items | None = None) -> Items:
    """No input gives nothing."""
    between = single(separator or [])
    texts = [str(item.value) for item in target if item.value is not None]
    return [Item((between.value if between else "").join(texts), "string")] if texts else []


def part(target: Items, number: Items, *, after: bool) -> Items:
    place = single(number)
    if place is None:
        return []
    count = max(place.value, 0)
    return target[count:] if after else target[:count]


def only(target: Items) -> Items:
    if len(target) > 1:
        raise OracleError("several items, not one")
    return target


def text(function: Callable[..., Any], result: str) -> Callable[..., Items]:
    """A function of one string and string or integer arguments; empty in, empty out."""

    def apply(target: Items, *arguments: Items) -> Items:
        operands = [single(items) for items in (target, *arguments)]
        if any(operand is None for operand in operands):
            return []
        value = function(*(operand.value for operand in operands if operand is not None))
        return [] if value is None else [Item(value, result)]

    return apply


def substring(target: Items, start: Items, length: Items | None = None) -> Items:
    """An empty length is none at all; one below zero is zero."""
    value, first, size = single(target), single(start), single(length or [])
    if value is None or first is None or not 0 <= first.value < len(value.value):
        return []
    end = None if size is None else first.value + max(size.value, 0)
    return [Item(value.value[first.value : end], "string")]


def quantified(wanted: bool, over: Callable[..., bool]) -> Callable[[Items], Items]:
    """Whether all (or any) of the booleans are `wanted`."""

    def apply(target: Items) -> Items:
        return [Item(over(as_boolean([item]) is wanted for item in target), "boolean")]

    return apply


def only_value(target: Items) -> Items:
    """The value of a collection of one primitive."""
    return target if len(target) == 1 and target[0].value is not None else []


def split(target: Items, separator: Items) -> Items:
    value, between = single(target), single(separator)
    if value is None or between is None:
        return []
    parts = value.value.split(between.value) if between.value else [value.value]
    return [Item(part, "string") for part in parts]


def characters(target: Items) -> Items:
    value = single(target)
    return [] if value is None else [Item(one, "string") for one in value.value]


def replaced(value: str, pattern: str, substitution: str) -> str:
    """Named groups and references to groups are not written as Python writes them."""
    references = re.sub(r"\$\{(\w+)\}|\$(\d)", r"\\g<\1\2>", substitution)
    return re.sub(as_python(pattern), references, value)


def matches(value: str, pattern: str) -> bool:
    return re.search(as_python(pattern), value, re.DOTALL) is not None


def as_python(pattern: str) -> str:
    """The pattern with its groups named as Python names them."""
    return re.sub(r"\(\?<(?=\w)", "(?P<", pattern)


def boundary(high: bool) -> Callable[..., Items]:
    def apply(target: Items, precision: Items | None = None) -> Items:
        item = single(target)
        if item is None:
            return []
        digits = None if precision is None else precision[0].value
        if isinstance(item.value, int | Decimal):
            return decimal_boundary(Decimal(item.value), digits, high=high)
        function = {"date": temporal.date_boundary, "time": temporal.time_boundary}.get(
            item.type, temporal.datetime_boundary
        )
        found = temporal.cut(function(item.value, high=high), digits)
        return [] if found is None else [Item(found, item.type)]

    return apply


def decimal_boundary(value: Decimal, digits: int | None, *, high: bool) -> Items:
    half = Decimal(5).scaleb(int(value.as_tuple().exponent) - 1)
    end = value + half if high else value - half
    if digits is None:
        return [Item(end, "decimal")]
    if not 0 <= digits <= 28:
        return []
    towards = ROUND_CEILING if high else ROUND_FLOOR
    return [Item(end.quantize(Decimal(1).scaleb(-digits), towards), "decimal")]


def to_string(target: Items) -> Items:
    item = single(target)
    if item is None or not quantities.is_quantity(item):
        return conversions.FUNCTIONS["toString"](target)
    found = quantities.written(item)
    return [] if found is None else [Item(found, "string")]


def clock(form: str, type_name: str) -> Callable[..., Items]:
    """The instant at which the oracle was loaded: one for all calls, as in one statement."""
    written = STARTED_AT.strftime(form)
    return lambda _target: [Item(written, type_name)]


def today(_target: Items) -> Items:
    """The day of the call, which is the day of the statement it is compared with."""
    return [Item(datetime.now(UTC).date().isoformat(), "date")]


FUNCTIONS: dict[str, Callable[..., Items]] = {
    **conversions.FUNCTIONS,
    **numbers.FUNCTIONS,
    "empty": lambda target: [Item(not target, "boolean")],
    "first": lambda target: target[:1],
    "last": lambda target: target[-1:],
    "tail": lambda target: target[1:],
    "skip": partial(part, after=True),
    "take": partial(part, after=False),
    "single": only,
    "count": lambda target: [Item(len(target), "integer")],
    "union": lambda target, other: distinct([*target, *other]),
    "combine": lambda target, other: [*target, *other],
    "distinct": distinct,
    "isDistinct": lambda target: [Item(len(distinct(target)) == len(target), "boolean")],
    "toString": to_string,
    "not": negate,
    "today": today,
    "now": clock("%Y-%m-%dT%H:%M:%S.%fZ", "dateTime"),
    "timeOfDay": clock("%H:%M:%S.%f", "time"),
    "extension": extension,
    "join": join,
    "lowBoundary": boundary(high=False),
    "highBoundary": boundary(high=True),
    "matches": text(matches, "boolean"),
    "startsWith": text(str.startswith, "boolean"),
    "endsWith": text(str.endswith, "boolean"),
    "contains": text(lambda value, part: part in value, "boolean"),
    "replace": text(str.replace, "string"),
    "lower": text(str.lower, "string"),
    "upper": text(str.upper, "string"),
    "trim": text(str.strip, "string"),
    "length": text(len, "integer"),
    "substring": substring,
    "indexOf": text(str.find, "integer"),
    "replaceMatches": text(replaced, "string"),
    "split": split,
    "toChars": characters,
    "allTrue": quantified(True, all),
    "anyTrue": quantified(True, any),
    "allFalse": quantified(False, all),
    "anyFalse": quantified(False, any),
    "getValue": only_value,
    "hasValue": lambda target: [Item(bool(only_value(target)), "boolean")],
}
