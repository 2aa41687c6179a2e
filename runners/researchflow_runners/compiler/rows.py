"""Selects to FROM items: which rows a view has and what each column reads.

An iteration adds a lateral join to the body; a union, and a forEachOrNull whose subtree may remove
rows, become a lateral subquery with a body of its own.
The products of SQL on FHIR's processing algorithm are the joins themselves, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from researchflow_runners.compiler.body import Body, Cell, Iteration
from researchflow_runners.compiler.cells import plan_column
from researchflow_runners.compiler.definition import ColumnDefinition, SelectDefinition
from researchflow_runners.compiler.expr import any_of, numbered, unnumbered
from researchflow_runners.compiler.nodes import Focus, Resource, RowIndex
from researchflow_runners.compiler.operators.filtering import ResourceWhere
from researchflow_runners.compiler.repeat import repeated
from researchflow_runners.compiler.resolver import resolve_text
from researchflow_runners.compiler.scope import Scope
from researchflow_runners.compiler.united import Offer, united
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.sql import compose, fixed, join

NUMBERED = "(SELECT t.v, row_number() OVER () AS n FROM ({}) AS t(v))"


@dataclass(frozen=True)
class Place:
    """Where a select stands: what names mean there, and how many FROM items stand before it.

    `nullable` is the alias of an iteration whose null row makes every column NULL.
    """

    scope: Scope
    after: int = 0
    nullable: str | None = None


def plan_selects(selects: Sequence[SelectDefinition], scope: Scope, body: Body) -> None:
    """Adds the view's selects to the body; errors as plan_select."""
    for number, select in enumerate(selects):
        plan_select(select, Place(scope), body, f"select[{number}]")


def plan_select(select: SelectDefinition, place: Place, body: Body, path: str) -> None:
    """Adds one select, its iteration and everything under it to the body.

    Raises ViewDefinitionError for what the standard forbids and FhirPathError for expressions.
    """
    _check_directives(select, path)
    if select.forEachOrNull is not None and not _only_columns(select):
        _plan_null_row(select, place.scope, body, path)
        return
    inner = _iterate(select, place, body, path)
    for number, column in enumerate(select.column):
        body.cells.append(_plan_cell(column, inner, f"{path}.column[{number}]"))
    for number, nested in enumerate(select.select):
        plan_select(nested, inner, body, f"{path}.select[{number}]")
    if select.unionAll:
        _plan_union(select.unionAll, inner.scope, body, f"{path}.unionAll")


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


def _iterate(select: SelectDefinition, place: Place, body: Body, path: str) -> Place:
    """The place inside the select's iteration."""
    scope, directive = place.scope, select.forEach or select.forEachOrNull
    if directive is None and not select.repeat:
        return place
    alias = scope.alias("f")
    this: Focus
    if directive is None:
        walk, types, keys = repeated(select.repeat, scope, path)
        several, this = True, Focus(alias, types, is_walked=True)
        found = Iteration(alias, compose("({})", walk), compose(NUMBERED, walk), False)
    else:
        key = "forEach" if select.forEach else "forEachOrNull"
        expr = resolve_text(directive, scope, field=f"{path}.{key}")
        types, keys, several = expr.types, expr.root_keys(), expr.many
        or_null = select.forEachOrNull is not None
        found = Iteration(alias, unnumbered(expr), numbered(expr), or_null, expr)
        this = Focus(alias, types)
        if isinstance(expr, (Resource, ResourceWhere)):
            # The resource itself stays what it is.
            this = scope.resource
    if keys is not None and not found.or_null:
        body.root_keys.append(keys)
    body.add(found, several=several)
    return Place(
        replace(scope, this=this, row_index=RowIndex(alias)),
        len(body.items),
        alias if select.forEachOrNull is not None else place.nullable,
    )


def _plan_cell(definition: ColumnDefinition, place: Place, path: str) -> Cell:
    expr = resolve_text(definition.path, place.scope, field=f"{path}.path")
    column = plan_column(definition, expr, path)
    if place.nullable is not None:
        column = replace(column, is_key=False)
    offer = Offer(column, definition.type is not None)
    is_row_index = isinstance(expr, RowIndex)
    return Cell(offer, expr, after=place.after, nullable=place.nullable, is_row_index=is_row_index)


def _plan_null_row(select: SelectDefinition, scope: Scope, body: Body, path: str) -> None:
    """forEachOrNull over a subtree that may remove rows.

    The null row stands for a path without items only: when there are items and the subtree gives
    no row for them, there is no row. It is null in every column, and 0 in every row index.
    """
    focused = select.model_copy(update={"forEach": select.forEachOrNull, "forEachOrNull": None})
    sub = Body()
    plan_select(focused, Place(scope), sub, path)
    expr = resolve_text(select.forEachOrNull or "", scope, field=f"{path}.forEachOrNull")
    alias = scope.alias("u")
    several = bool(sub.several)
    subquery = sub.select(scope, fixed("true AS present"))
    item = compose("LEFT JOIN LATERAL ({}) AS {} ON true", subquery, fixed(alias))
    body.add(item, several=several)
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
        plan_select(branch, Place(scope), sub, f"{path}[{number}]")
        found = [one.offer for one in sub.cells]
        offers = _united(offers, found, f"{path}[{number}]") if bodies else found
        bodies.append(sub)
    several = len(bodies) > 1 or bool(bodies[0].several)
    alias = scope.alias("u")
    union = join(" UNION ALL ", [sub.select(scope) for sub in bodies])
    keys = any_of([next(iter(sub.root_keys), None) for sub in bodies])
    if keys is not None:
        body.root_keys.append(keys)
    item = compose("CROSS JOIN LATERAL ({}) AS {}", union, fixed(alias))
    body.add(item, several=several)
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
