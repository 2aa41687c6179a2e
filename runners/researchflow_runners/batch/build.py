"""Rows of a view from resources: all of them into a new table, or the changed ones beside it.

A resource whose rows cannot be computed must not stop the others: the failing statement is
undone, the culprits are found by halving, and the statement runs again without them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from researchflow_runners.batch.tables import stored_type
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.sql import Sql, compose, ident, join, param
from researchflow_runners.store.culprits import Culprit, find_culprits
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Session


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
