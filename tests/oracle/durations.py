"""A date, dateTime or time and an amount of time, part by part."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from oracle.item import Item
from oracle.parse import OracleError

PARTS = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(\.\d+)?)?)?(.*))?)?)?$"
)
CLOCK = re.compile(r"(\d\d)(?::(\d\d)(?::(\d\d)(\.\d+)?)?)?$")
SECONDS = {
    "wk": Decimal(604_800), "d": Decimal(86_400), "h": Decimal(3_600), "min": Decimal(60),
    "s": Decimal(1), "ms": Decimal("0.001"),
}  # fmt: skip
#: Seconds of the last part that is written: year, month, day, hour, minute, second.
LENGTHS = (365 * 86_400, 30 * 86_400, 86_400, 3_600, 60, 1)


def shift(operator: str, left: Item, amount: Item) -> list[Item]:
    """The item of `left operator amount`, or none when it is out of the calendar."""
    code = amount.value["code"]
    number = Decimal(amount.value["value"]) * (1 if operator == "+" else -1)
    if code not in ("s", "ms"):
        number = Decimal(int(number))
    if code in ("a", "mo") and (amount.extra or {}).get("word") is None:
        raise OracleError("a mean year or month is no amount of calendar time")
    try:
        found = (clock if left.type == "time" else moment)(left.value, number, code)
    except (OverflowError, ValueError):
        return []
    return [Item(found, left.type)]


def moment(text: str, number: Decimal, code: str) -> str:
    match = PARTS.match(text)
    if match is None:
        raise OracleError(f"no date: {text!r}")
    written = [int(part) for part in match.groups()[:6] if part is not None]
    year, month, day, *time = written + [0, 1, 1, 0, 0, 0][len(written) :]
    if code in ("a", "mo"):
        months = int(number) * (12 if code == "a" else 1)
        if len(written) == 1:
            months = int(Decimal(months) / 12) * 12
        return render(later(year, month, day, time, months), written, match[7], match[8])
    seconds = number * SECONDS[code]
    whole = int(seconds / LENGTHS[len(written) - 1])
    if len(written) < 3:
        months = whole * (12 if len(written) == 1 else 1)
        return render(later(year, month, day, time, months), written, None, None)
    start = datetime(year, month, day, *time)
    if len(written) < 6:
        added = start + timedelta(seconds=whole * LENGTHS[len(written) - 1])
        return render(added, written, None, match[8])
    carried, fraction = carry(match[7], seconds)
    return render(start + timedelta(seconds=carried), written, fraction, match[8])


def later(year: int, month: int, day: int, time: list[int], months: int) -> datetime:
    """The same day months later, or the last one that month has."""
    count = year * 12 + month - 1 + months
    year, month = count // 12, count % 12 + 1
    if not 1 <= year <= 9999:
        raise ValueError(year)
    return datetime(year, month, min(day, monthrange(year, month)[1]), *time)


def carry(fraction: str | None, seconds: Decimal) -> tuple[int, str | None]:
    """Whole seconds to add, and the fraction that is written then."""
    if fraction is None:
        return int(seconds), None
    if seconds == int(seconds):
        return int(seconds), fraction
    total = Decimal("0" + fraction) + seconds
    whole = total.to_integral_value(ROUND_FLOOR)
    return int(whole), str(total - whole)[1:]


def render(moment: datetime, written: list[int], fraction: str | None, zone: str | None) -> str:
    text = f"{moment.year:04}" + moment.strftime("-%m-%dT%H:%M:%S")
    return text[: (4, 7, 10, 13, 16, 19)[len(written) - 1]] + (fraction or "") + (zone or "")


def clock(text: str, number: Decimal, code: str) -> str:
    match = CLOCK.match(text)
    if match is None or code not in ("h", "min", "s", "ms"):
        raise OracleError(f"no time, or no amount for one: {text!r} {code}")
    written = [int(part) for part in match.groups()[:3] if part is not None]
    seconds = number * SECONDS[code]
    length = LENGTHS[len(written) + 2]
    added, fraction = int(seconds / length) * length, match[4]
    if len(written) == 3:
        added, fraction = carry(match[4], seconds)
    hours, minutes, rest = written + [0] * (3 - len(written))
    total = (hours * 3_600 + minutes * 60 + rest + added) % 86_400
    shown = f"{total // 3_600:02}:{total // 60 % 60:02}:{total % 60:02}"
    return shown[: 3 * len(written) - 1] + (fraction or "")
