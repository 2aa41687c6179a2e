"""What one resource's content can make PostgreSQL refuse, in words."""

from __future__ import annotations

from researchflow_runners.errors import StatementError

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
    "22P05": "text with a character that PostgreSQL cannot hold, such as \\u0000",
    "22P02": "a value that is not written as its type asks",
}


def is_data_error(error: StatementError) -> bool:
    """Whether one resource's content can have caused it."""
    return error.sqlstate[:2] in DATA_CLASSES


def reason(error: StatementError) -> str:
    """The error in words, without any value."""
    return REASONS.get(error.sqlstate, error.message)
