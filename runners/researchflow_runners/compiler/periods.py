"""Dates of any precision as the period they mean, `[lo, hi)` in UTC.

`2024` is the whole year, a time to the hour, which only FHIRPath knows, the whole hour; a time to
the second or finer is an instant, one microsecond long. A time without an offset, which FHIR
forbids, is read as UTC beside others without one; nobody knows its place beside those that have
one (`clashing`). The SQL here takes a column of text and relies on sessions whose TimeZone
is UTC, which store/database.py sets.
"""

from __future__ import annotations

import re

from researchflow_runners.sql import Sql, compose

#: By length: a time to the hour has 13, 14 or 19 characters, the last shared with a time to the
#: second without offset; to the minute 16, 17 or 22, the last shared with tenths of a second.
#: FHIR asks for seconds and an offset, so the common lengths are none of these.
LOW = """(CASE WHEN {t} IS NULL THEN NULL WHEN octet_length({t}) > 19 THEN {t}::timestamptz ELSE
 CASE octet_length({t}) WHEN 10 THEN {t}::timestamptz WHEN 7 THEN ({t} || '-01')::timestamptz
 WHEN 4 THEN ({t} || '-01-01')::timestamptz WHEN 13 THEN ({t} || ':00')::timestamptz
 WHEN 14 THEN (left({t}, 13) || ':00Z')::timestamptz
 WHEN 19 THEN (left({t}, 13) || CASE WHEN substr({t}, 14, 1) = ':' THEN '' ELSE ':00' END
 || substr({t}, 14))::timestamptz ELSE {t}::timestamptz END END)"""
#: A day in UTC has 24 hours, which are added ten times as fast as a day of a calendar.
HIGH = """(CASE WHEN {t} IS NULL THEN NULL
 WHEN octet_length({t}) > 22 THEN {lo} + interval '1 microsecond' ELSE
 CASE octet_length({t}) WHEN 10 THEN {lo} + interval '24 hours'
 WHEN 7 THEN {lo} + interval '1 mon' WHEN 4 THEN {lo} + interval '1 year'
 WHEN 16 THEN {lo} + interval '1 minute' WHEN 17 THEN {lo} + interval '1 minute'
 WHEN 22 THEN {lo} + CASE WHEN substr({t}, 17, 1) = ':' THEN interval '1 microsecond'
 ELSE interval '1 minute' END
 WHEN 13 THEN {lo} + interval '1 hour' WHEN 14 THEN {lo} + interval '1 hour'
 WHEN 19 THEN {lo} + CASE WHEN substr({t}, 14, 1) = ':' THEN interval '1 microsecond'
 ELSE interval '1 hour' END ELSE {lo} + interval '1 microsecond' END END)"""


#: Days and longer need no offset.
TIMED = "octet_length({t}) > 10"
WITHOUT_OFFSET = "(translate(substr({t}, 12), 'Z+-', '') = substr({t}, 12))"
#: What is a clock time, and whether an offset is written with it.
CLOCK_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)?")


def without_offset(text: Sql) -> Sql:
    """Whether a date or dateTime is a time without an offset."""
    return compose(f"({TIMED} AND {WITHOUT_OFFSET})", t=text)


def clashing(text: Sql, written: str) -> Sql | None:
    """Whether a date or dateTime is on another clock than what is written; None: never."""
    found = CLOCK_TIME.fullmatch(written)
    if found is None:
        return None
    other = WITHOUT_OFFSET if found[1] else f"NOT {WITHOUT_OFFSET}"
    return compose(f"({TIMED} AND {other})", t=text)


def clashing_texts(one: Sql, other: Sql) -> Sql:
    """Whether of two times one has an offset and the other has none."""
    return compose(
        "(octet_length({o}) > 10 AND octet_length({p}) > 10 AND {a} <> {b})",
        o=one,
        p=other,
        a=compose(WITHOUT_OFFSET, t=one),
        b=compose(WITHOUT_OFFSET, t=other),
    )


def low(text: Sql) -> Sql:
    """The start of the period as timestamptz; `text` is a column, which is read several times."""
    return compose(LOW, t=text)


def high(text: Sql, lo: Sql) -> Sql:
    """The end of the period, exclusive; `lo` is a column that holds `low(text)`."""
    return compose(HIGH, t=text, lo=lo)
