"""The syntax tree: one frozen class per construct, each with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as OneOf
from typing import TypeAlias

from researchflow_runners.errors import Span

LiteralKind = OneOf[
    "string", "integer", "decimal", "boolean", "date", "dateTime", "time", "quantity", "duration"
]
NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True)
class _Spanned:
    span: Span = field(default=NOWHERE, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Literal(_Spanned):
    """A constant; `text` is its value without quotes, `@` and escapes.

    `unit` is a quantity's UCUM code, or a duration's word such as `years`.
    """

    kind: LiteralKind
    text: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class EmptyLiteral(_Spanned):
    """`{}`"""


@dataclass(frozen=True, slots=True)
class This(_Spanned):
    """`$this`"""


@dataclass(frozen=True, slots=True)
class Special(_Spanned):
    """`$index` or `$total`"""

    name: str


@dataclass(frozen=True, slots=True)
class External(_Spanned):
    """`%name`"""

    name: str


@dataclass(frozen=True, slots=True)
class Member(_Spanned):
    """`target.name`; the focus when there is no target."""

    target: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call(_Spanned):
    """`target.name(arguments)`"""

    target: Node | None
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index(_Spanned):
    """`target[index]`"""

    target: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Sign(_Spanned):
    """`+operand` or `-operand`"""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(_Spanned):
    """`left operator right`"""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class TypeTest(_Spanned):
    """`operand is type` or `operand as type`; the type as written, dots included."""

    operator: str
    operand: Node
    type_name: str


Node: TypeAlias = (
    Literal
    | EmptyLiteral
    | This
    | Special
    | External
    | Member
    | Call
    | Index
    | Sign
    | Binary
    | TypeTest
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly under this one, left to right."""
    match node:
        case Member(target, _):
            return () if target is None else (target,)
        case Call(target, _, arguments):
            return arguments if target is None else (target, *arguments)
        case Index(target, index):
            return (target, index)
        case Sign(_, operand) | TypeTest(_, operand, _):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case _:
            return ()
