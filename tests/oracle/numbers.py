"""Functions of one number, most of them exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from oracle.item import Item, single
from oracle.parse import OracleError

Items = list[Item]


def number(function: Callable[..., Any], result: str | None) -> Callable[..., Items]:
    """A function of one number and perhaps another; `result` None keeps integers integers."""

    def apply(target: Items, *arguments: Items) -> Items:
        operands = [single(items) for items in (target, *arguments)]
        if any(operand is None for operand in operands):
            return []
        values = [operand.value for operand in operands if operand is not None]
        if any(isinstance(one, bool) or not isinstance(one, int | Decimal) for one in values):
            raise OracleError("expected numbers")
        found = function(*values)
        whole = all(isinstance(one, int) for one in values)
        kind = result or ("integer" if whole else "decimal")
        if found is None or (kind == "integer" and not -(2**31) <= found < 2**31):
            return []
        return [Item(found, kind)]

    return apply


def rounded(value: Any, places: int = 0) -> Decimal:
    """A half goes away from zero."""
    if places < 0:
        raise OracleError("negative precision")
    return Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        return int(base**exponent) if exponent >= 0 or abs(base) == 1 else None
    base, exponent = Decimal(base), Decimal(exponent)
    if (base == 0 and exponent < 0) or (base < 0 and exponent % 1):
        return None
    return Decimal(1) if exponent == 0 else base**exponent


def log(value: Any, base: Any) -> Decimal | None:
    if value <= 0 or base <= 0 or base == 1:
        return None
    return Decimal(value).ln() / Decimal(base).ln()


FUNCTIONS: dict[str, Callable[..., Items]] = {
    "abs": number(abs, None),
    "ceiling": number(math.ceil, "integer"),
    "floor": number(math.floor, "integer"),
    "truncate": number(math.trunc, "integer"),
    "round": number(rounded, "decimal"),
    "sqrt": number(lambda value: Decimal(value).sqrt() if value >= 0 else None, "decimal"),
    "exp": number(lambda value: Decimal(value).exp(), "decimal"),
    "ln": number(lambda value: Decimal(value).ln() if value > 0 else None, "decimal"),
    "log": number(log, "decimal"),
    "power": number(power, None),
}
