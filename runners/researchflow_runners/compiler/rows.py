"""Selects to FROM items: which rows a view has and what each column reads.

A `Body` is one SELECT under construction. An iteration adds a lateral join to it; a union, and a
forEachOrNull whose subtree may remove rows, become a lateral subquery with a body of its own.
The products of SQL on FHIR's processing algorithm are the joins themselves, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from researchflow_runners.compiler.cells import cell, plan_column
from researchflow_runners.compiler.column import Column
from researchflow_runners.compiler.definition import ColumnDefinition, SelectDefinition
from researchflow_runners.compiler.expr import Expr, numbered
from researchflow_runners.compiler.nodes import Focus, RowIndex
from researchflow_runners.compiler.repeat import repeated
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.sharing import share
from researchflow_runners.compiler.united import Offer, united
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join


@dataclass(frozen=True)
class Cell:
    """One column and where its value comes from.

    `expr` reads FROM items of the same body; `read` a column of a subquery. With `nullable`, the
    alias of an iteration that may be the null row, on which every column is NULL.
    """

    offer: Offer
    expr: Expr | None = None
    read: Sql = EMPTY
    nullable: str | None = None
    is_row_index: bool = False

    @property
    def column(self) -> Column:
        """The column as the view gives it."""
        return self.offer.column


@dataclass
class Body:
    """FROM items, conditions and cells of one SELECT.

    `orders` are the iterations that may make several rows of one; None when something else, such
    as a union, may too.
    """

    joins: list[Sql] = field(default_factory=list)
    conditions: list[Sql] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    orders: list[str] | None = field(default_factory=list)

    @property
    def several(self) -> bool:
        """Whether one row of what stands before may become more than one."""
        return self.orders is None or bool(self.orders)

    def multiply(self, alias: str | None) -> None:
        """Notes that the iteration (None: something else) may give several rows."""
        if alias is None:
            self.orders = None
        elif self.orders is not None:
            self.orders.append(alias)

    def selected(self, scope: Scope) -> list[Sql]:
        """The SQL of each cell; adds a join for what the cells share."""
        exprs = [one.expr for one in self.cells if one.expr is not None]
        replaced, shared = share(exprs, scope.alias("k"))
        if shared is not None:
            self.joins.append(compose("CROSS JOIN LATERAL {}", shared))
        remaining = iter(replaced)
        return [
            one.read if one.expr is None else _value(one, next(remaining)) for one in self.cells
        ]

    def tail(self) -> Sql:
        """The joins and the WHERE clause."""
        where = compose(" WHERE {}", join(" AND ", self.conditions)) if self.conditions else EMPTY
        return compose("{}{}", join("", [compose(" {}", one) for one in self.joins]), where)

    def select(self, scope: Scope, *extra: Sql) -> Sql:
        """The body as a SELECT whose columns are `c0`, `c1` … after `extra`."""
        cells = [
            compose("{} AS {}", value, fixed(f"c{number}"))
            for number, value in enumerate(self.selected(scope))
        ]
        return compose("SELECT {} FROM (SELECT) AS o{}", join(", ", [*extra, *cells]), self.tail())


def _value(planned: Cell, expr: Expr) -> Sql:
    value = cell(planned.column, expr)
    if planned.nullable is None or isinstance(expr, RowIndex):
        return value
    return compose("CASE WHEN {}.n IS NOT NULL THEN {} END", fixed(planned.nullable), value)


def plan_selects(
    selects: Sequence[SelectDefinition], scope: Scope, body: Body, *, path: str = "select"
) -> None:
    """Adds sibling selects to the body."""
    for number, select in enumerate(selects):
        plan_select(select, scope, body, f"{path}[{number}]", nullable=None)


def plan_select(
    select: SelectDefinition, scope: Scope, body: Body, path: str, *, nullable: str | None
) -> None:
    """Adds one select, its iteration and everything under it to the body.

    Raises ViewDefinitionError for what the standard forbids and FhirPathError for expressions.
    """
    _check_directives(select, path)
    if select.forEachOrNull is not None and not _only_columns(select):
        _plan_null_row(select, scope, body, path)
        return
    inner, row_alias = _iterate(select, scope, body, path)
    nullable = row_alias if select.forEachOrNull is not None else nullable
    for number, column in enumerate(select.column):
        body.cells.append(_plan_cell(column, inner, f"{path}.column[{number}]", nullable))
    for number, nested in enumerate(select.select):
        plan_select(nested, inner, body, f"{path}.select[{number}]", nullable=nullable)
    if select.unionAll:
        _plan_union(select.unionAll, inner, body, f"{path}.unionAll")


def _check_directives(select: SelectDefinition, path: str) -> None:
    given = [name for name in ("forEach", "forEachOrNull", "repeat") if getattr(select, name)]
    if len(given) > 1:
        raise ViewDefinitionError(
            f"'{path}' has {' and '.join(given)}",
            code="several_iterations",
            field=path,
            hint="Keep one of them and nest a select for the other.",
        )
    if not (select.column or select.select or select.unionAll):
        raise ViewDefinitionError(
            f"'{path}' selects nothing",
            code="definition_incomplete",
            field=path,
            hint="Add column, select or unionAll.",
        )


def _only_columns(select: SelectDefinition) -> bool:
    """Whether nothing under the select iterates or branches, so that it removes no row."""
    return not select.unionAll and all(
        not (nested.forEach or nested.forEachOrNull or nested.repeat) and _only_columns(nested)
        for nested in select.select
    )


def _iterate(
    select: SelectDefinition, scope: Scope, body: Body, path: str
) -> tuple[Scope, str | None]:
    """The scope inside the select's iteration, and the alias of its FROM item."""
    directive = select.forEach or select.forEachOrNull
    if directive is None and not select.repeat:
        return scope, None
    alias = scope.alias("f")
    if directive is None:
        found, types = repeated(select.repeat, scope, path)
        body.multiply(None)
    else:
        key = "forEach" if select.forEach else "forEachOrNull"
        expr = resolve_text(directive, scope, field=f"{path}.{key}")
        found, types = numbered(expr), expr.types
        if expr.many:
            body.multiply(alias)
    template = "CROSS JOIN LATERAL {} AS {}(v, n)"
    if select.forEachOrNull is not None:
        template = "LEFT JOIN LATERAL {} AS {}(v, n) ON true"
    body.joins.append(compose(template, found, fixed(alias)))
    return replace(scope, this=Focus(alias, types), row_index=RowIndex(alias)), alias


def _plan_cell(definition: ColumnDefinition, scope: Scope, path: str, nullable: str | None) -> Cell:
    expr = resolve_text(definition.path, scope, field=f"{path}.path")
    column = plan_column(definition, expr, path)
    if nullable is not None:
        column = replace(column, is_key=False)
    offer = Offer(column, definition.type is not None)
    return Cell(offer, expr, nullable=nullable, is_row_index=isinstance(expr, RowIndex))


def _plan_null_row(select: SelectDefinition, scope: Scope, body: Body, path: str) -> None:
    """forEachOrNull over a subtree that may remove rows.

    The null row stands for a path without items only: when there are items and the subtree gives
    no row for them, there is no row. It is null in every column, and 0 in every row index.
    """
    focused = select.model_copy(update={"forEach": select.forEachOrNull, "forEachOrNull": None})
    sub = Body()
    plan_select(focused, scope, sub, path, nullable=None)
    expr = resolve_text(select.forEachOrNull or "", scope, field=f"{path}.forEachOrNull")
    if sub.several:
        body.multiply(None)
    alias = scope.alias("u")
    subquery = sub.select(scope, fixed("true AS present"))
    body.joins.append(compose("LEFT JOIN LATERAL ({}) AS {} ON true", subquery, fixed(alias)))
    body.conditions.append(compose("({}.present OR NOT {})", fixed(alias), expr.exists()))
    for number, one in enumerate(sub.cells):
        read = fixed(f"{alias}.c{number}")
        if one.is_row_index:
            read = compose("coalesce({}, 0)", read)
        offer = replace(one.offer, column=replace(one.column, is_key=False))
        body.cells.append(Cell(offer, read=read, is_row_index=one.is_row_index))


def _plan_union(branches: Sequence[SelectDefinition], scope: Scope, body: Body, path: str) -> None:
    """All branches one after the other; they have the same columns."""
    bodies: list[Body] = []
    offers: list[Offer] = []
    for number, branch in enumerate(branches):
        sub = Body()
        plan_select(branch, scope, sub, f"{path}[{number}]", nullable=None)
        found = [one.offer for one in sub.cells]
        offers = _united(offers, found, f"{path}[{number}]") if bodies else found
        bodies.append(sub)
    if len(bodies) > 1 or bodies[0].several:
        body.multiply(None)
    alias = scope.alias("u")
    union = join(" UNION ALL ", [sub.select(scope) for sub in bodies])
    body.joins.append(compose("CROSS JOIN LATERAL ({}) AS {}", union, fixed(alias)))
    for number, offer in enumerate(offers):
        is_row_index = all(sub.cells[number].is_row_index for sub in bodies)
        read = fixed(f"{alias}.c{number}")
        body.cells.append(Cell(offer, read=read, is_row_index=is_row_index))


def _united(first: Sequence[Offer], other: Sequence[Offer], path: str) -> list[Offer]:
    """The columns of both branches; a branch at `path` that has others is refused."""
    pairs = zip(first, other, strict=False)
    found = [both for one, two in pairs if (both := united(one, two)) is not None]
    if len(first) == len(other) == len(found):
        return found
    raise ViewDefinitionError(
        f"the columns of '{path}' differ from those of the first branch",
        code="union_mismatch",
        field=path,
        allowed=[one.column.name for one in first],
        hint="Give every branch the same columns: names, order and types.",
    )
