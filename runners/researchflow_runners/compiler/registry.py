"""The functions and binary operators of expressions; each operator module adds its own.

A function is one Python function from an `Invocation` to a node. It is found by its FHIRPath name
and the number of arguments is checked before it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Constant, Focus
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.types import known_type
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.fhirpath.ast import Member, Node
from researchflow_runners.naming import nearest


class Resolves(Protocol):
    """Turns syntax into nodes; the resolver, as the operators see it."""

    def __call__(self, node: Node, scope: Scope) -> Expr: ...


@dataclass(frozen=True)
class Invocation:
    """One call: `source.name(arguments)`."""

    name: str
    source: Expr
    arguments: tuple[Node, ...]
    scope: Scope
    span: Span
    resolve: Resolves

    def argument(self, position: int, *, on: Expr | None = None) -> Expr:
        """The argument as a node, its names relative to `on` or else to the caller's focus."""
        scope = self.scope if on is None else self.scope.on(on)
        return self.resolve(self.arguments[position], scope)

    def per_item(self, position: int, item: Focus) -> Expr:
        """The argument as a node for each item of the source."""
        return self.resolve(self.arguments[position], self.scope.each(item))

    def text_constant(self, position: int) -> Constant:
        """The argument, which must be a constant of a string type."""
        found = self.argument(position)
        if not isinstance(found, Constant) or found.kind != "string":
            raise self.refused(
                "needs a string constant here", hint="Pass a 'literal' or a %constant."
            )
        return found

    def type_argument(self, position: int) -> str:
        """The argument as the name of a type."""
        return type_specifier(written_type(self.arguments[position]), self.span)

    def refused(self, why: str, *, hint: str, code: str = "unsupported") -> FhirPathError:
        """An error that names the function and its place."""
        return FhirPathError(f"'{self.name}()' {why}", code=code, hint=hint, span=self.span)


Function: TypeAlias = Callable[[Invocation], Expr]
#: Takes its symbol, the operands and the place of the whole.
Operator: TypeAlias = Callable[[str, Expr, Expr, Span], Expr]


@dataclass(frozen=True)
class _Entry:
    function: Function
    arguments_min: int
    arguments_max: int


_FUNCTIONS: dict[str, _Entry] = {}
_OPERATORS: dict[str, Operator] = {}
#: Functions of FHIRPath that are known and refused, and what to do instead.
_REFUSED: dict[str, str] = {}


def function(name: str, *, arguments: int = 0, optional: int = 0) -> Callable[[Function], Function]:
    """Registers a function with its required and optional arguments."""

    def register(implementation: Function) -> Function:
        _FUNCTIONS[name] = _Entry(implementation, arguments, arguments + optional)
        return implementation

    return register


def refuse(name: str, hint: str) -> None:
    """Registers a function of FHIRPath that is refused, whatever its arguments."""
    _REFUSED[name] = hint


def binary(*symbols: str) -> Callable[[Operator], Operator]:
    """Registers a binary operator under its symbols, to which of them it is told."""

    def register(implementation: Operator) -> Operator:
        _OPERATORS.update(dict.fromkeys(symbols, implementation))
        return implementation

    return register


def binary_operator(symbol: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of `left symbol right`; the symbol is one that the parser knows.

    Raises FhirPathError as the family of the operator does for operands it cannot take.
    """
    return _OPERATORS[symbol](symbol, left, right, span)


def function_names() -> list[str]:
    """Every function there is, in alphabetical order."""
    return sorted(_FUNCTIONS)


def invoke(invocation: Invocation) -> Expr:
    """The node of a call.

    Raises FhirPathError `unknown_function`, `unsupported` or `wrong_arguments`.
    """
    if invocation.name in _REFUSED:
        raise invocation.refused("is not supported", hint=_REFUSED[invocation.name])
    entry = _FUNCTIONS.get(invocation.name)
    if entry is None:
        raise FhirPathError(
            f"unknown function '{invocation.name}()'",
            code="unknown_function",
            allowed=function_names(),
            did_you_mean=nearest(invocation.name, _FUNCTIONS),
            hint="Use one of the allowed functions; names are case-sensitive.",
            span=invocation.span,
        )
    given = len(invocation.arguments)
    if not entry.arguments_min <= given <= entry.arguments_max:
        wanted = str(entry.arguments_min)
        if entry.arguments_max != entry.arguments_min:
            wanted += f" to {entry.arguments_max}"
        raise invocation.refused(
            f"takes {wanted} arguments, not {given}",
            code="wrong_arguments",
            hint="Correct the number of arguments.",
        )
    return entry.function(invocation)


def written_type(node: Node) -> str | None:
    """The dotted name that a type argument was written as; None when it is no name."""
    if isinstance(node, Member):
        if node.target is None:
            return node.name
        prefix = written_type(node.target)
        return None if prefix is None else f"{prefix}.{node.name}"
    return None


def type_specifier(written: str | None, span: Span) -> str:
    """The type of that name; FhirPathError `unknown_type` when there is none."""
    found = known_type(written) if written else None
    if found is None:
        raise FhirPathError(
            f"unknown type '{written}'" if written else "expected the name of a type",
            code="unknown_type",
            hint="Name a FHIR R4 type such as Quantity, dateTime or Patient.",
            span=span,
        )
    return found
