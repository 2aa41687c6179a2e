"""What one resource's content can make PostgreSQL refuse: the reason in words, and the column."""

from __future__ import annotations

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.sql import Sql, compose, fixed, ident
from researchflow_runners.store.database import Session

#: SQLSTATE classes that one resource's content can cause: cardinality, data, nesting too deep.
DATA_CLASSES = ("21", "22", "54")
#: What the common data errors mean, in words.
REASONS = {
    "21000": "several values where the column takes one",
    "22007": "not a date or time as FHIR writes them",
    "22008": "a date or time that does not exist",
    "22003": "a number that the column cannot hold",
    "22011": "a value that the column's SQL type cannot hold as it is written",
    "22023": "a value of another JSON type than the column's",
    "22P02": "a value that is not written as its type asks",
}
EVERY_COLUMN = fixed("q")


def is_data_error(error: StatementError) -> bool:
    """Whether one resource's content can have caused it."""
    return error.sqlstate[:2] in DATA_CLASSES


def reason(error: StatementError) -> str:
    """The error in words, without any value."""
    return REASONS.get(error.sqlstate, error.message)


async def fault_of(
    session: Session, view: CompiledView, resources: Sql, *, counted: Sql = EVERY_COLUMN
) -> StatementError | None:
    """The data error of computing every column, or the one counted, over the resources.

    None when there is none; nothing is stored.
    """
    try:
        async with session.savepoint():
            counting = compose("SELECT count({}) FROM ({}) AS q", counted, view.select(resources))
            await session.fetchval(counting)
    except StatementError as error:
        if is_data_error(error):
            return error
        raise
    return None


async def failing_column(session: Session, view: CompiledView, resources: Sql) -> str | None:
    """The first column that fails alone, by computing one after the other; None when none does."""
    for column in view.columns:
        if await fault_of(session, view, resources, counted=ident("q", column.name)):
            return column.name
    for column in view.columns:
        for companion, _type in column.physical[1:]:
            if await fault_of(session, view, resources, counted=ident("q", companion)):
                return column.name
    return None
