"""Which columns of a composed view are plain columns of a dependency, and so keep their meaning.

Follows names the way SQL does, through subqueries, WITH queries, joins and stars. What it cannot
follow has no origin; it never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import reduce
from typing import Any, TypeAlias

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql

Fields = Mapping[str, Any]

#: The parts of a column that two must share to be one.
_MEANING = ("pg_type", "collection", "system")

#: A column's name (None when PostgreSQL chooses it) and its origin (None when it is computed).
Output: TypeAlias = tuple[str | None, Column | None]
#: The columns of a relation; None when they cannot all be told.
Outputs: TypeAlias = Sequence[Output] | None
#: Relations by the name they are read as.
Known: TypeAlias = Mapping[str, Outputs]


@dataclass(frozen=True, slots=True)
class _Item:
    """One relation of a FROM; `merged` are the columns that USING makes one with another's."""

    alias: str
    outputs: Outputs
    merged: frozenset[str] = frozenset()


def origins(checked: CheckedSql, relations: Mapping[str, Sequence[Column]]) -> dict[str, Column]:
    """The dependency's column behind each output column that is one; `relations` by label."""
    known: dict[str, Outputs] = {
        name: [(column.name, column) for column in relations[label]]
        for name, label in checked.labels.items()
    }
    found = _select(checked.tree, known) or ()
    return {name: column for name, column in found if name is not None and column is not None}


def _select(select: Fields, known: Known) -> Outputs:
    known = _with(select, known)
    if "larg" in select:
        return _union(_select(select["larg"], known), _select(select["rarg"], known))
    if "valuesLists" in select:
        items = select["valuesLists"][0]["List"]["items"]
        return [(f"column{number + 1}", None) for number in range(len(items))]
    scope = [item for one in select.get("fromClause", ()) for item in _from(one, known)]
    outputs: list[Output] = []
    for target in select.get("targetList", ()):
        found = _target(target["ResTarget"], scope)
        if found is None:
            return None
        outputs.extend(found)
    return outputs


def _with(select: Fields, known: Known) -> Known:
    """What is known inside, with the WITH queries."""
    for wrapped in select.get("withClause", {}).get("ctes", ()):
        query = wrapped["CommonTableExpr"]
        outputs = _select(query["ctequery"]["SelectStmt"], known)
        known = {**known, query["ctename"]: _renamed(outputs, query.get("aliascolnames", ()))}
    return known


def _union(left: Outputs, right: Outputs) -> Outputs:
    """A column of a set operation keeps a meaning that both sides give it."""
    if left is None or right is None:
        return None
    return [
        (name, _joint(ours, theirs))
        for (name, ours), (_name, theirs) in zip(left, right, strict=False)
    ]


def _joint(one: Column | None, other: Column | None) -> Column | None:
    """What a value is that may come from either; None when they mean different things.

    Dates of several FHIR types are dateTimes together: each of them is written as one.
    """
    if one is None or other is None:
        return None
    if any(getattr(one, part) != getattr(other, part) for part in _MEANING):
        return None
    if one.fhir_type != other.fhir_type:
        if not (one.has_range and other.has_range):
            return None
        one = replace(one, fhir_type="dateTime")
    differing = {
        part.name: part.default
        for part in fields(Column)
        if part.default is not MISSING and getattr(one, part.name) != getattr(other, part.name)
    }
    if one.event is not None and other.event is not None:
        # The first date of a row that has a value, or that of a row from either side.
        differing["event"] = min(one.event, other.event)
    return replace(one, **differing)


def _from(wrapped: Fields, known: Known) -> list[_Item]:
    kind, fields = next(iter(wrapped.items()))
    alias = fields.get("alias", {})
    renamed = alias.get("colnames", ())
    if kind == "RangeVar":
        name = fields["relname"]
        return [_Item(alias.get("aliasname", name), _renamed(known.get(name), renamed))]
    if kind == "RangeSubselect":
        outputs = _select(fields["subquery"]["SelectStmt"], known)
        return [_Item(alias.get("aliasname", ""), _renamed(outputs, renamed))]
    if kind == "JoinExpr":
        return _join(fields, known)
    return [_Item(alias.get("aliasname", ""), None)]


def _join(fields: Fields, known: Known) -> list[_Item]:
    """The relations of a join; one that merges or renames columns cannot always be followed."""
    left, right = _from(fields["larg"], known), _from(fields["rarg"], known)
    if "alias" in fields or fields.get("isNatural"):
        return [_Item(fields.get("alias", {}).get("aliasname", ""), None)]
    using = frozenset(node["String"]["sval"] for node in fields.get("usingClause", ()))
    if not using:
        return left + right
    if fields["jointype"] not in ("JOIN_INNER", "JOIN_LEFT"):
        return [_Item("", None)]
    return left + [_Item(item.alias, item.outputs, item.merged | using) for item in right]


def _renamed(outputs: Outputs, names: Sequence[Fields]) -> Outputs:
    """The columns under the names of an alias's list, which may be shorter."""
    if outputs is None or not names:
        return outputs
    given = [node["String"]["sval"] for node in names]
    return [
        (given[number] if number < len(given) else name, column)
        for number, (name, column) in enumerate(outputs)
    ]


def _target(target: Fields, scope: Sequence[_Item]) -> Outputs:
    kind, value = next(iter(target["val"].items()))
    if kind == "CoalesceExpr":
        return [(target.get("name"), _coalesced(value["args"], scope))]
    if kind != "ColumnRef":
        return [(target.get("name"), None)]
    last = value["fields"][-1]
    alias = value["fields"][0]["String"]["sval"] if len(value["fields"]) > 1 else None
    if "A_Star" in last:
        return _star(alias, scope)
    name = last["String"]["sval"]
    return [(target.get("name", name), _found(alias, name, scope))]


def _coalesced(args: Sequence[Fields], scope: Sequence[_Item]) -> Column | None:
    """What the first of several columns that has a value is, where they mean the same."""
    columns = []
    for arg in args:
        found = _target({"val": arg}, scope) if "ColumnRef" in arg else None
        columns.append(found[0][1] if found else None)
    return reduce(_joint, columns)


def _star(alias: str | None, scope: Sequence[_Item]) -> Outputs:
    outputs: list[Output] = []
    for item in scope:
        if alias is not None and item.alias != alias:
            continue
        if item.outputs is None:
            return None
        hidden = item.merged if alias is None else ()
        outputs.extend(one for one in item.outputs if one[0] not in hidden)
    return outputs


def _found(alias: str | None, name: str, scope: Sequence[_Item]) -> Column | None:
    """The one column that the name means here, if its origin is known."""
    found = [
        column
        for item in scope
        if alias in (None, item.alias) and (alias is not None or name not in item.merged)
        for other, column in item.outputs or ()
        if other == name
    ]
    return found[0] if len(found) == 1 else None
