"""The columns of a SQL text, by asking PostgreSQL, which reads it and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.dialects import types_hint
from researchflow_runners.composed.origins import origins
from researchflow_runners.composed.outputs import output_columns
from researchflow_runners.composed.vocabulary import CLOCK_HINT
from researchflow_runners.errors import ResearchFlowError, ViewDefinitionError
from researchflow_runners.sql import Sql, compose, fixed, ident, join
from researchflow_runners.store.database import Session
from researchflow_runners.store.failure import rejected_at

#: SQLSTATE → what is wrong at the named place, and what to do.
_FAULTS = {
    "42703": ("there is no column '{}' here", "Use a column of the relations in this FROM."),
    "42P01": ("there is no relation '{}' here", "Read it in FROM before naming its columns."),
    "42702": ("'{}' may mean several columns", "Write the relation before it: relation.column."),
    "42883": ("'{}' does not take values of these types", "Cast them to the types it takes."),
    "42725": ("'{}' may mean several functions", "Cast the arguments to the types you mean."),
    "42803": ("'{}' needs GROUP BY or an aggregate", "Group by it, or aggregate it."),
    "42804": ("the types at '{}' do not go together", "Cast one to the type of the other."),
    "42846": ("'{}' cannot be cast that way", "Cast it to text first."),
    "42601": ("the SQL does not fit together at '{}'", "Correct it there."),
    "42P10": ("'{}' is not a column of the result", "Sort by a column that is selected."),
    "42712": ("the name '{}' stands for two relations", "Give each relation an alias of its own."),
    "22P02": ("the text '{}' is no value of that type", "Correct the constant."),
    "22007": ("the text '{}' is no date or time", "Write it as ISO 8601."),
    "22008": ("the text '{}' is out of the calendar", "Correct the constant."),
}
NO_FUNCTION, ZERO_DIVISOR = "42883", "22012"
_OTHER = ("postgresql refuses the SQL at '{}'", "Correct it there.")
_PLACELESS_HINT = "Check its constants and casts, and how large they are."
#: Errors of the text itself: syntax and names, constants, missing features, too many parts.
_REFUSED_CLASSES = ("42", "22", "0A", "54")
SHOWN_CHARS_MAX = 60


async def describe(
    session: Session,
    checked: CheckedSql,
    relations: Mapping[str, Sequence[Column]],
    *,
    field: str,
    values: Mapping[str, Any] | None = None,
) -> tuple[Column, ...]:
    """The columns of the text over relations with these columns, by label; within a transaction.

    `values` are those of its parameters. Raises ViewDefinitionError as `output_columns`, or
    `sql_rejected` or `sql_clock` with the place, which a text with parameters does not tell.
    """
    before = _over_nothing(checked, relations)
    try:
        stream = await session.stream(compose("{}{}) AS answer", before, checked.probe(values)))
    except ResearchFlowError as error:
        raise _translated(error, checked, len(before.render()[0]), field, values) from error
    return output_columns(stream.columns, origins(checked, relations), field=field)


def _over_nothing(checked: CheckedSql, relations: Mapping[str, Sequence[Column]]) -> Sql:
    """The relations that the text reads, of the right types and without rows."""
    queries = []
    for name, label in checked.labels.items():
        columns = [
            compose("NULL::{} AS {}", _typed(column), ident(column.name))
            for column in relations[label]
        ]
        queries.append(compose("{} AS (SELECT {} WHERE false)", ident(name), join(", ", columns)))
    opening = compose("WITH {} ", join(", ", queries)) if queries else fixed("")
    return compose("{}SELECT * FROM (", opening)


def _typed(column: Column) -> Sql:
    return fixed('text COLLATE "C"' if column.is_text else column.base_type)


def _translated(
    error: ResearchFlowError,
    checked: CheckedSql,
    offset: int,
    field: str,
    values: Mapping[str, Any] | None,
) -> ResearchFlowError:
    """The error as one of the text's, or as it is when the text is not at fault."""
    rejected = rejected_at(error)
    if rejected is None or not rejected[0].startswith(_REFUSED_CLASSES):
        return error
    state, position = rejected
    span = checked.span_at(position - offset, values) if position is not None else None
    message, hint = _FAULTS.get(state, _OTHER)
    shown = checked.syntax.text[span.start : span.end] if span else ""
    if span is None:
        message, hint = f"postgresql refuses the SQL (SQLSTATE '{state}')", _PLACELESS_HINT
    elif state == NO_FUNCTION:
        hint = types_hint(shown)
    if state == ZERO_DIVISOR:
        message = f"the SQL divides by zero (SQLSTATE '{state}')"
        hint = "Write a / nullif(b, 0)."
    if span is not None and span.start in {probe.start for probe in checked.probes}:
        return ViewDefinitionError(
            f"the text {shown[:SHOWN_CHARS_MAX]} means the time of the statement",
            code="sql_clock",
            field=field,
            span=span,
            hint=CLOCK_HINT,
        )
    return ViewDefinitionError(
        message.format(shown[:SHOWN_CHARS_MAX]),
        code="sql_rejected",
        field=field,
        span=span,
        hint=hint,
    )
