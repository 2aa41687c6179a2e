"""One FHIRPath expression over one focus: a list of items in, a list of items out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from oracle import quantities
from oracle.functions import FUNCTIONS
from oracle.item import Item, as_boolean, child, single
from oracle.operators import operate
from oracle.parse import OracleError, Tree
from oracle.terminology import member_of
from researchflow_runners.fhir import model

CODE_SYSTEMS = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}


@dataclass(frozen=True)
class Scope:
    """What an expression sees besides its focus."""

    constants: dict[str, Item]
    row_index: int
    resource: Item
    contained: tuple[dict[str, Any], ...] = ()


def evaluate(tree: Tree, focus: list[Item], scope: Scope) -> list[Item]:
    """The items that the tree gives for the focus."""
    kind = tree[0]
    if kind == "this":
        return focus
    if kind == "empty":
        return []
    if kind == "literal":
        return [Item(tree[1], tree[2])]
    if kind == "quantity":
        return [quantities.literal(tree[1], tree[2], word=tree[3])]
    if kind == "external":
        return external(tree[1], scope)
    if kind == "member":
        target = focus if tree[1] is None else evaluate(tree[1], focus, scope)
        if tree[1] is None and target and all(item.type == tree[2] for item in target):
            return target
        return [found for item in target for found in child(item, tree[2])]
    if kind == "index":
        return index(evaluate(tree[1], focus, scope), evaluate(tree[2], focus, scope))
    if kind == "sign":
        operand = single(evaluate(tree[2], focus, scope))
        if operand is None:
            return []
        return [negated(operand) if tree[1] == "-" else operand]
    if kind == "operator":
        left, right = evaluate(tree[2], focus, scope), evaluate(tree[3], focus, scope)
        return operate(tree[1], left, right)
    return call(tree, focus, scope)


def negated(item: Item) -> Item:
    if quantities.is_quantity(item):
        return replace(item, value={**item.value, "value": -item.value["value"]})
    return replace(item, value=-item.value)


def external(name: str, scope: Scope) -> list[Item]:
    if name == "rowIndex":
        return [Item(scope.row_index, "integer")]
    if name in ("resource", "context", "rootResource"):
        return [scope.resource]
    if name in scope.constants:
        return [scope.constants[name]]
    if name not in CODE_SYSTEMS:
        raise OracleError(f"undefined constant {name!r}")
    return [Item(CODE_SYSTEMS[name], "uri")]


def index(items: list[Item], positions: list[Item]) -> list[Item]:
    position = single(positions)
    if position is None or not 0 <= position.value < len(items):
        return []
    return [items[position.value]]


def call(tree: Tree, focus: list[Item], scope: Scope) -> list[Item]:
    _call, target_tree, name, arguments = tree
    target = focus if target_tree is None else evaluate(target_tree, focus, scope)
    if name in LAZY:
        return LAZY[name](target, arguments, scope, focus)
    if name not in FUNCTIONS:
        raise OracleError(f"unknown function {name!r}")
    values = [evaluate(argument, focus, scope) for argument in arguments]
    return FUNCTIONS[name](target, *values)


def holds(criterion: Tree, item: Item, scope: Scope) -> bool | None:
    return as_boolean(evaluate(criterion, [item], scope))


def where(target: list[Item], arguments: list[Tree], scope: Scope, _f: Any) -> list[Item]:
    return [item for item in target if holds(arguments[0], item, scope) is True]


def exists(target: list[Item], arguments: list[Tree], scope: Scope, _f: Any) -> list[Item]:
    kept = where(target, arguments, scope, _f) if arguments else target
    return [Item(bool(kept), "boolean")]


def select(target: list[Item], arguments: list[Tree], scope: Scope, _f: Any) -> list[Item]:
    return [found for item in target for found in evaluate(arguments[0], [item], scope)]


def every(target: list[Item], arguments: list[Tree], scope: Scope, _f: Any) -> list[Item]:
    return [Item(all(holds(arguments[0], item, scope) is True for item in target), "boolean")]


def iif(target: list[Item], arguments: list[Tree], scope: Scope, focus: list[Item]) -> list[Item]:
    criterion = as_boolean(evaluate(arguments[0], target, scope))
    if criterion is True:
        return evaluate(arguments[1], target, scope)
    return evaluate(arguments[2], target, scope) if len(arguments) > 2 else []


def type_argument(arguments: list[Tree]) -> str:
    if len(arguments) != 1:
        raise OracleError("expected one type name")
    return dotted(arguments[0])


def dotted(tree: Tree) -> str:
    if tree[0] != "member":
        raise OracleError("expected the name of a type")
    return str(tree[2]) if tree[1] is None else f"{dotted(tree[1])}.{tree[2]}"


def has_type(item: Item, written: str, *, exactly: bool) -> bool:
    """Whether an item is of a type, or with `exactly` of that very primitive type."""
    space, _, name = written.rpartition(".")
    if not space:
        space = "FHIR" if model().is_type(name) else "System"
    if space == "System":
        return not item.is_element and item.type == name[0].lower() + name[1:]
    if not item.is_element:
        return False
    if exactly and model().is_primitive(item.type):
        return item.type == name
    return model().is_subtype(item.type, name)


def of_type(target: list[Item], arguments: list[Tree], _s: Any, _f: Any) -> list[Item]:
    name = type_argument(arguments)
    return [item for item in target if has_type(item, name, exactly=True)]


def as_type(target: list[Item], arguments: list[Tree], _s: Any, _f: Any) -> list[Item]:
    single(target)
    return of_type(target, arguments, _s, _f)


def is_type(target: list[Item], arguments: list[Tree], _s: Any, _f: Any) -> list[Item]:
    single(target)
    name = type_argument(arguments)
    return [Item(has_type(item, name, exactly=False), "boolean") for item in target]


def reference_key(target: list[Item], arguments: list[Tree], _s: Any, _f: Any) -> list[Item]:
    """The id in a relative reference; versions are cut, anything else gives nothing."""
    wanted = type_argument(arguments) if arguments else None
    keys: list[Item] = []
    for item in target:
        text = item.value.get("reference") if isinstance(item.value, dict) else None
        match = re.fullmatch(r"([A-Z]\w*)/([A-Za-z0-9.\-]{1,64})(/_history/[^/]+)?", text or "")
        if match and wanted in (None, match[1]):
            keys.append(Item(match[2], "string"))
    return keys


def resource_key(target: list[Item], _a: Any, _s: Any, _f: Any) -> list[Item]:
    return [Item(found.value, "string") for item in target for found in child(item, "id")]


def in_value_set(target: list[Item], arguments: list[Tree], scope: Scope, _f: Any) -> list[Item]:
    name = single(evaluate(arguments[0], target, scope))
    if name is None:
        raise OracleError("memberOf needs the name of a value set")
    found = member_of(target, name.value, list(scope.contained))
    return [] if found is None else [Item(found, "boolean")]


LAZY = {
    "where": where,
    "exists": exists,
    "select": select,
    "all": every,
    "iif": iif,
    "ofType": of_type,
    "as": as_type,
    "is": is_type,
    "getReferenceKey": reference_key,
    "getResourceKey": resource_key,
    "memberOf": in_value_set,
}
