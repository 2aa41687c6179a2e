"""What filters mean, in plain Python over rows: true, false, or None where it is not decided.

Shares no code with the product. A row is a dict; dates are FHIR's texts.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
Truth = bool | None


@dataclass(frozen=True)
class World:
    """The rows of each view, the names of date columns, and the day of the question."""

    views: Mapping[str, Sequence[Row]]
    dates: frozenset[str]
    today: date

    def rows(self, view: str, where: Mapping[str, Any] | None) -> list[Row]:
        """The rows of which the filter is true."""
        kept = self.views[view]
        return [row for row in kept if where is None or self.holds(view, row, where) is True]

    def holds(self, view: str, row: Row, where: Mapping[str, Any]) -> Truth:
        if "not" in where:
            found = self.holds(view, row, where["not"])
            return None if found is None else not found
        for name, least in (("all_of", None), ("any_of", 1)):
            if name in where:
                truths = [self.holds(view, row, part) for part in where[name]]
                return counted(truths, len(truths) if least is None else least)
        if "at_least" in where:
            parts = where["at_least"]["of"]
            truths = [self.holds(view, row, part) for part in parts]
            return counted(truths, where["at_least"]["n"])
        if "within" in where:
            return self.near(row, where)
        if "query" in where:
            return self.listed(row, where)
        return self.compared(view, row, where)

    def listed(self, row: Row, where: Mapping[str, Any]) -> Truth:
        own = row[where["column"]]
        if own is None:
            return None
        query = where["query"]
        found = self.rows(query["view"], query.get("where"))
        occurs = sum(one[query["column"]] == own for one in found) >= query.get("min_rows", 1)
        return occurs == (where.get("op", "in") == "in")

    def near(self, row: Row, where: Mapping[str, Any]) -> Truth:
        window, of = where["within"], where["within"]["of"]
        own = row[where["column"]]
        if own is None:
            return None
        events = [
            days(one[of["date"]])
            for one in self.rows(of["view"], of.get("where"))
            if one[of["column"]] == own and one[of["date"]] is not None
        ]
        if not events:
            return False
        choose = {"first": min, "last": max}.get(of.get("which", "any"))
        if choose is not None:
            events = [(choose(one[0] for one in events), choose(one[1] for one in events))]
        if row[window["date"]] is None:
            return None
        first, last = days(row[window["date"]])
        truths = []
        for begin, end in events:
            gaps = {
                (begin - last).days + step
                for step in range((end - begin).days + (last - first).days + 1)
            }
            met = {in_window(gap, window) for gap in gaps}
            truths.append(met.pop() if len(met) == 1 else None)
        return counted(truths, 1)

    def compared(self, view: str, row: Row, where: Mapping[str, Any]) -> Truth:
        column, op, value = where["column"], where["op"], where.get("value")
        own = row[column]
        if op in ("is_null", "not_null"):
            return (own is None) == (op == "is_null")
        if own is None:
            return None
        if op in ("in", "not_in"):
            truths = [
                self.compared(view, row, {**where, "op": "eq", "value": one}) for one in value
            ]
            found = counted(truths, 1)
            return found if op == "in" or found is None else not found
        if column in self.dates:
            return by_period(op, period(own), period(self.told(view, column, value)))
        if op in ("contains", "starts_with"):
            folded = (own.casefold(), value.casefold())
            return folded[1] in folded[0] if op == "contains" else folded[0].startswith(folded[1])
        other = Decimal(str(value)) if isinstance(own, Decimal) else value
        return {
            "eq": own == other, "ne": own != other, "lt": own < other, "le": own <= other,
            "gt": own > other, "ge": own >= other,
        }[op]  # fmt: skip

    def told(self, view: str, column: str, value: str) -> str:
        """The day that a relative date means."""
        for word in ("today", "newest"):
            if value.startswith(word):
                base = self.today if word == "today" else self.newest(view, column)
                return moved(base, value.removeprefix(word)).isoformat()
        return value

    def newest(self, view: str, column: str) -> date:
        begun = [days(row[column])[0] for row in self.views[view] if row[column] is not None]
        return max((day for day in begun if day <= self.today), default=self.today)


def counted(truths: Sequence[Truth], least: int) -> Truth:
    """Whether so many are true; undecided while more could be."""
    sure = sum(one is True for one in truths)
    possible = sum(one is not False for one in truths)
    return True if sure >= least else False if possible < least else None


def in_window(gap: int, window: Mapping[str, Any]) -> bool:
    """Whether an event so many days after the row is near enough, on the side that is asked."""
    if window["side"] == "before":
        return 0 <= gap <= window["days"]
    if window["side"] == "after":
        return -window["days"] <= gap <= 0
    return abs(gap) <= window["days"]


def moved(day: date, step: str) -> date:
    if not step:
        return day
    number, unit = int(step[:-1]), step[-1]
    if unit in "dw":
        return day + timedelta(days=number * (7 if unit == "w" else 1))
    months = day.year * 12 + day.month - 1 + number * (12 if unit == "y" else 1)
    year, month = months // 12, months % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def period(text: str) -> tuple[datetime, datetime]:
    """The instants [begin, end) that a date may mean, in UTC."""
    if len(text) > 10:
        begin = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return begin.astimezone(UTC), begin.astimezone(UTC) + timedelta(microseconds=1)
    year, month, day = (*map(int, text.split("-")), 0, 0)[:3]
    begin = datetime(year, month or 1, day or 1, tzinfo=UTC)
    if day:
        return begin, begin + timedelta(days=1)
    if month:
        return begin, begin + timedelta(days=monthrange(year, month)[1])
    return begin, datetime(year + 1, 1, 1, tzinfo=UTC)


def days(text: str) -> tuple[date, date]:
    """The first and the last day that a date may mean."""
    begin, end = period(text)
    return begin.date(), (end - timedelta(microseconds=1)).date()


def by_period(op: str, own: tuple[datetime, datetime], other: tuple[datetime, datetime]) -> Truth:
    """FHIR's comparison of periods, by what is sure of every instant of `own`."""
    if op in ("ne", "ge", "le"):
        found = by_period({"ne": "eq", "ge": "lt", "le": "gt"}[op], own, other)
        return None if found is None else not found
    if op == "eq":
        if own[0] >= other[0] and own[1] <= other[1]:
            return True
        return False if own[1] <= other[0] or own[0] >= other[1] else None
    edge = other[0] if op == "lt" else other[1]
    before = True if own[1] <= edge else False if own[0] >= edge else None
    if op == "lt":
        return before
    return None if before is None else not before
