"""Time between a row and the events of another view, in whole days.

A date is the days it may mean, in UTC as everywhere: a full date or an instant is one, `2024-06`
is thirty. Of a row with the days [a, z] and an event with the days [A, Z] the event lies A - z to
Z - a days after the row. The window is met when all of these are in it, missed when none is, and
otherwise undecided.

The first event of a key lies between the earliest beginning and the earliest end of all of them,
the last one between the latest two: so a partial date counts as far as it tells. Events without a
date are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import event_span, value_sql
from researchflow_runners.query.comparison import Truth
from researchflow_runners.query.model import Window
from researchflow_runners.sql import Sql, compose, fixed, param

#: Of all events of a key, the function that finds the days of the one that is meant.
_CHOOSING = {"first": "min", "last": "max"}


@dataclass(frozen=True, slots=True)
class Dated:
    """Rows with a key and a date, which is that of the first of these columns that has one."""

    alias: Sql
    key: Column
    dates: Sequence[Column]

    @property
    def key_sql(self) -> Sql:
        """The key as it compares."""
        return value_sql(self.alias, self.key)

    @property
    def first_day(self) -> Sql:
        """The first day that the date may mean; null without a date."""
        return _day(event_span(self.alias, self.dates)[0])

    @property
    def last_day(self) -> Sql:
        """The last day that it may mean."""
        end = event_span(self.alias, self.dates)[1]
        return _day(compose("({} - interval '1 microsecond')", end))


def _day(instant: Sql) -> Sql:
    return compose("({} AT TIME ZONE 'UTC')::date", instant)


def events_sql(window: Window, events: Dated, relation: Sql, inner: Sql) -> Sql:
    """The events as rows of key `k` and days `a` to `z`; `inner` is ` AND …` or empty."""
    choosing = _CHOOSING.get(window.of.which)
    first, last = events.first_day, events.last_day
    if choosing is not None:
        first, last = (compose(f"{choosing}({{}})", day) for day in (first, last))
    return compose(
        "(SELECT {key} AS k, {first} AS a, {last} AS z FROM {relation} AS {alias}"
        " WHERE {key} IS NOT NULL AND {dated} IS NOT NULL{inner}{grouped})",
        key=events.key_sql,
        first=first,
        last=last,
        relation=relation,
        alias=events.alias,
        dated=events.first_day,
        inner=inner,
        grouped=fixed(" GROUP BY 1" if choosing else ""),
    )


def window_tests(window: Window, own: Dated, alias: Sql) -> Truth:
    """Whether the event under an alias surely lies in the window, and whether it surely misses."""
    earliest = compose("({}.a - {})", alias, own.last_day)
    latest = compose("({}.z - {})", alias, own.first_day)
    low = param(-window.days if window.side != "before" else 0, "integer")
    high = param(window.days if window.side != "after" else 0, "integer")
    return Truth(
        compose("({} >= {} AND {} <= {})", earliest, low, latest, high),
        compose("({} < {} OR {} > {})", latest, low, earliest, high),
    )


def within_truth(window: Window, own: Dated, events: Sql, alias: Sql) -> Truth:
    """Whether an event of the row's key lies in the window; false for a key without events."""
    test = window_tests(window, own, alias)
    exists = "EXISTS (SELECT 1 FROM {events} AS {alias} WHERE {alias}.k = {key} AND {test})"
    named = {"events": events, "alias": alias, "key": own.key_sql}
    return Truth(
        compose(exists, test=test.holds, **named),
        compose(
            f"({{key}} IS NOT NULL AND NOT {exists})",
            test=compose("{} IS NOT TRUE", test.fails),
            **named,
        ),
    )


def undecided_sql(
    window: Window, own: Dated, events: Sql, alias: Sql, *, relation: Sql, beside: Sql
) -> Sql:
    """How many rows of the relation, under the alias of `own`, have events and are undecided.

    `beside` is ` AND …` or empty: what else is asked of the rows.
    """
    test = window_tests(window, own, alias)
    return compose(
        "(SELECT count(*) FROM (SELECT 1 FROM {relation} AS {own} JOIN {events} AS {alias}"
        " ON {alias}.k = {key}{beside} GROUP BY {own}._id, {own}._ord"
        " HAVING bool_or({met}) IS NOT TRUE AND bool_or({missed} IS NOT TRUE)) AS u)",
        relation=relation,
        own=own.alias,
        events=events,
        alias=alias,
        key=own.key_sql,
        beside=beside,
        met=test.holds,
        missed=test.fails,
    )
