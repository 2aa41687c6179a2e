"""Tokens to syntax tree, by precedence climbing (FHIRPath 2.0, section 5 and the grammar)."""

from __future__ import annotations

from decimal import Decimal

from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.fhirpath.ast import (
    Binary,
    Call,
    EmptyLiteral,
    External,
    Index,
    Literal,
    LiteralKind,
    Member,
    Node,
    Sign,
    Special,
    This,
    TypeTest,
    children,
)
from researchflow_runners.fhirpath.lexer import Token, tokenize

#: Parentheses and arguments inside each other.
NESTING_MAX = 60
#: FHIRPath's Integer has 32 bits, the least is one further from zero; a whole number beyond them is
#: a Decimal.
INTEGER_MAX = 2**31 - 1
#: Nodes from the root of a tree to its deepest leaf; what reads trees recurses over it.
DEPTH_MAX = 150

#: Binary operators by how tightly they bind; all are left-associative.
BINDING = {
    "implies": 1,
    "or": 2, "xor": 2,
    "and": 3,
    "in": 4, "contains": 4,
    "=": 5, "~": 5, "!=": 5, "!~": 5,
    "<": 6, ">": 6, "<=": 6, ">=": 6,
    "|": 7,
    "is": 8, "as": 8,
    "+": 9, "-": 9, "&": 9,
    "*": 10, "/": 10, "div": 10, "mod": 10,
}  # fmt: skip
UNITS = {
    unit + plural
    for unit in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
    for plural in ("", "s")
}
#: Operators that are words and may still name an element, after a dot or at the start.
WORDS_AS_NAMES = {"as", "is", "contains", "in", "div", "mod"}


def parse(text: str) -> Node:
    """The syntax tree of an expression.

    Raises FhirPathError `syntax` with the span of the token that does not fit.
    """
    parser = _Parser(tokenize(text))
    tree = parser.expression(0)
    parser.expect_end()
    _check_depth(tree)
    return tree


def _check_depth(tree: Node) -> None:
    level: list[Node] = [tree]
    for _depth in range(DEPTH_MAX):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise _too_deep(tree.span)


def _too_deep(span: Span) -> FhirPathError:
    return FhirPathError(
        "the expression nests too deep",
        code="expression_too_deep",
        hint="Split the expression over several columns or selects.",
        span=span,
    )


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._next
        self._position += 1
        return token

    def _at(self, *symbols: str) -> bool:
        return self._next.kind == "symbol" and self._next.text in symbols

    def _error(self, expected: str) -> FhirPathError:
        token = self._next
        found = f"'{token.text}'" if token.kind != "end" else "the end"
        return FhirPathError(
            f"expected {expected}, found {found} at position {token.span.start}",
            code="syntax",
            hint="Check the expression against the FHIRPath grammar.",
            span=token.span,
        )

    def _expect(self, symbol: str) -> Token:
        if not self._at(symbol):
            raise self._error(f"'{symbol}'")
        return self._take()

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._error("an operator or the end")

    def _operator(self) -> str | None:
        token = self._next
        if token.kind in ("symbol", "name") and token.text in BINDING:
            return token.text
        return None

    def expression(self, binding_min: int) -> Node:
        """An expression whose operators bind tighter than `binding_min`."""
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise _too_deep(self._next.span)
        left = self._signed()
        while (operator := self._operator()) and BINDING[operator] > binding_min:
            self._take()
            left = self._combine(left, operator)
        self._depth -= 1
        return left

    def _combine(self, left: Node, operator: str) -> Node:
        if operator in ("is", "as"):
            name, end = self._type_name()
            return TypeTest(operator, left, name, span=Span(left.span.start, end))
        right = self.expression(BINDING[operator])
        return Binary(operator, left, right, span=Span(left.span.start, right.span.end))

    def _type_name(self) -> tuple[str, int]:
        """A type as written, `FHIR.Patient` or `Patient`, and where it ends."""
        if self._next.kind not in ("name", "quoted_name"):
            raise self._error("a type name")
        token = self._take()
        name, end = token.text, token.span.end
        while self._at("."):
            self._take()
            if self._next.kind not in ("name", "quoted_name"):
                raise self._error("a type name")
            token = self._take()
            name, end = f"{name}.{token.text}", token.span.end
        return name, end

    def _signed(self) -> Node:
        signs = []
        while self._at("+", "-"):
            signs.append(self._take())
        # A sign binds looser than `.` and `[]` and tighter than every binary operator.
        operand = self._postfix(self._term())
        for sign in reversed(signs):
            operand = Sign(sign.text, operand, span=Span(sign.span.start, operand.span.end))
        return operand

    def _postfix(self, target: Node) -> Node:
        while True:
            if self._at("."):
                self._take()
                target = self._invocation(target)
            elif self._at("["):
                self._take()
                index = self.expression(0)
                end = self._expect("]").span.end
                target = Index(target, index, span=Span(target.span.start, end))
            else:
                return target

    def _invocation(self, target: Node | None) -> Node:
        token = self._next
        if token.kind == "special":
            return self._special()
        if token.kind not in ("name", "quoted_name"):
            raise self._error("an element or function name")
        self._take()
        start = target.span.start if target is not None else token.span.start
        if not self._at("("):
            return Member(target, token.text, span=Span(start, token.span.end))
        arguments, end = self._arguments()
        return Call(target, token.text, arguments, span=Span(start, end))

    def _arguments(self) -> tuple[tuple[Node, ...], int]:
        self._expect("(")
        arguments: list[Node] = []
        while not self._at(")"):
            if arguments:
                self._expect(",")
            arguments.append(self.expression(0))
        return tuple(arguments), self._take().span.end

    def _special(self) -> Node:
        token = self._take()
        if token.text == "$this":
            return This(span=token.span)
        if token.text in ("$index", "$total"):
            return Special(token.text[1:], span=token.span)
        self._position -= 1
        raise self._error("'$this', '$index' or '$total'")

    def _term(self) -> Node:
        token = self._next
        if token.kind == "name" and token.text in ("true", "false"):
            self._take()
            return Literal("boolean", token.text, span=token.span)
        if token.kind in ("name", "quoted_name"):
            if token.kind == "name" and token.text in BINDING.keys() - WORDS_AS_NAMES:
                raise self._error("a value")
            return self._invocation(None)
        if token.kind == "special":
            return self._special()
        if token.kind == "external":
            self._take()
            return External(token.text, span=token.span)
        if self._at("("):
            return self._parenthesised()
        if self._at("{"):
            start = self._take().span.start
            return EmptyLiteral(span=Span(start, self._expect("}").span.end))
        return self._literal()

    def _parenthesised(self) -> Node:
        self._expect("(")
        inner = self.expression(0)
        self._expect(")")
        return inner

    def _is_beyond(self, token: Token) -> bool:
        """Whether a number that was just taken is none of FHIRPath's integers."""
        is_negative = self._position > 1 and self._tokens[self._position - 2].text == "-"
        return Decimal(token.text) > INTEGER_MAX + is_negative

    def _literal(self) -> Node:
        token = self._next
        kinds: dict[str, LiteralKind] = {
            "string": "string", "date": "date", "dateTime": "dateTime", "time": "time",
        }  # fmt: skip
        if token.kind in kinds:
            self._take()
            return Literal(kinds[token.kind], token.text, span=token.span)
        if token.kind != "number":
            raise self._error("a value")
        self._take()
        unit = self._next
        if unit.kind == "string" or (unit.kind == "name" and unit.text in UNITS):
            self._take()
            span = Span(token.span.start, unit.span.end)
            measured: LiteralKind = "duration" if unit.kind == "name" else "quantity"
            return Literal(measured, token.text, unit.text, span=span)
        kind: LiteralKind = "decimal" if "." in token.text or self._is_beyond(token) else "integer"
        return Literal(kind, token.text, span=token.span)
