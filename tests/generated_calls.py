"""Hypothesis strategies for calls on given expressions: text in, text out.

Those of `strings_of` and `truths_of` never fail, whatever the data: SQL may leave out one side of
an `and`, so that within a condition an error may stay unseen. `failing` is for columns only.
"""

from __future__ import annotations

from hypothesis import strategies as st

CONVERTIBLE = [
    "'12'", "'+7'", "'-1.50'", "'2147483648'", "'x'", "'T'", "'no'", "'1.0'", "'1970-02-29'",
    "'1970-06'", "'1970-06-15T10'", "'1970-06-15T10:00:00Z'", "'1970-06T10:00'", "'10:30'",
    "'24:00'",
]  # fmt: skip
FROM_TEXT = ["Boolean", "Integer", "Decimal", "Date", "DateTime", "Time"]
NUMBER_CALLS = [
    "abs()", "ceiling()", "floor()", "truncate()", "round()", "round(1)", "power(2)", "power(-1)",
    "sqrt().round(3)", "exp().round(3)", "ln().round(3)", "log(2).round(3)", "power(0.5).round(3)",
]  # fmt: skip
PATTERNS = ["[Ab]", "^A", "b$", "(A)|(x)", "\\\\bA", "(?<one>.)b"]


def strings_of(one: str, other: str) -> st.SearchStrategy[str]:
    """Strings made of two expressions of strings."""
    place = st.integers(-1, 3)
    return st.one_of(
        st.sampled_from(
            [
                f"({one} | {other})",
                f"({one}).union({other})",
                f"({one}).combine({other})",
                f"({one}).distinct()",
                f"({one}).tail()",
                f"({one}).getValue()",
                f"({one}).first().split('b')",
                f"({one}).first().toChars()",
                f"({one}).first().replace('', 'x')",
                f"({one}).first().replaceMatches('(?<a>[Ab])', '<${{a}}>')",
                f"(({one}) | ({other})).first()",
            ]
        ),
        place.map(lambda number: f"({one}).skip({number})"),
        place.map(lambda number: f"({one}).take({number})"),
        st.builds(
            "{}.to{}().toString()".format, st.sampled_from(CONVERTIBLE), st.sampled_from(FROM_TEXT)
        ),
    )


def truths_of(one: str, other: str) -> st.SearchStrategy[str]:
    """One boolean, or none, made of two expressions of strings."""
    quantifiers = st.sampled_from(["allTrue", "anyTrue", "allFalse", "anyFalse"])
    return st.one_of(
        st.sampled_from(
            [
                f"({one}) ~ ({other})",
                f"({one}) !~ ({other})",
                f"({one}).first() ~ ' a'",
                f"({one}).isDistinct()",
                f"({one}).first() in ('A' | 'Ab' | 'old')",
                f"({one}).first() in ({other})",
                f"({one}).hasValue()",
                f"({one}).first().indexOf('b') > 0",
            ]
        ),
        quantifiers.map(lambda name: f"({one}).select($this != 'A').{name}()"),
        st.sampled_from(PATTERNS).map(lambda pattern: f"({one}).first().matches('{pattern}')"),
        st.builds(
            "{}.convertsTo{}()".format, st.sampled_from(CONVERTIBLE), st.sampled_from(FROM_TEXT)
        ),
        st.sampled_from(FROM_TEXT).map(lambda name: f"({one}).first().convertsTo{name}()"),
    )


def moments_compared(one: str, other: str) -> st.SearchStrategy[str]:
    """One boolean made of two dates."""
    return st.sampled_from(
        [
            f"{one} ~ {other}",
            f"{one} !~ {other}",
            f"({one} | {other}).count() = 1",
            f"({one}).combine({other}).isDistinct()",
            f"({one}).combine({other}) ~ ({other}).combine({one})",
            f"({one}).toDateTime() ~ ({other}).toDateTime()",
            f"({one}).toDate() = ({other}).toDate()",
        ]
    )


def numbers_of(one: str) -> st.SearchStrategy[str]:
    """One number, or none, made of one integer."""
    return st.one_of(
        st.sampled_from(NUMBER_CALLS).map(lambda call: f"({one}).{call}"),
        st.sampled_from(NUMBER_CALLS).map(lambda call: f"(({one} - 2) / 2).{call}"),
        st.sampled_from([f"({one}).toBoolean().toInteger()", f"({one}).toDecimal()"]),
    )


def failing(one: str) -> st.SearchStrategy[str]:
    """A string, or none, of an expression of strings; an error when it holds several."""
    return st.sampled_from(
        [
            f"({one}).single()",
            f"({one}).toInteger().toString()",
            f"({one}).convertsToDate().toString()",
            f"({one}).indexOf('b').toString()",
            f"({one}).split('b').join('-')",
            f"({one}).toChars().take(1)",
            f"({one}).replaceMatches('b', 'c')",
            f"({one}).replace('b', 'c')",
        ]
    )
