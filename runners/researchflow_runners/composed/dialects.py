"""What other dialects of SQL write, and what PostgreSQL has in its place."""

from __future__ import annotations

import re

#: Forms that do not parse; the first that is found in the text is told.
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (r"\bselect\s+(distinct\s+)?top\b", "Write ORDER BY … LIMIT 10 at the end for TOP 10."),
        (r"`", 'Write names plain, or in double quotes: "name", not in backticks.'),
        (r"[\s,.]\[\s*[a-z_]\w*\s*\]", 'Write names plain, or in double quotes: "name".'),
        (
            r"\bqualify\b",
            "Number rows in a subquery and filter outside for QUALIFY: SELECT … FROM (SELECT …, "
            "row_number() OVER (…) AS n FROM …) AS t WHERE n = 1.",
        ),
        (r"\binterval\s+\d", "Write an interval in quotes: interval '1 year'."),
        (r"\b(not\s+)?(regexp|rlike)\b", "Write text ~ 'pattern' for REGEXP."),
        (r"\blimit\s+\d+\s*,", "Write LIMIT count OFFSET start."),
        (
            r"[=<>(,]\s*(\?|%s|@\w+)|\{\w*\}",
            "Write a parameter as :name; query_sql takes its value in parameters.",
        ),
        (r"\btry_cast\b", "Write CASE WHEN x ~ '^[0-9.]+$' THEN x::numeric END for TRY_CAST."),
        (r"\bpivot\b", "Write count(*) FILTER (WHERE …) for each column of a PIVOT."),
        (r"\bdate_(add|sub)\b", "Write d::timestamp + interval '3 months'."),
    )
)
PLAIN_HINT = "Write one SELECT in PostgreSQL's syntax."

#: Types of other dialects.
TYPE_HINTS = {
    name: f"Write {instead}."
    for names, instead in (
        ("string nvarchar varchar2 nchar clob longtext", "x::text"),
        ("datetime datetime2 smalldatetime datetimeoffset", "x::timestamptz"),
        ("int64 signed unsigned bigdecimal long", "x::bigint"),
        ("double float64 number money real8", "x::numeric"),
        ("tinyint int32", "x::integer"),
        ("bit boolean2", "x::boolean"),
    )
    for name in names.split()
}
OPERATOR_HINTS = {
    "==": "Write =.",
    "!==": "Write <>.",
    "=~": "Write text ~ 'pattern'.",
    "<=>": "Write a IS NOT DISTINCT FROM b.",
}


def parse_hint(text: str) -> str:
    """What to write for the first form of another dialect in a text that does not parse."""
    return next((hint for pattern, hint in _FORMS if pattern.search(text)), PLAIN_HINT)


_DATES = (
    "Dates of views are text, so cast them: d::date - 30, d::timestamp - interval '3 months', "
    "a::date - b::date, extract(year FROM d::date)."
)
_NUMBERS = "Cast what is text to a number: avg(x::numeric)."
_COMPARED = "Compare text with text in quotes, or cast: d::date > '2020-01-01', x::numeric > 5."


def types_hint(word: str) -> str:
    """What to do where a function or operator does not take values of these types."""
    name = word.lower()
    if name in ("-", "+", "extract", "date_trunc", "date_part", "age", "to_char", "overlaps"):
        return _DATES
    if name in ("avg", "sum", "stddev", "variance", "round", "percentile_cont", "*", "/", "abs"):
        return _NUMBERS
    if name in ("<", ">", "<=", ">=", "=", "<>", "!=", "in", "between"):
        return _COMPARED
    return "Cast them to the types it takes."
