"""Rows of a view from resources: all of them into a new table, or the changed ones beside it.

A resource whose rows cannot be computed must not stop the others: the failing statement is
undone, the culprits are found by halving, and the statement runs again without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from researchflow_runners.batch.tables import stored_type
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import RefreshError, StatementError
from researchflow_runners.sql import Sql, compose, ident, join, param
from researchflow_runners.store.data_faults import (
    failing_column,
    fault_of,
    is_data_error,
    reason,
)
from researchflow_runners.store.database import Session

#: More failing resources than this mean that the view is wrong, not the data.
CULPRITS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Culprit:
    """A resource without rows, and why; no value of it."""

    res_id: int
    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """Rows written and resources left out."""

    rows: int
    culprits: tuple[Culprit, ...] = ()

    def without(self, more: tuple[Culprit, ...]) -> Filled:
        """The same, with resources left out before the view was asked."""
        return replace(self, culprits=self.culprits + more)


async def try_create(
    session: Session, target: Sql, view: CompiledView, *, resources: Sql, anchor: int
) -> int | None:
    """Creates `target` with the view's rows over the relation `resources`, dated `anchor`.

    Gives the row count; None, and no table, when some resource does not let itself be computed.
    """
    try:
        async with session.savepoint():
            return await _create(session, target, view, resources, anchor)
    except StatementError as error:
        if is_data_error(error):
            return None
        raise


async def create_without_culprits(
    session: Session, target: Sql, view: CompiledView, *, resources: Sql, anchor: int
) -> Filled:
    """The same without the resources that fail; those are named."""
    culprits = await find_culprits(session, view, resources)
    left = compose(
        "(SELECT * FROM {} AS r WHERE r.res_id <> ALL ({}) OFFSET 0)",
        resources,
        param([culprit.res_id for culprit in culprits], "bigint[]"),
    )
    return Filled(await _create(session, target, view, left, anchor), tuple(culprits))


async def find_culprits(session: Session, view: CompiledView, resources: Sql) -> list[Culprit]:
    """The resources that fail alone, by halving; RefreshError `view_fails` beyond the bound."""
    ids = await session.fetchval(
        compose("SELECT array_agg(res_id ORDER BY res_id) FROM {} AS r", resources)
    )
    culprits: list[Culprit] = []
    stack: list[Sequence[int]] = [ids] if ids else []
    while stack:
        span = stack.pop()
        part = _span(resources, span)
        error = await fault_of(session, view, part)
        if error is None:
            continue
        if len(span) > 1:
            middle = len(span) // 2
            stack += [span[middle:], span[:middle]]
            continue
        column = await failing_column(session, view, part)
        culprits.append(Culprit(span[0], reason(error), column))
        if len(culprits) > CULPRITS_MAX:
            raise _view_fails(view)
    return culprits


def _span(resources: Sql, span: Sequence[int]) -> Sql:
    """The resources whose keys lie in the span, as a relation."""
    return compose(
        "(SELECT * FROM {} AS r WHERE r.res_id BETWEEN {} AND {} OFFSET 0)",
        resources,
        param(span[0], "bigint"),
        param(span[-1], "bigint"),
    )


async def _create(
    session: Session, target: Sql, view: CompiledView, resources: Sql, anchor: int
) -> int:
    """CREATE TABLE AS: undone, it gives its space back, and its rows need no WAL of their own."""
    columns = (
        compose("q.{name}::{kind} AS {name}", name=ident(name), kind=stored_type(kind))
        for name, kind in view.stored_columns
    )
    return await session.execute(
        compose(
            "CREATE TABLE {} AS SELECT {}, {} AS _since FROM ({}) AS q",
            target,
            join(", ", columns),
            param(anchor, "bigint"),
            view.select(resources),
        )
    )


def _view_fails(view: CompiledView) -> RefreshError:
    return RefreshError(
        f'view "{view.name}" fails on more than {CULPRITS_MAX} resources',
        code="view_fails",
        hint="correct the ViewDefinition: a column or filter does not fit the data",
        field=view.name,
    )
