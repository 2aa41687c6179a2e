"""References to the server's own address made relative, as the server does when it answers.

Only `Type/id` after a base address counts, with or without a version, in an element named
`reference`. Two elements of R4 bear that name and are no Reference: DetectedIssue.reference and
Expression.reference, addresses of literature and of logic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from researchflow_runners.sql import Sql, compose, fixed, join, param

_KEY = r'("reference"\s*:\s*")'
_TARGET = r'/([A-Z][A-Za-z]*/[A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]{1,64})?"'
_RELATIVE = """CASE WHEN {mentioned} THEN regexp_replace({text}, {pattern}, {relative}, 'g')
            ELSE {text} END"""


def relative_sql(text: Sql, base_urls: Sequence[str]) -> Sql:
    """The expression `text` with references to the base addresses made relative."""
    if not base_urls:
        return text
    places = (compose("strpos({}, {}) > 0", text, param(url, "text")) for url in base_urls)
    return compose(
        _RELATIVE,
        text=text,
        mentioned=join(" OR ", places),
        pattern=param(_pattern(base_urls), "text"),
        relative=fixed(r"""'\1\2"'"""),
    )


def relative_text(text: str, base_urls: Sequence[str]) -> str:
    """The same, of one text that did not come out of the tables."""
    if not any(url in text for url in base_urls):
        return text
    return re.sub(_pattern(base_urls), r'\1\2"', text)


def _pattern(base_urls: Sequence[str]) -> str:
    """One that PostgreSQL and Python read alike."""
    return f"{_KEY}(?:{'|'.join(re.escape(url) for url in base_urls)}){_TARGET}"
