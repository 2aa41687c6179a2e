"""How long a text of users' SQL can make a value: each query may join what the one below joined.

PostgreSQL looks for a cancellation between rows, not within one: `s || s` on top of `s || s`,
thirty queries high, takes all memory and outlives its deadline in a single row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Columns that one value may be joined of; twelve queries that each double what they read.
GROWTH_MAX = 4_096
#: Functions and nodes whose result holds all their arguments.
_JOINING = frozenset(
    (
        *("array_append", "array_cat", "array_prepend", "concat", "concat_ws", "format"),
        *("json_build_array", "json_build_object", "jsonb_build_array", "jsonb_build_object"),
        *("jsonb_set", "overlay", "regexp_replace", "replace"),
    )
)
_JOINING_NODES = frozenset({"A_ArrayExpr", "RowExpr"})

Fields = Mapping[str, Any]


def growth(select: Fields, known: Mapping[str, int] | None = None, outer: int = 1) -> int:
    """How many columns of the declared views, at most, a value of the SELECT is joined of.

    `known` tells it of the WITH queries in scope, `outer` of the rows around a subquery.
    """
    known = dict(known or {})
    for wrapped in select.get("withClause", {}).get("ctes", ()):
        query = wrapped["CommonTableExpr"]
        known[query["ctename"]] = growth(query["ctequery"]["SelectStmt"], known, outer)
    if "larg" in select:
        return max(growth(select[side], known, outer) for side in ("larg", "rarg"))
    below = _read(select.get("fromClause", ()), known, outer)
    rest = {
        name: value for name, value in select.items() if name not in ("withClause", "fromClause")
    }
    inner = [growth(query, known, below) for query in _queries(rest)]
    return max(1, _joined(rest, inside=False)) * max(below, *inner, 1)


def _read(relations: Any, known: Mapping[str, int], outer: int) -> int:
    """The growth of what a FROM gives; only a lateral query sees what stands beside it."""
    found = outer
    for kind, fields in _parts(relations):
        if kind == "RangeVar":
            found = max(found, known.get(fields["relname"], 1))
        elif kind == "RangeSubselect":
            around = found if fields.get("lateral") else outer
            found = max(found, growth(fields["subquery"]["SelectStmt"], known, around))
        elif kind == "SubLink":
            queries = _queries(fields.get("subselect", {}))
            found = max(found, *(growth(query, known, found) for query in queries), 1)
    return found


def _queries(value: Any) -> list[Fields]:
    return [fields for kind, fields in _parts(value) if kind == "SelectStmt"]


def _joined(value: Any, *, inside: bool) -> int:
    """The most columns that an expression in here joins into one value."""
    if isinstance(value, list):
        counts = [_joined(one, inside=inside) for one in value]
    elif isinstance(value, Mapping):
        counts = [
            int(inside)
            if kind in ("ColumnRef", "SubLink")
            else 0
            if kind == "SelectStmt"
            else _joined(fields, inside=inside or _joins(kind, fields))
            for kind, fields in value.items()
        ]
    else:
        counts = []
    return sum(counts) if inside else max(counts, default=0)


def _joins(kind: str, fields: Any) -> bool:
    if kind == "A_Expr":
        return fields["kind"] == "AEXPR_OP" and _last(fields["name"]) == "||"
    if kind == "FuncCall":
        return _last(fields["funcname"]) in _JOINING
    return kind in _JOINING_NODES


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Every node in here, but nothing below a SELECT of its own."""
    if isinstance(value, list):
        for one in value:
            yield from _parts(one)
    elif isinstance(value, Mapping):
        for kind, fields in value.items():
            yield kind, fields
            if kind not in ("SelectStmt", "subquery"):
                yield from _parts(fields)


def _last(names: Any) -> str:
    return str(names[-1]["String"]["sval"])
