"""What questions with groups and chosen rows mean, in plain Python over rows.

Shares no code with the product. Beside the rows of `World`, a row has the columns of its patient
under names such as `patient.gender`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, sqrt
from typing import Any

from oracle_filters import Row, World, days, period

Json = Mapping[str, Any]
DAY = timedelta(days=1)
UNITS = {"value_quantity": "value_unit"}
DISPLAYS = {"code_display": "code"}
MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120}


class UnitsMixed(Exception):
    """Numbers of several units would be put together."""


@dataclass
class Found:
    """The rows of an answer, as dicts, and how many choices were among equals."""

    rows: list[dict[str, Any]]
    ties: int | None = None


@dataclass(frozen=True)
class Asker:
    """Answers questions over a world; `events` are the dates of each view's rows, by rank."""

    world: World
    events: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def answer(self, asked: Json) -> Found:
        kept = Choice(self, asked).rows()
        ties = kept.ties
        if not asked.get("group_by") and not asked.get("aggregates"):
            names = asked["columns"]
            return Found([{name: row[name] for name in names} for row in kept.rows], ties)
        grouping = Grouping(self, asked)
        rows = grouping.answer(kept.rows)
        if grouping.ties is not None:
            ties = (ties or 0) + grouping.ties
        if "having" in asked:
            answers = World({"answer": rows}, self.world.dates, self.world.today)
            rows = answers.rows("answer", asked["having"])  # type: ignore[assignment]
        return Found(rows, ties)

    def dated(self, view: str, row: Row, by: str | None) -> tuple[datetime, datetime] | None:
        names = [by] if by else self.events[view]
        texts = [row[name] for name in names if row[name] is not None]
        return period(texts[0]) if texts else None


@dataclass
class Choice:
    """The rows that a question is about."""

    asker: Asker
    asked: Json

    def rows(self) -> Found:
        view = self.asked["view"]
        kept = self.asker.world.rows(view, self.asked.get("where"))
        name = next((one for one in ("latest_per", "first_per") if one in self.asked), None)
        if name is None:
            return Found(list(map(dict, kept)))
        latest = self.asked[name]
        if not isinstance(latest, dict):
            latest = {"key": latest}
        keys = latest["key"] if isinstance(latest["key"], list) else [latest["key"]]
        chosen: dict[tuple[Any, ...], list[Row]] = {}
        for row in kept:
            key = tuple(row[one] for one in keys)
            if None not in key and self.asker.dated(view, row, latest.get("by")):
                chosen.setdefault(key, []).append(row)
        ties, found = 0, []
        for rows in chosen.values():
            dates = [self.asker.dated(view, row, latest.get("by")) for row in rows]
            best = (max if name == "latest_per" else min)(one for one in dates if one)
            first = [row for row, at in zip(rows, dates, strict=True) if at == best]
            ties += len(first) > 1
            found.append(dict(min(first, key=lambda row: str(row["id"]))))
        world = World({view: found}, self.asker.world.dates, self.asker.world.today)
        return Found(list(map(dict, world.rows(view, latest.get("where")))), ties)


@dataclass
class Grouping:
    """Groups, aggregates, and the ties of values taken by their date."""

    asker: Asker
    asked: Json
    ties: int | None = None

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        groups = self.asked.get("group_by", [])
        self._check_units(groups, rows)
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            found.setdefault(tuple(self._key(group, row) for group in groups), []).append(row)
        if not groups:
            found = found or {(): []}
        return [self._row(key, members) for key, members in found.items()]

    def _row(self, key: tuple[Any, ...], members: Sequence[Row]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for group, value in zip(self.asked.get("group_by", []), key, strict=True):
            shown = self._display(group, members) if self._displays(group) else value
            row[named(group)] = shown[-1] if isinstance(shown, tuple) else shown
        for aggregate in self.asked.get("aggregates") or [{"fn": "count"}]:
            row[output_name(aggregate)] = self._aggregate(aggregate, members)
        return row

    def _displays(self, group: Any) -> bool:
        return isinstance(group, str) and DISPLAYS.get(group, "") in self.asked["group_by"]

    def _display(self, group: str, members: Sequence[Row]) -> str | None:
        texts = Counter(row[group] for row in members if row[group] is not None)
        return min(texts, key=lambda text: (-texts[text], text), default=None)

    def _key(self, group: Any, row: Row) -> Any:
        if isinstance(group, str):
            if self._displays(group):
                return row[group] if row[DISPLAYS[group]] is None else None
            value = row[group]
            is_date = group in self.asker.world.dates and value is not None
            return (period(value), value) if is_date else value
        if "bucket" in group:
            return bucket(row[group["column"]], group["bucket"], group.get("starts", 1))
        if "age_at" in group or "age_brackets" in group:
            return self._age_group(group, row)
        return in_steps(row[group["column"]], Decimal(str(group["width"])))

    def _age_group(self, group: Json, row: Row) -> Any:
        ages = self._ages(group, row)
        if "age_brackets" in group:
            labels = [bracket(one, group["age_brackets"]) for one in ages]
        elif "width" in group:
            step = group["width"]
            labels = [None if one is None else years(one // step * step, step) for one in ages]
        else:
            labels = list(ages)  # type: ignore[arg-type]
        return labels[0] if labels[0] == labels[1] else None

    def _ages(self, asked: Json, row: Row) -> tuple[int | None, int | None]:
        """The youngest and the oldest that the row's patient may be."""
        prefix = "" if "birth_date" in row else "patient."
        born, died = row[f"{prefix}birth_date"], row[f"{prefix}deceased_date"]
        at = asked.get("age_at", "today")
        if at == "today":
            if row[f"{prefix}deceased"] and died is None:
                return None, None
            told = (self.asker.world.today, self.asker.world.today)
        else:
            if row[at] is None:
                return None, None
            told = days(row[at])
        if born is None:
            return None, None
        if died is not None:
            ends = days(died)
            told = (min(told[0], ends[0]), min(told[1], ends[1]))
        births = days(born)
        return age(births[1], told[0]), age(births[0], told[1])

    def _check_units(self, groups: Sequence[Any], rows: Sequence[Row]) -> None:
        for group in groups:
            name = group if isinstance(group, str) else group.get("column")
            if UNITS.get(name) and UNITS[name] not in groups and mixed(name, rows):
                raise UnitsMixed

    def _aggregate(self, asked: Json, members: Sequence[Row]) -> Any:
        fn, column = asked["fn"], asked.get("column")
        if column is None and "age_at" not in asked:
            return len(members)
        if column is None:
            pairs = [self._ages(asked, row) for row in members]
            values: list[Any] = [low for low, high in pairs if low is not None and low == high]
        else:
            values = [row[column] for row in members if row[column] is not None]
            if fn not in ("count", "count_distinct") and column in UNITS and mixed(column, members):
                raise UnitsMixed
        if fn in ("first", "last", "change"):
            return self._by_date(asked, members)
        if column in self.asker.world.dates and fn not in ("count", "count_distinct"):
            return of_dates(fn, values, asked)
        return of_values(fn, values, asked)

    def _by_date(self, asked: Json, members: Sequence[Row]) -> Any:
        view, column = self.asked["view"], asked["column"]
        dated = [
            (at, str(row["id"]), row[column])
            for row in members
            if row[column] is not None
            and (at := self.asker.dated(view, row, asked.get("by"))) is not None
        ]
        self.ties = self.ties or 0
        if not dated:
            return None
        first, last = min(one[0] for one in dated), max(one[0] for one in dated)
        ends = {"first": [first], "last": [last], "change": [last, first]}[asked["fn"]]
        taken = [sorted(one[1:] for one in dated if one[0] == end) for end in ends]
        self.ties += any(len(one) > 1 for one in taken)
        values = [one[0][1] for one in taken]
        return values[0] if len(values) == 1 else values[0] - values[1]


def named(group: Any) -> str:
    """What the answer calls a group."""
    if isinstance(group, str):
        return group
    if "bucket" in group:
        return f"{group['column']}_{group['bucket']}"
    if "age_at" in group and group["age_at"] != "today":
        return f"age_at_{group['age_at']}"
    if "age_at" in group or "age_brackets" in group:
        return f"{group['column']}_age" if "column" in group else "age"
    return f"{group['column']}_width"


def output_name(asked: Json) -> str:
    """What the answer calls an aggregate."""
    if "name" in asked:
        return str(asked["name"])
    of = f"age_at_{asked['age_at']}" if "age_at" in asked else asked.get("column")
    return f"{asked['fn']}_{of}" if of else str(asked["fn"])


def mixed(column: str, rows: Sequence[Row]) -> bool:
    return len({row[UNITS[column]] for row in rows if row[column] is not None}) > 1


def bucket(text: str | None, size: str, starts: int) -> str | None:
    if text is None:
        return None
    step, shift = MONTHS[size], starts - 1
    first, last = ((one.year * 12 + one.month - 1 - shift) // step for one in days(text))
    if first != last:
        return None
    begin = first * step + shift
    if starts != 1:
        return f"{month(begin)}/{month(begin + step - 1)}"
    year = f"{begin // 12:04}"
    return {
        "month": month(begin),
        "quarter": f"{year}-Q{begin % 12 // 3 + 1}",
        "year": year,
        "decade": f"{year}s",
    }[size]


def month(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def in_steps(value: Any, width: Decimal) -> str | None:
    if value is None:
        return None
    low = floor(Fraction(value) / Fraction(width)) * width
    return f"{plain(low)}-<{plain(low + width)}"


def plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bracket(one: int | None, bounds: Sequence[int]) -> str | None:
    if one is None:
        return None
    if one < bounds[0]:
        return f"under {bounds[0]}"
    for low, high in pairwise(bounds):
        if low <= one < high:
            return str(low) if high == low + 1 else f"{low}-{high - 1}"
    return f"{bounds[-1]}+"


def years(low: int, step: int) -> str:
    return str(low) if step == 1 else f"{low}-{low + step - 1}"


def age(born: date, day: date) -> int | None:
    if day < born:
        return None
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def of_dates(fn: str, texts: list[str], asked: Json) -> Any:
    ordered = sorted(texts, key=lambda text: (period(text), text))
    if fn == "span_days":
        exact = [begin for begin, end in map(period, texts) if end - begin <= DAY]
        return (max(exact) - min(exact)) // DAY if exact else None
    if not ordered:
        return None
    place = {"min": 0, "any_value": 0, "max": len(ordered) - 1}.get(fn)
    if place is None:
        place = max(ceil(asked.get("p", 0.5) * len(ordered)), 1) - 1
    return ordered[place]


def of_values(fn: str, values: list[Any], asked: Json) -> Any:
    if fn in ("count", "count_distinct"):
        return len(values) if fn == "count" else len(set(values))
    if not values:
        return None
    ordered = sorted(values)
    if fn in ("min", "any_value", "max"):
        return ordered[-1 if fn == "max" else 0]
    if fn in ("median", "percentile"):
        place = Fraction(str(asked.get("p", 0.5))) * (len(ordered) - 1)
        low, high = (Fraction(ordered[one]) for one in (floor(place), ceil(place)))
        return low + (place - floor(place)) * (high - low)
    total = sum(map(Fraction, ordered))
    if fn == "sum":
        return total
    mean = total / len(ordered)
    if fn == "avg":
        return mean
    if len(ordered) < 2:
        return None
    return sqrt(sum((Fraction(one) - mean) ** 2 for one in ordered) / (len(ordered) - 1))
