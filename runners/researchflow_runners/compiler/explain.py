"""Stages of the compiler for reading: each expression of a view as a tree.

`syntax_of` shows what the parser made, `typed_nodes_of` what the resolver made of that. Trees
follow the fields of the node classes, so a new operator is shown without a word here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, TypeAlias

from researchflow_runners.compiler.compile import plan_view
from researchflow_runners.compiler.definition import (
    SelectDefinition,
    ViewDefinition,
    parse_definition,
)
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.jsonpath import Variable
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.fhirpath import Node, parse

WORD = re.compile(r"[A-Za-z_][\w.]*")
#: JSON scalars and lists of them.
Fact: TypeAlias = str | bool | int | list[str] | list[int]
Facts: TypeAlias = dict[str, Fact]


@dataclass(frozen=True)
class Tree:
    """A node by its class name, what is known of it, and the nodes under it by role."""

    name: str
    facts: Facts
    children: Mapping[str, Tree]

    def lines(self, indent: str = "", role: str = "") -> Iterator[str]:
        """One line a node, children two columns further in."""
        shown = "".join(f" {name}={_text(fact)}" for name, fact in self.facts.items())
        yield f"{indent}{role}{self.name}{shown}"
        for name, child in self.children.items():
            yield from child.lines(indent + "  ", f"{name}: ")

    def as_dict(self) -> dict[str, Any]:
        """The tree as JSON; `children` is left out of a leaf."""
        below = {name: child.as_dict() for name, child in self.children.items()}
        return {"node": self.name, **self.facts, **({"children": below} if below else {})}


@dataclass(frozen=True)
class Explained:
    """One expression: its place in the ViewDefinition, its text and its tree."""

    place: str
    text: str
    tree: Tree

    def lines(self) -> list[str]:
        """The expression and its tree."""
        return [f"{self.place}: {self.text}", *self.tree.lines("  ")]

    def as_dict(self) -> dict[str, Any]:
        """The expression as JSON."""
        return {"place": self.place, "text": self.text, "tree": self.tree.as_dict()}


def syntax_of(definition: Mapping[str, Any]) -> list[Explained]:
    """The syntax tree of every expression; types are not looked at.

    Raises the errors of the definition's shape and FhirPathError `syntax`.
    """
    return [
        Explained(place, text, _tree(_parsed(place, text), _syntax_facts))
        for place, text in expressions_of(parse_definition(definition))
    ]


def typed_nodes_of(definition: Mapping[str, Any]) -> list[Explained]:
    """The typed node of every expression, as the SQL is made of them; errors as compile_view."""
    parsed = parse_definition(definition)
    resolved = plan_view(parsed).scope.resolved
    return [
        Explained(place, text, _tree(resolved[place], _typed_facts))
        for place, text in expressions_of(parsed)
    ]


def typed_tree(text: str, node: Expr) -> Explained:
    """The typed node of one expression by itself."""
    return Explained("expression", text, _tree(node, _typed_facts))


def syntax_tree(text: str) -> Explained:
    """The syntax tree of one expression by itself; FhirPathError `syntax`."""
    return Explained("expression", text, _tree(_parsed("expression", text), _syntax_facts))


def expressions_of(parsed: ViewDefinition) -> Iterator[tuple[str, str]]:
    """Place and text of every expression: the selects from top to bottom, then the conditions."""
    yield from _of_selects(parsed.select, "select")
    for number, where in enumerate(parsed.where):
        yield f"where[{number}].path", where.path


def _of_selects(selects: Sequence[SelectDefinition], path: str) -> Iterator[tuple[str, str]]:
    for number, select in enumerate(selects):
        place = f"{path}[{number}]"
        for key, directive in (
            ("forEach", select.forEach),
            ("forEachOrNull", select.forEachOrNull),
        ):
            if directive is not None:
                yield f"{place}.{key}", directive
        yield from ((f"{place}.repeat[{n}]", text) for n, text in enumerate(select.repeat))
        yield from ((f"{place}.column[{n}].path", one.path) for n, one in enumerate(select.column))
        yield from _of_selects(select.select, f"{place}.select")
        yield from _of_selects(select.unionAll, f"{place}.unionAll")


def _parsed(place: str, text: str) -> Node:
    try:
        return parse(text)
    except ResearchFlowError as error:
        error.field = error.field or place
        raise


def _syntax_facts(node: Any) -> Facts:
    return {"span": [node.span.start, node.span.end]}


def _typed_facts(node: Any) -> Facts:
    return {"types": list(node.types), "many": node.many, "form": node.form}


def _tree(node: Node | Expr, facts_of: Callable[[Any], Facts]) -> Tree:
    facts = facts_of(node)
    children: dict[str, Tree] = {}
    shown: dict[Node | Expr, str] = {}
    for field in fields(node):
        if not field.repr:
            continue
        value = getattr(node, field.name)
        for role, one in _roles(field.name, value):
            if not isinstance(one, Node | Expr):
                facts.update(_fact(field, role, one, facts))
            elif one in shown:
                facts[role] = f"as {shown[one]}"
            else:
                shown[one] = role
                children[role] = _tree(one, facts_of)
    return Tree(type(node).__name__, facts, children)


def _roles(name: str, value: Any) -> list[tuple[str, Any]]:
    """A field's value by role: a tuple of nodes has one role for each."""
    if isinstance(value, tuple) and any(isinstance(one, Node | Expr) for one in value):
        return [(f"{name}[{number}]", one) for number, one in enumerate(value)]
    return [(name, value)]


def _fact(field: Field[Any], role: str, value: Any, known: Facts) -> Facts:
    """What the value of a field says that is not known yet."""
    if field.name == "span" or value is None or value == ():
        return {}
    fact = _path(value) if "PathParts" in str(field.type) else _plain(value)
    return {} if isinstance(fact, list) and fact == known.get("types") else {role: fact}


def _path(parts: Sequence[str | Variable]) -> str:
    """A SQL/JSON path with its constants in place."""
    return "".join(part if isinstance(part, str) else part.json_text for part in parts)


def _plain(value: Any) -> Fact:
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [":".join(one) if isinstance(one, tuple) else str(one) for one in value]
    return type(value).__name__


def _text(fact: Fact) -> str:
    """A fact as one word, in quotes where it would not be one or would look like a number."""
    if isinstance(fact, list):
        return ",".join(map(str, fact)) or "none"
    if isinstance(fact, bool):
        return str(fact).lower()
    return str(fact) if isinstance(fact, int) or WORD.fullmatch(fact) else repr(fact)
