"""Syntax tree to text: fully parenthesised where precedence could be read two ways."""

from __future__ import annotations

import re

from researchflow_runners.fhirpath.ast import (
    Binary,
    Call,
    EmptyLiteral,
    External,
    Index,
    Literal,
    Member,
    Node,
    Sign,
    Special,
    This,
    TypeTest,
)
from researchflow_runners.fhirpath.parser import BINDING

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_expression(node: Node) -> str:
    """An expression that parses to the same tree."""
    match node:
        case Literal():
            return _literal(node)
        case EmptyLiteral():
            return "{}"
        case This():
            return "$this"
        case Special(name):
            return f"${name}"
        case External(name):
            return f"%{_name(name)}"
        case Member(target, name):
            return _after(target, _name(name))
        case Call(target, name, arguments):
            inside = ", ".join(print_expression(argument) for argument in arguments)
            return _after(target, f"{_name(name)}({inside})")
        case Index(target, index):
            return f"{_operand(target)}[{print_expression(index)}]"
        case Sign(operator, operand):
            return f"{operator}{_operand(operand)}"
        case Binary(operator, left, right):
            return f"{_operand(left)} {operator} {_operand(right)}"
        case TypeTest(operator, operand, type_name):
            return f"{_operand(operand)} {operator} {_type(type_name)}"


def _after(target: Node | None, invocation: str) -> str:
    return invocation if target is None else f"{_operand(target)}.{invocation}"


def _operand(node: Node) -> str:
    text = print_expression(node)
    return f"({text})" if isinstance(node, Binary | TypeTest | Sign) else text


def _literal(node: Literal) -> str:
    match node.kind:
        case "string":
            return _quoted(node.text)
        case "date" | "dateTime":
            return f"@{node.text}"
        case "time":
            return f"@T{node.text}"
        case "quantity":
            return f"{node.text} {_quoted(node.unit or '')}"
        case "duration":
            return f"{node.text} {node.unit}"
        case _:
            return node.text


def _quoted(text: str, quote: str = "'") -> str:
    escaped = "".join(_escaped(character, quote) for character in text)
    return f"{quote}{escaped}{quote}"


def _escaped(character: str, quote: str) -> str:
    if character in (quote, "\\"):
        return "\\" + character
    # An escape has four digits: what lies beyond is written as it is.
    plain = character.isprintable() or ord(character) > 0xFFFF
    return character if plain else f"\\u{ord(character):04x}"


def _name(name: str) -> str:
    reserved = name in BINDING or name in ("true", "false")
    return name if PLAIN_NAME.fullmatch(name) and not reserved else _quoted(name, "`")


def _type(name: str) -> str:
    return ".".join(_name(part) for part in name.split("."))
