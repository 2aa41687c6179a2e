"""Numbers with a unit that a SQL text puts together or compares without a word of the unit.

Told from the tree alone, as sql_equalities does: the columns that stand in an aggregate or in a
comparison, wherever that is. Rows of different codes are kept apart where the text does so: where
it groups by the code, chooses by it (FILTER, CASE) or reads the view several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.comparisons import Compared
from researchflow_runners.hybrid.sql_equalities import Fields, equalities, names_of, nodes, words
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.filters import filter_truth
from researchflow_runners.query.model import Compare, Scalar
from researchflow_runners.query.rows import FilterScope, Relations

AGGREGATES = frozenset(
    {
        "avg", "sum", "min", "max", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp",
        "var_pop", "percentile_cont", "percentile_disc", "mode", "corr", "covar_pop", "covar_samp",
        "regr_slope", "regr_intercept", "regr_r2", "width_bucket",
    }
)  # fmt: skip
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "=", "<>", "!="})
_COMPARING = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_IN"})
_BETWEEN = frozenset(
    {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"}
)
#: Where rows are kept apart by what stands there.
_APART = ("groupClause", "partitionClause", "agg_filter")


def measured(
    checked: CheckedSql, values: Mapping[str, Any], catalogue: Catalogue, relations: Relations
) -> list[Compared]:
    """Each column whose unit the text does not mention, with the rows that its constants ask of."""
    columns = (column for view in set(checked.labels.values()) for column in catalogue[view])
    if not any(column.unit for column in columns) or _shows_all(checked.tree):
        return []
    named = _named(checked.tree)
    asked = [
        (view, column) for view, column in _columns(checked, catalogue) if column.unit not in named
    ]
    return [
        Compared(
            view,
            column,
            own=(),
            beside=tuple(_beside(view, checked, values, catalogue, relations)),
            apart=_apart(view, checked, catalogue),
        )
        for view, column in dict.fromkeys(asked)
    ]


def _named(tree: Any) -> set[str]:
    """The last word of every column that the tree reads."""
    paths = (words(fields["fields"]) for kind, fields in nodes(tree) if kind == "ColumnRef")
    return {path[-1] for path in paths if path}


def _shows_all(tree: Fields) -> bool:
    """Whether every column, the unit's too, is a column of the answer."""
    targets = (target["ResTarget"]["val"] for target in tree.get("targetList", ()))
    return any("A_Star" in one for target in targets for one in _path(target))


def _path(node: Fields) -> list[Fields]:
    return list(node.get("ColumnRef", {}).get("fields", ()))


def _columns(checked: CheckedSql, catalogue: Catalogue) -> Iterator[tuple[str, Column]]:
    """The columns with a unit that are aggregated or compared, with their views."""
    names = names_of(checked)
    for kind, fields in nodes(checked.tree):
        for part in _measuring(kind, fields):
            for kind_below, reference in nodes(part):
                path = words(reference["fields"]) if kind_below == "ColumnRef" else []
                if path:
                    yield from _places(path, names, catalogue)


def _measuring(kind: str, fields: Fields) -> list[Any]:
    """The parts of a node of which the numbers are put together or compared."""
    if kind == "FuncCall" and words(fields["funcname"])[-1:][0] in AGGREGATES:
        return [fields.get("args", ()), fields.get("agg_order", ())]
    if kind == "MinMaxExpr":
        return [fields.get("args", ())]
    if kind != "A_Expr":
        return []
    compares = fields["kind"] in _COMPARING and words(fields["name"])[-1] in _COMPARISONS
    if compares or fields["kind"] in _BETWEEN:
        return [[fields.get("lexpr", {})], [fields.get("rexpr", {})]]
    return []


def _places(
    path: list[str], names: Mapping[str, str], catalogue: Catalogue
) -> Iterator[tuple[str, Column]]:
    """The views' columns that a reference may mean; by a name of the text's own, those of all."""
    own = names.get(path[0]) if len(path) > 1 else None
    for view in [own] if own else dict.fromkeys(names.values()):
        for column in catalogue[view]:
            if column.name == path[-1] and column.unit is not None:
                yield view, column


def _beside(
    view: str,
    checked: CheckedSql,
    values: Mapping[str, Any],
    catalogue: Catalogue,
    relations: Relations,
) -> Iterator[Compare]:
    """What the text asks columns of the view to equal, wherever it asks: any of it will do."""
    found: dict[str, dict[Scalar, None]] = {}
    for placed in equalities(checked, values, catalogue):
        if placed.view == view and isinstance(placed.node, Compare):
            assert isinstance(placed.node.value, list)
            found.setdefault(placed.node.column, {}).update(dict.fromkeys(placed.node.value))
    for name, constants in found.items():
        compare = Compare(column=name, op="in", value=list(constants))
        scope = FilterScope(catalogue, relations)
        try:
            filter_truth(compare, scope.rows(view, at="view"), scope, at="sql", depth=1)
        except QueryError:
            # No filter can ask it: the units of more rows are looked at.
            continue
        yield compare


def _apart(view: str, checked: CheckedSql, catalogue: Catalogue) -> tuple[str, ...]:
    """The columns of codes by which the text keeps rows of the view apart."""
    reads = Counter(
        checked.labels.get(fields["relname"])
        for kind, fields in nodes(checked.tree)
        if kind == "RangeVar"
    )
    apart = _named(checked.tree) if reads[view] > 1 else _dividing(checked.tree)
    coded = (column for column in catalogue[view] if column.name in apart)
    return tuple(column.name for column in coded if column.system or column.display_of)


def _dividing(tree: Any) -> set[str]:
    """The columns that stand where rows are kept apart, by their place in the answer too."""
    found: set[str] = set()
    for kind, fields in [("SelectStmt", tree), *nodes(tree)]:
        parts = [fields.get(clause, ()) for clause in _APART]
        if kind == "CaseExpr":
            parts.append(fields)
        grouped = fields.get("groupClause", ())
        if any("A_Const" in one for one in grouped):
            parts.append([target["ResTarget"]["val"] for target in fields["targetList"]
                          if "ColumnRef" in target["ResTarget"]["val"]])  # fmt: skip
        for part in parts:
            found |= _named(part if isinstance(part, list) else [part] if part else [])
    return found
