"""The compiler's one door: a ViewDefinition becomes a CompiledView, or is refused.

definition.py  JSON → elements          resolver.py  syntax → typed nodes (expr.py, operators/)
rows.py        selects → FROM items     this file    the whole statement
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from researchflow_runners.compiler.body import Body, outputs
from researchflow_runners.compiler.casts import cast, needs_cast
from researchflow_runners.compiler.column import RELATION_TAGS, ROW_ROOM_BYTES, Column
from researchflow_runners.compiler.constants import parse_constants
from researchflow_runners.compiler.definition import ViewDefinition, parse_definition
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.marks import check_known_rows
from researchflow_runners.compiler.nodes import Resource, RowIndex
from researchflow_runners.compiler.operators.clock import reads_clock
from researchflow_runners.compiler.operators.logic import rarer, require_boolean
from researchflow_runners.compiler.periods import high, low
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.rows import plan_selects
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.value_sets import parse_value_sets
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ResearchFlowError, ViewDefinitionError
from researchflow_runners.fhir import model
from researchflow_runners.naming import nearest
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join, param

UNNAMED = "unnamed_view"
#: Part of every digest: raise it when the meaning of compiled SQL changes with its text the same.
COMPILER_VERSION = "2"

ROWS = "SELECT d.res_id AS _res_id, d.id AS _id, {} FROM {}"
#: Every resource, parsed once: OFFSET 0 keeps PostgreSQL from parsing anew for each column.
DOCUMENTS = "(SELECT s.res_id, s.id, s.meta, s.text::jsonb AS v FROM "
DOCUMENTS_END = " AS s{} OFFSET 0) AS d"
#: What several columns read is added to the documents. As lateral items PostgreSQL would remember
#: its results by the documents that they come from.
STAGE = "(SELECT d.*, {} FROM {}"
STAGE_END = "{} OFFSET 0) AS d"
#: A resource that can meet the view's conditions. To look for a text costs far less than to parse;
#: strings of JSON without a backslash stand there as they are, all others are candidates. To look
#: for several texts, of which most resources have one, costs more than it saves. (strpos() would
#: count the characters before the text.)
CANDIDATE = r"(split_part(s.text, {}, 1) <> s.text OR strpos(s.text, E'\\') > 0)"


def compile_view(definition: Mapping[str, Any]) -> CompiledView:
    """The view as SQL.

    Raises ViewDefinitionError for a definition that breaks the standard (`field` is the path into
    its JSON) and FhirPathError for an expression that cannot be compiled (`field` and `span`).
    """
    parsed = parse_definition(definition)
    plan = plan_view(parsed)
    body, columns = plan.body, plan.columns
    before, after = _statement(body, plan.scope, plan.conditions, columns)
    return CompiledView(
        name=parsed.name or UNNAMED,
        resource=parsed.resource,
        digest=_digest(definition, before, after),
        definition=dict(definition),
        columns=tuple(columns),
        before_source=before,
        after_source=after,
        fans_out=bool(body.several),
        reads_meta="d.meta" in after.render()[0] or "d.meta" in before.render()[0],
        volatile=reads_clock(before) or reads_clock(after),
    )


@dataclass(frozen=True)
class Plan:
    """What the SQL of a view is made of."""

    scope: Scope
    body: Body
    columns: list[Column]
    conditions: list[Expr]


def plan_view(parsed: ViewDefinition) -> Plan:
    """Every expression resolved and every select placed; errors as compile_view."""
    scope = root_scope(parsed)
    body = Body()
    plan_selects(parsed.select, scope, body)
    columns = [one.column for one in body.cells]
    _check_unique(columns)
    _check_relations(columns)
    check_known_rows(columns, fans_out=bool(body.several))
    _check_room(columns)
    return Plan(scope, body, columns, _conditions(parsed, scope))


def root_scope(parsed: ViewDefinition) -> Scope:
    """What names mean at the root of a view; errors as compile_view."""
    _check_resource(parsed.resource)
    resource = Resource("d", (parsed.resource,))
    return Scope(
        this=resource,
        resource=resource,
        row_index=RowIndex(None),
        constants=parse_constants(parsed.constant),
        value_sets=parse_value_sets(parsed.contained),
    )


def _check_resource(name: str) -> None:
    if model().is_resource(name) and not model().is_abstract(name):
        return
    raise ViewDefinitionError(
        f"unknown resource type '{name}'",
        code="unknown_resource_type",
        field="resource",
        did_you_mean=nearest(name, model().resource_names()),
        hint="Name a concrete FHIR R4 resource type.",
    )


def _check_unique(columns: Sequence[Column]) -> None:
    """Names are unique over the whole view, those of the stored companions included."""
    stored = Counter(name for column in columns for name, _type in column.physical)
    repeated = [name for name, count in stored.items() if count > 1]
    if repeated:
        raise ViewDefinitionError(
            f"the column '{repeated[0]}' occurs more than once",
            code="duplicate_column",
            field="select",
            hint="Give every column of the view its own name.",
        )


def _check_relations(columns: Sequence[Column]) -> None:
    """A tag that relates one column to another names a column of the view."""
    names = {column.name for column in columns}
    for column in columns:
        for tag, field in RELATION_TAGS.items():
            other = getattr(column, field)
            if other is None or other in names:
                continue
            raise ViewDefinitionError(
                f"the tag '{tag}' of column '{column.name}' names no column of the view",
                code="unknown_column",
                field="select",
                did_you_mean=nearest(other, names),
                hint="Name a column of this view, or leave the tag out.",
            )


def _check_room(columns: Sequence[Column]) -> None:
    """A row of the view can be stored whatever its values are."""
    needed_bytes = sum(column.room_bytes for column in columns)
    if needed_bytes > ROW_ROOM_BYTES:
        raise ViewDefinitionError(
            f"the {len(columns)} columns may need {needed_bytes:,} bytes of a row, which has "
            f"{ROW_ROOM_BYTES:,}: a date needs 40, any other column 24",
            code="too_many_columns",
            field="select",
            hint="Divide the columns among several views and join them by the resource's key.",
        )


def _conditions(parsed: ViewDefinition, scope: Scope) -> list[Expr]:
    conditions = []
    for number, where in enumerate(parsed.where):
        field = f"where[{number}].path"
        expr = resolve_text(where.path, scope, field=field)
        try:
            require_boolean(expr, f"'{field}'")
        except ResearchFlowError as error:
            error.field = field
            raise
        conditions.append(expr)
    return conditions


def _candidates(conditions: Sequence[Expr], body: Body) -> Sql:
    """A filter on the source's text that keeps every resource which meets the conditions and has
    the members that its rows need."""
    texts = reduce(rarer, (one.required() for one in conditions), None)
    wanted = [
        texts or frozenset(),
        *(frozenset(f'"{key}"' for key in keys) for keys in body.root_keys),
    ]
    single = dict.fromkeys(min(one) for one in wanted if len(one) == 1)
    filters = [compose(CANDIDATE, param(text, "text")) for text in single]
    return compose(" WHERE {}", join(" AND ", filters)) if filters else EMPTY


def _statement(
    body: Body, scope: Scope, conditions: Sequence[Expr], columns: Sequence[Column]
) -> tuple[Sql, Sql]:
    """The statement's text before and after its source."""
    whole = body.whole(scope, conditions)
    opening, closing = fixed(DOCUMENTS), compose(DOCUMENTS_END, _candidates(conditions, body))
    for number, stage in enumerate(whole.stages):
        opening = compose(STAGE, join(", ", stage.columns), opening)
        met = whole.conditions.get(number)
        where = compose(" WHERE {}", join(" AND ", met)) if met else EMPTY
        closing = compose("{}" + STAGE_END, closing, where)
    head = join(", ", [compose("{} AS _ord", whole.order), *outputs(whole.values)])
    read = compose(ROWS, head, opening)
    dated = frozenset(number for number, one in whole.values.items() if one.period is not None)
    return _with_periods(read, compose("{}{}", closing, whole.tail), columns, dated)


def _with_periods(
    head: Sql, tail: Sql, columns: Sequence[Column], dated: frozenset[int]
) -> tuple[Sql, Sql]:
    """The statement with names, each value in its column's type, and beside each date the period
    it means; `dated` are the numbers of columns whose period is there already."""
    ranged = [number for number, column in enumerate(columns) if column.has_range]
    missing = [number for number in ranged if number not in dated]
    named = [fixed("q._res_id"), fixed("q._id"), fixed("q._ord")]
    for number, column in enumerate(columns):
        names = [ident(name) for name, _type in column.physical]
        value, start = fixed(f"q.c{number}"), fixed(f"q.l{number}")
        typed = cast(column, value) if needs_cast(column) else value
        named.append(compose("{} AS {}", typed, names[0]))
        if column.has_range:
            end = fixed(f"q.h{number}") if number in dated else high(value, start)
            named.append(compose("{} AS {}", start, names[1]))
            named.append(compose("{} AS {}", end, names[2]))
    starts = [
        compose("{} AS {}", low(fixed(f"p.c{number}")), fixed(f"l{number}")) for number in missing
    ]
    # OFFSET 0: what a cast reads several times is computed once.
    opening, closing = "SELECT {} FROM (", ") AS q"
    if any(map(needs_cast, columns)):
        closing = " OFFSET 0) AS q"
    if missing:
        # Two levels, so that a date is read, then its start computed, once each.
        opening, closing = "SELECT {} FROM (SELECT p.*, {} FROM (", " OFFSET 0) AS p OFFSET 0) AS q"
    before = compose(opening + "{}", *filter(None, [join(", ", named), join(", ", starts), head]))
    return before, compose("{}" + closing, tail)


def _digest(definition: Mapping[str, Any], before: Sql, after: Sql) -> str:
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), default=str)
    parts = (COMPILER_VERSION, canonical, repr(before.render()), repr(after.render()))
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
