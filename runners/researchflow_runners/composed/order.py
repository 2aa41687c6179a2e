"""The order of a text's rows: what it leaves open is settled by the columns it shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql, Edit

#: Words that may follow the sort keys of a SELECT.
_AFTER_ORDER = frozenset({"LIMIT", "OFFSET", "FETCH", "FOR"})
_WITH_TIES = "LIMIT_OPTION_WITH_TIES"
_OPENING, _CLOSING, _SEMICOLON = "ASCII_40", "ASCII_41", "ASCII_59"


def ordered(checked: CheckedSql, columns: Sequence[Column]) -> CheckedSql:
    """The text with every column of its result as a further sort key; as it is without an order.

    Rows that are then still equal look the same, so that a LIMIT keeps the same rows each time.
    With WITH TIES it stays as it is too: more keys would untie what is to be kept.
    """
    if "sortClause" not in checked.tree or checked.tree.get("limitOption") == _WITH_TIES:
        return checked
    places = [str(n) for n, column in enumerate(columns, start=1) if column.pg_type != "jsonb"]
    if not places:
        return checked
    end = _end_of_order(checked)
    edit = Edit(end, end, f", {', '.join(places)} ")
    return replace(checked, edits=tuple(sorted((*checked.edits, edit), key=lambda one: one.start)))


def _end_of_order(checked: CheckedSql) -> int:
    """Where the sort keys of the outermost SELECT end."""
    depth, ordered_since, end = 0, False, len(checked.syntax.masked)
    for token in checked.syntax.tokens:
        depth += (token.kind == _OPENING) - (token.kind == _CLOSING)
        if depth:
            continue
        if token.kind == "ORDER":
            ordered_since = True
        elif token.kind == _SEMICOLON or (ordered_since and token.kind in _AFTER_ORDER):
            return token.start
    return end


def tie_warnings(checked: CheckedSql, keys: Collection[str]) -> tuple[str, ...]:
    """What to know where a part of the rows is kept and nothing tells equal ones apart.

    `keys` are the names of columns of which each row, or each resource, has its own value.
    """
    named = {_cut(select) for select in _selects(checked.tree) if _has_open_ties(select, keys)}
    return tuple(
        f"{word} may keep some of several rows that are equal in its ORDER BY: add a unique "
        "column, such as id, to say which"
        for word in sorted(word for word in named if word)
    )


def _cut(select: Mapping[str, Any]) -> str | None:
    """The word by which the SELECT keeps a part of its rows."""
    if any(select.get("distinctClause", ())):
        return "DISTINCT ON"
    return "LIMIT" if "limitCount" in select else None


def _has_open_ties(select: Mapping[str, Any], keys: Collection[str]) -> bool:
    """Whether no key stands among the sort keys; groups are told apart by their own columns."""
    return "groupClause" not in select and not any(
        name in keys for name in _columns(select.get("sortClause", []))
    )


def _columns(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _columns(one)
    elif isinstance(node, dict):
        if "ColumnRef" in node:
            yield node["ColumnRef"]["fields"][-1].get("String", {}).get("sval", "")
        for one in node.values():
            yield from _columns(one)


def _selects(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every SELECT of the tree that keeps a part of its rows in an order."""
    if isinstance(node, list):
        for one in node:
            yield from _selects(one)
    elif isinstance(node, dict):
        if "sortClause" in node:
            yield node
        for one in node.values():
            yield from _selects(one)
