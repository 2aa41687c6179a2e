"""What the compiler gives beside what the oracle gives; both may refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import asyncpg

from conformance import multiset, rows_of_document
from oracle import OracleError, rows
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.conformance.run import DATA_ERROR_CLASSES
from researchflow_runners.errors import StatementError

REFUSED = "refused"


async def outcome_of_compiled(
    connection: asyncpg.Connection, view: CompiledView, texts: Sequence[str]
) -> Any:
    """The rows over the resources of these JSON texts, as a multiset, or REFUSED."""
    document = f'{{"resources": [{",".join(texts)}]}}'
    try:
        found = await rows_of_document(connection, view, document)
    except StatementError as error:
        # Several items where one may be; a value that its type does not allow.
        if not error.sqlstate.startswith(DATA_ERROR_CLASSES):
            raise
        return REFUSED
    return multiset(found, [column.name for column in view.columns])


def outcome_of_oracle(view: CompiledView, texts: Sequence[str], *, eager: bool = False) -> Any:
    """The same from the oracle; `eager` as its rows()."""
    resources = [json.loads(text, parse_float=Decimal) for text in texts]
    try:
        found = rows(view.definition, resources, eager=eager)
    except OracleError:
        return REFUSED
    return multiset(found, [column.name for column in view.columns])


async def check_against_oracle(
    connection: asyncpg.Connection, definition: Mapping[str, Any], resources: Sequence[Any]
) -> None:
    """Fails unless both give the same rows, or both refuse."""
    texts = [json.dumps({**one, "id": f"p{number}"}) for number, one in enumerate(resources)]
    view = compile_view(definition)
    found = await outcome_of_compiled(connection, view, texts)
    expected = outcome_of_oracle(view, texts)
    if found == REFUSED != expected:
        # PostgreSQL joins in the order it likes: it may meet an error in a row to be removed, or
        # compute what depends on no node before it knows that there is none.
        expected = outcome_of_oracle(view, texts, eager=True)
    assert found == expected, json.dumps(definition)
