"""Says of SQL that a row does not fit which cast it was, of which column, and how many rows fail.

The failure spoils its transaction, so the casts are tried in a new one, over the same state of the
views. Where they tell nothing, the error stays as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from researchflow_runners.composed.cast_faults import CastFault, cast_faults
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.column_casts import ColumnCast, column_casts
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError, ResearchFlowError, StatementError
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.query.rows import Relations
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Session
from researchflow_runners.store.privileges import step_down

#: The casts of columns, each with the view whose column it is.
Casts: TypeAlias = tuple[tuple[ColumnCast, str], ...]
#: Faults that a message names.
TOLD_MAX = 3


@asynccontextmanager
async def casts_told(
    name: str,
    casts: Callable[[], Casts],
    relations: Relations,
    *,
    field: str,
    snapshot: Callable[[], AbstractAsyncContextManager[Session]],
) -> AsyncIterator[None]:
    """QueryError `composed_view_fails` with the casts that fail, for what a row does not fit."""
    try:
        yield
    except StatementError as error:
        if not is_data_error(error):
            raise
        faults = await _tried(casts(), relations, snapshot)
        if not faults:
            raise
        raise QueryError(
            f'the SQL of "{name}" casts what does not read as that type: '
            f'{faults_told(faults)} (SQLSTATE "{error.sqlstate}")',
            code="composed_view_fails",
            hint=f"cast where it can be made: {faults[0].cast.guard}",
            field=field,
        ) from error


async def _tried(
    casts: Casts,
    relations: Relations,
    snapshot: Callable[[], AbstractAsyncContextManager[Session]],
) -> tuple[CastFault, ...]:
    """The casts that fail; nothing when they cannot be tried now."""
    try:
        async with snapshot() as session:
            await step_down(session)
            return await cast_faults(session, casts, relations)
    except ResearchFlowError:
        return ()


def faults_told(faults: Sequence[CastFault]) -> str:
    """The casts and in how many rows they fail."""
    shown = [
        f'{fault.cast.text} in {fault.rows:,} rows of view "{fault.view}"'
        for fault in faults[:TOLD_MAX]
    ]
    rest = len(faults) - TOLD_MAX
    return ", ".join(shown) + (f" and {rest} more casts" if rest > 0 else "")


def casts_of(checked: CheckedSql, behind: Mapping[str, str], views: AnswerableViews) -> Casts:
    """The casts of a text whose labels stand for these views."""
    relations = {label: views[view].columns for label, view in behind.items()}
    return tuple((cast, behind[cast.label]) for cast in column_casts(checked, relations))


def casts_below(names: Sequence[str], views: AnswerableViews) -> Casts:
    """The casts of the composed views among these, and of those that they read."""
    found: dict[tuple[ColumnCast, str], None] = {}
    pending = list(names)
    while pending:
        view = views.get(pending.pop(0))
        if isinstance(view, ComposedView) and view.checked is not None:
            found |= dict.fromkeys(casts_of(view.checked, view.depends_on, views))
            pending += view.depends_on.values()
    return tuple(found)
