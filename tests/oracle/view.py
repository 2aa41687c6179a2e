"""The rows of a ViewDefinition over a list of resources, by the text of the standard."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from oracle.evaluate import Scope, evaluate
from oracle.item import Item, as_boolean
from oracle.parse import OracleError, parse

Json = Mapping[str, Any]
Row = dict[str, Any]
#: A row whose values may not be computed yet, see rows().
Pending = dict[str, Callable[[], Any]]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
ITERATIONS = ("forEach", "forEachOrNull", "repeat")


@dataclass(frozen=True)
class Focus:
    """The current node and what its expressions see besides; `eager` as rows()."""

    item: Item
    scope: Scope
    eager: bool


def rows(view: Json, resources: Iterable[Json], *, eager: bool = False) -> list[Row]:
    """Every row, resource by resource; OracleError when the view is wrong.

    A column of a row that another part of the select removes is evaluated with `eager` only: the
    standard does not say whether an error there is one of the view.
    """
    check(view)
    constants = dict(map(constant, view.get("constant", ())))
    conditions = [parse(condition["path"]) for condition in view.get("where", ())]
    found: list[Row] = []
    for resource in resources:
        if resource.get("resourceType") != view["resource"]:
            continue
        item = Item(resource, view["resource"], is_element=True)
        scope = Scope(constants, 0, item, tuple(view.get("contained", ())))
        if all(as_boolean(evaluate(tree, [item], scope)) is True for tree in conditions):
            pending = product([part(one, Focus(item, scope, eager)) for one in view["select"]])
            found += [{name: value() for name, value in row.items()} for row in pending]
    return found


def check(view: Json) -> None:
    if not view.get("resource") or not view.get("select"):
        raise OracleError("a view needs a resource and a select")
    names = [name for select in view["select"] for name in columns(select)]
    if len(names) != len(set(names)):
        raise OracleError("a column name occurs twice")
    if not all(NAME.fullmatch(name) for name in names):
        raise OracleError("a column name is not a sql-name")


def columns(select: Json) -> list[str]:
    """Column names in order; also checks everything that needs no data."""
    if sum(key in select for key in ITERATIONS) > 1:
        raise OracleError("two iterations in one select")
    for path in paths(select):
        parse(path)
    names = [column["name"] for column in select.get("column", ())]
    for column in select.get("column", ()):
        parse(column["path"])
    for nested in select.get("select", ()):
        names += columns(nested)
    branches = [columns(branch) for branch in select.get("unionAll", ())]
    if any(branch != branches[0] for branch in branches):
        raise OracleError("the branches of a unionAll differ")
    return names + (branches[0] if branches else [])


def paths(select: Json) -> list[Any]:
    directive = next((key for key in ITERATIONS if key in select), None)
    if directive is None:
        return []
    return list(select["repeat"]) if directive == "repeat" else [select[directive]]


def constant(definition: Json) -> tuple[str, Item]:
    values = [key for key in definition if key.startswith("value")]
    if len(values) != 1:
        raise OracleError(f"constant {definition.get('name')!r} needs exactly one value")
    type_name = values[0].removeprefix("value")
    name = type_name[0].lower() + type_name[1:]
    return definition["name"], Item(definition[values[0]], name, is_element=True)


def part(select: Json, focus: Focus) -> list[Pending]:
    """The rows of one select: for each focus node, columns x nested selects x union."""
    found: list[Pending] = []
    reached = list(nodes(select, focus))
    for node in reached:
        columns = select.get("column", ())
        factors = [[{column["name"]: value_of(column, node) for column in columns}]]
        factors += [part(nested, node) for nested in select.get("select", ())]
        if select.get("unionAll"):
            factors.append([row for branch in select["unionAll"] for row in part(branch, node)])
        found += product(factors)
    if focus.eager and not reached:
        evaluate_without_node(select, focus.scope)
    return [null_row(select)] if not reached and "forEachOrNull" in select else found


def evaluate_without_node(select: Json, scope: Scope) -> None:
    """The columns of the subtree that depend on no node, for the errors they may raise."""
    for column in select.get("column", ()):
        value_in(column, evaluate(parse(column["path"]), [], scope))
    for nested in [*select.get("select", ()), *select.get("unionAll", ())]:
        evaluate_without_node(nested, scope)


def null_row(select: Json) -> Pending:
    """Null in every column of the whole subtree, once; row indexes are 0."""
    row: Pending = {
        column["name"]: partial(int) if column["path"] == "%rowIndex" else nothing
        for column in select.get("column", ())
    }
    for nested in [*select.get("select", ()), *select.get("unionAll", ())[:1]]:
        row |= null_row(nested)
    return row


def nothing() -> None:
    """The value of a column on the null row."""


def product(factors: list[list[Pending]]) -> list[Pending]:
    return [
        {name: value for row in chosen for name, value in row.items()}
        for chosen in itertools.product(*factors)
    ]


def nodes(select: Json, focus: Focus) -> Iterator[Focus]:
    """The nodes that a select iterates over, with their row indexes."""
    if not paths(select):
        yield focus
        return
    trees = [parse(path) for path in paths(select)]
    if "repeat" in select:
        found = list(walk(trees, focus.item, focus.scope))
    else:
        found = evaluate(trees[0], [focus.item], focus.scope)
    for number, item in enumerate(found):
        yield Focus(item, replace(focus.scope, row_index=number), focus.eager)


def walk(trees: list[Any], item: Item, scope: Scope) -> Iterator[Item]:
    for tree in trees:
        for found in evaluate(tree, [item], scope):
            yield found
            yield from walk(trees, found, scope)


def value_of(column: Json, focus: Focus) -> Callable[[], Any]:
    if not focus.eager:
        return partial(cell, column, focus)
    value = cell(column, focus)
    return lambda: value


def cell(column: Json, focus: Focus) -> Any:
    return value_in(column, evaluate(parse(column["path"]), [focus.item], focus.scope))


def value_in(column: Json, items: list[Item]) -> Any:
    values = [item.value for item in items]
    if column.get("collection"):
        return values
    if len(values) > 1:
        raise OracleError(f"column {column['name']!r} has several values")
    return values[0] if values else None
