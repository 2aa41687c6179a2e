"""Which series and labels a PromQL expression asks for; enough of the grammar for our own rules.

Syntax is Prometheus's to judge: the tests give every expression to promtool as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<range>\[[^\]]*\])
      | (?P<number>\d[\w.]*)
      | (?P<name>[A-Za-z_:][\w:]*)
      | (?P<sign>[^\s\w])""",
    re.VERBOSE,
)
GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
WORDS = frozenset({"and", "or", "unless", "bool", "offset"})


@dataclass(frozen=True)
class Selector:
    """A metric and its matchers: (label, value), the value empty unless compared by equality."""

    metric: str
    matchers: frozenset[tuple[str, str]]


def selectors(expression: str) -> set[Selector]:
    """Every metric that the expression reads."""
    tokens = [(match.lastgroup, match[0]) for match in TOKEN.finditer(expression)]
    found: set[Selector] = set()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind != "name" or text in WORDS:
            at += 1
        elif text in GROUPINGS:
            at = _closing(tokens, at, ")")
        elif following in {"(", *GROUPINGS}:
            at += 1  # a function, or an aggregation before its grouping
        else:
            end = _closing(tokens, at, "}") if following == "{" else at + 1
            found.add(Selector(text, frozenset(_matchers(tokens[at + 1 : end]))))
            at = end
    return found


def grouping_labels(expression: str) -> set[str]:
    """Every label that a `by`, `on` and the like names."""
    lists = re.findall(rf"\b(?:{'|'.join(GROUPINGS)})\s*\(([^)]*)\)", expression)
    return {name.strip() for names in lists for name in names.split(",") if name.strip()}


def _closing(tokens: list[tuple[str | None, str]], start: int, bracket: str) -> int:
    """The position after the next closing bracket."""
    return next(at for at in range(start, len(tokens)) if tokens[at][1] == bracket) + 1


def _matchers(tokens: list[tuple[str | None, str]]) -> Iterator[tuple[str, str]]:
    for at, (kind, text) in enumerate(tokens):
        if kind == "name":
            sign, value = tokens[at + 1][1], tokens[at + 2]
            yield text, value[1][1:-1] if sign == "=" and value[0] == "text" else ""
