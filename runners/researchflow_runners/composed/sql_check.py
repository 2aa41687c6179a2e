"""Whether a SQL text may stand as a composed view: one SELECT over the declared views, no more.

Works on PostgreSQL's own parse tree, by allow-lists (grammar.py, vocabulary.py). A relation is a
declared label or a WITH query in scope, so nothing else of the database can be named; a function
is one of the vocabulary's and is written out as pg_catalog's, so no other can take its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from researchflow_runners.composed.casts import clock_probe, guarded
from researchflow_runners.composed.checked import CheckedSql, Edit
from researchflow_runners.composed.grammar import NODE, NODES, VALUE
from researchflow_runners.composed.growth import GROWTH_MAX, growth
from researchflow_runners.composed.names import Names
from researchflow_runners.composed.refusal import Refusals
from researchflow_runners.composed.syntax import Syntax, read_sql, too_large
from researchflow_runners.composed.words import WordCheck

NODES_MAX = 5_000
DEPTH_MAX = 120

#: Names of the WITH queries that a node may read.
Visible = frozenset[str]
Fields = Mapping[str, Any]


def check_sql(
    text: str,
    *,
    relations: Mapping[str, Collection[str]],
    parameters: Mapping[str, str] | None = None,
    field: str = "sql",
) -> CheckedSql:
    """The text, checked; `relations` gives the public columns behind each label.

    `parameters` gives the PostgreSQL type of each declared parameter. Raises ViewDefinitionError
    with `field` and the `span` in the text: `sql_syntax`, `sql_too_large`, `sql_statement`,
    `sql_construct`, `sql_function`, `sql_type`, `sql_operator`, `sql_clock`, `sql_unordered`,
    `unknown_relation`, `unknown_column` or `unknown_parameter`.
    """
    declared = dict(parameters or {})
    syntax = read_sql(text, parameters=declared, field=field)
    refusals = Refusals(syntax, field)
    kind, tree = _only_statement(syntax, refusals)
    walk = _Walk(syntax, refusals, Names(relations, refusals))
    walk.visit(kind, tree, frozenset(), 1)
    walk.names.check_columns()
    if growth(tree) > GROWTH_MAX:
        raise too_large(f"{GROWTH_MAX} columns joined into one value", field)
    return CheckedSql(
        syntax=syntax,
        tree=tree,
        labels=walk.names.labels,
        columns_read=walk.names.columns_read(),
        parameter_types=declared,
        edits=tuple(dict.fromkeys(walk.edits)),
        probes=tuple(dict.fromkeys(walk.probes)),
    )


def _only_statement(syntax: Syntax, refusals: Refusals) -> tuple[str, Fields]:
    if len(syntax.statements) != 1:
        raise refusals.statements()
    kind, tree = next(iter(syntax.statements[0].items()))
    if kind != "SelectStmt":
        raise refusals.construct(kind, 0)
    return kind, tree


@dataclass(slots=True)
class _Walk:
    """One pass over a tree: refuses, and collects names and what to write differently."""

    syntax: Syntax
    refusals: Refusals
    names: Names
    words: WordCheck
    edits: list[Edit]
    probes: list[Edit]
    nodes: int

    def __init__(self, syntax: Syntax, refusals: Refusals, names: Names) -> None:
        self.syntax = syntax
        self.refusals = refusals
        self.names = names
        self.words = WordCheck(refusals)
        self.edits = []
        self.probes = []
        self.nodes = 0

    def visit(self, kind: str, fields: Fields, visible: Visible, depth: int) -> None:
        """Checks a node and all below it."""
        self._enter(kind, fields, depth)
        outside = self.words
        if kind == "SelectStmt":
            visible = self._with(fields, visible, depth)
            self.words = self.words.within(fields)
        elif kind == "RangeVar":
            self.names.relation(fields, visible)
        elif kind == "FuncCall":
            self._function(fields)
        elif kind == "TypeCast":
            self.edits.extend(guarded(fields, self.syntax, self.refusals))
        elif kind == "A_Const":
            self.probes.extend(clock_probe(fields, self.syntax))
        self.names.note(kind, fields)
        self.words.check(kind, fields)
        for name, value in fields.items():
            if name != "withClause":
                for child_kind, child in _children(kind, name, value):
                    self.visit(child_kind, child, visible, depth + 1)
        self.words = outside
        self._refuse_other(kind, fields)

    def _enter(self, kind: str, fields: Fields, depth: int) -> None:
        self.nodes += 1
        if self.nodes > NODES_MAX or depth > DEPTH_MAX:
            most = f"{NODES_MAX} parts" if depth <= DEPTH_MAX else f"{DEPTH_MAX} levels"
            raise too_large(most, self.refusals.field)
        if kind == "SQLValueFunction":
            raise self.words.session_value(fields)
        if NODES.get(kind) is None:
            raise self.refusals.construct(kind, fields.get("location"))

    def _refuse_other(self, kind: str, fields: Fields) -> None:
        """Refuses a part of the node that is not listed; after its other parts, which may name
        what matters more."""
        for name in fields:
            if name not in NODES[kind]:
                raise self.refusals.construct(f"{kind}.{name}", fields.get("location"))

    def _with(self, fields: Fields, visible: Visible, depth: int) -> Visible:
        """The relations in scope: each WITH query sees those before it, the body sees all."""
        clause = fields.get("withClause")
        if clause is None:
            return visible
        self._enter("WithClause", clause, depth)
        self._refuse_other("WithClause", clause)
        for wrapped in clause["ctes"]:
            query = wrapped["CommonTableExpr"]
            self.visit("CommonTableExpr", query, visible, depth + 1)
            visible |= {query["ctename"]}
        return visible

    def _function(self, fields: Fields) -> None:
        """Names the schema of a function that is written without one."""
        self.words.function(fields)
        if len(fields["funcname"]) == 1 and fields["funcformat"] == "COERCE_EXPLICIT_CALL":
            start = self.syntax.place(fields["location"])
            self.edits.append(Edit(start, start, "pg_catalog."))


def _children(kind: str, name: str, value: Any) -> Iterator[tuple[str, Fields]]:
    """The nodes in one field; a missing one in a list is an empty object."""
    wanted = NODES[kind].get(name, VALUE)
    if wanted == VALUE:
        return
    for one in value if isinstance(value, list) else (value,):
        if wanted != NODE:
            yield wanted, one
        elif one:
            yield next(iter(one.items()))
