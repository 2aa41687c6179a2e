"""What a SQL text asks columns of views to equal: the comparisons that may be mistaken in it.

Told from the tree alone: `column = constant`, IN a list and = ANY of a parameter, wherever they
stand. A column is taken for a view's by the name before its dot, or where one view alone has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.query.columns import Catalogue, kind_of
from researchflow_runners.query.model import Compare, Scalar
from researchflow_runners.query.walk import Placed

_KINDS = frozenset({"AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"})
#: Kinds of columns whose equality means the same in SQL and in a filter.
_ALIKE = frozenset({"text", "integer", "decimal"})

Fields = Mapping[str, Any]


def equalities(
    checked: CheckedSql, values: Mapping[str, Any], catalogue: Catalogue
) -> tuple[Placed, ...]:
    """A comparison for each; `values` are those of the text's parameters."""
    names = names_of(checked)
    found: list[Placed] = []
    for kind, fields in nodes(checked.tree):
        if kind != "A_Expr" or fields["kind"] not in _KINDS or words(fields["name"]) != ["="]:
            continue
        sides = (fields.get("lexpr", {}), fields.get("rexpr", {}))
        for column, other in (sides, sides[::-1]):
            place = _place(column, names, catalogue)
            constants = _constants(other, checked, values)
            if place is not None and constants:
                view, name = place
                found.append(Placed(view, Compare(column=name, op="in", value=constants)))
    return tuple(found)


def names_of(checked: CheckedSql) -> dict[str, str]:
    """The view behind each name that may stand before a dot."""
    found = dict(checked.labels)
    for kind, fields in nodes(checked.tree):
        if kind == "RangeVar" and fields["relname"] in checked.labels:
            alias = fields.get("alias", {}).get("aliasname", fields["relname"])
            found[alias] = checked.labels[fields["relname"]]
    return found


def _place(node: Fields, names: Mapping[str, str], catalogue: Catalogue) -> tuple[str, str] | None:
    """The view and column that a reference means; None where that is not plain."""
    path = words(node.get("ColumnRef", {}).get("fields", ()))
    if not path or len(path) > 2:
        return None
    qualified = [names.get(path[0])] if len(path) == 2 else list(dict.fromkeys(names.values()))
    found = [
        (view, column.name)
        for view in qualified
        if view is not None
        for column in catalogue[view]
        if column.name == path[-1] and kind_of(column) in _ALIKE
    ]
    return found[0] if len(found) == 1 else None


def _constants(node: Fields, checked: CheckedSql, values: Mapping[str, Any]) -> list[Scalar]:
    """The constants of one side; empty where it holds anything else."""
    ((kind, fields),) = node.items() if len(node) == 1 else ((None, {}),)
    if kind == "TypeCast":
        return _constants(fields["arg"], checked, values)
    if kind == "ParamRef":
        given = values[checked.syntax.parameters[checked.syntax.place(fields["location"])]]
        return list(given) if isinstance(given, list) else [given]
    if kind == "A_Const":
        return _constant(fields)
    if kind in ("List", "A_ArrayExpr"):
        parts = fields.get("items") or fields.get("elements", ())
        each = [_constants(part, checked, values) for part in parts]
        return [one for found in each for one in found] if all(each) else []
    return []


def _constant(fields: Fields) -> list[Scalar]:
    if "sval" in fields:
        return [fields["sval"].get("sval", "")]
    if "ival" in fields:
        return [fields["ival"].get("ival", 0)]
    return [fields["fval"]["fval"]] if "fval" in fields else []


def nodes(node: Any) -> Iterator[tuple[str, Fields]]:
    """Every node of a parse tree by its kind, the outer ones first."""
    if isinstance(node, list):
        for one in node:
            yield from nodes(one)
    elif isinstance(node, dict):
        for kind, fields in node.items():
            if isinstance(fields, dict):
                yield kind, fields
            yield from nodes(fields)


def words(parts: Any) -> list[str]:
    """The names of a dotted name; none where it ends in a star."""
    found = [node.get("String", {}).get("sval") for node in parts]
    return [] if None in found else found
