"""FHIRPath text to nested tuples: `("member", target, "name")`; target None means the focus."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any

Tree = tuple[Any, ...]


class OracleError(Exception):
    """The view or expression is wrong, or a column has several values."""


TOKEN = re.compile(
    r"""\s*(?:
      (?P<datetime>@\d{4}(?:-\d\d(?:-\d\d)?)?T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)?
                   (?:Z|[+-]\d\d:\d\d)?)
    | (?P<date>@\d{4}(?:-\d\d(?:-\d\d)?)?)
    | (?P<time>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<string>'(?:\\.|[^'\\])*')
    | (?P<quoted>`[^`]*`)
    | (?P<external>%(?:\w+|`[^`]*`))
    | (?P<name>\$?[A-Za-z_]\w*)
    | (?P<symbol><=|>=|!=|!~|[-+*/&|=~<>().,\[\]{}])
    )""",
    re.VERBOSE,
)
LEVELS = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "!=", "~", "!~"),
    ("<", ">", "<=", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
    ("*", "/", "div", "mod"),
)
UNITS = {
    unit + plural
    for unit in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
    for plural in ("", "s")
}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


@cache
def parse(text: str) -> Tree:
    """The tree of the whole text; OracleError when it does not parse."""
    if not isinstance(text, str):
        raise OracleError(f"a path must be text, not {text!r}")
    parser = Parser(tokens(text))
    tree = parser.level(0)
    if parser.peek()[0] != "end":
        raise OracleError(f"unexpected {parser.peek()[1]!r} in {text!r}")
    return tree


def tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise OracleError(f"cannot read {text[position:]!r}")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return [*found, ("end", "")]


class Parser:
    def __init__(self, found: list[tuple[str, str]]) -> None:
        self.found = found

    def peek(self) -> tuple[str, str]:
        return self.found[0]

    def take(self, expected: str | None = None) -> str:
        text = self.found[0][1]
        if expected is not None and text != expected:
            raise OracleError(f"expected {expected!r}, found {text!r}")
        if self.found[0][0] == "end":
            raise OracleError("the expression ends too early")
        self.found = self.found[1:]
        return text

    def level(self, number: int) -> Tree:
        if number == len(LEVELS):
            return self.signed()
        left = self.level(number + 1)
        while self.peek()[0] in ("symbol", "name") and self.peek()[1] in LEVELS[number]:
            operator = self.take()
            if operator in ("is", "as"):
                left = ("call", left, operator, [("member", None, self.type_name())])
            else:
                left = ("operator", operator, left, self.level(number + 1))
        return left

    def type_name(self) -> str:
        parts = [self.take()]
        while self.peek()[1] == ".":
            self.take()
            parts.append(self.take())
        return ".".join(part.strip("`") for part in parts)

    def signed(self) -> Tree:
        if self.peek() in (("symbol", "-"), ("symbol", "+")):
            sign = self.take()
            return ("sign", sign, self.signed())
        return self.postfix()

    def postfix(self) -> Tree:
        tree = self.term()
        while self.peek()[1] in (".", "[") and self.peek()[0] == "symbol":
            if self.take() == "[":
                tree = ("index", tree, self.level(0))
                self.take("]")
            else:
                tree = self.member(tree)
        return tree

    def member(self, target: Tree | None) -> Tree:
        kind = self.peek()[0]
        if kind not in ("name", "quoted"):
            raise OracleError(f"expected a name, found {self.peek()[1]!r}")
        name = self.take().strip("`")
        if kind == "name" and self.peek() == ("symbol", "("):
            return ("call", target, name, self.arguments())
        return ("member", target, name)

    def arguments(self) -> list[Tree]:
        self.take("(")
        arguments: list[Tree] = []
        while self.peek()[1] != ")":
            if arguments:
                self.take(",")
            arguments.append(self.level(0))
        self.take(")")
        return arguments

    def term(self) -> Tree:
        kind, text = self.peek()
        if text == "(" and kind == "symbol":
            self.take()
            tree = self.level(0)
            self.take(")")
            return tree
        if text == "{" and kind == "symbol":
            self.take()
            self.take("}")
            return ("empty",)
        if kind == "name" and text in ("true", "false", "$this"):
            self.take()
            return ("this",) if text == "$this" else ("literal", text == "true", "boolean")
        if kind in ("name", "quoted"):
            return self.member(None)
        if kind == "external":
            return ("external", self.take()[1:].strip("`"))
        following, unit = self.found[1] if len(self.found) > 1 else ("end", "")
        if kind == "number" and (following == "string" or unit in UNITS):
            self.take()
            written = self.take()
            unit = literal("string", written)[1] if following == "string" else written
            return ("quantity", text, unit, following == "name")
        return literal(kind, self.take())


def literal(kind: str, text: str) -> Tree:
    if kind == "string":
        unescaped = re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), text[1:-1])
        return ("literal", unescaped, "string")
    if kind == "number":
        whole = "." not in text
        return ("literal", int(text) if whole else Decimal(text), "integer" if whole else "decimal")
    if kind == "date":
        return ("literal", text[1:], "date")
    if kind == "datetime":
        return ("literal", text[1:].removesuffix("T"), "dateTime")
    if kind == "time":
        return ("literal", text[2:], "time")
    raise OracleError(f"unexpected {text!r}")
