"""One case on PostgreSQL: the suite's resources are a constant, nothing is written."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import date, time
from decimal import Decimal
from typing import Any

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.conformance.comparison import difference
from researchflow_runners.conformance.suite import Case, Malformed, Suite
from researchflow_runners.errors import (
    FhirPathError,
    ResearchFlowError,
    StatementError,
    StoreError,
    ViewDefinitionError,
)
from researchflow_runners.sql import compose, ident, join, param
from researchflow_runners.store.database import Session

CASE_TIMEOUT_S = 30.0
#: Cardinality and data exceptions: what the resources, not the view, have wrong.
DATA_ERROR_CLASSES = ("21", "22")

#: `json` keeps the text of each resource, its decimals included.
RESOURCES = """(SELECT row_number() OVER () AS res_id, r.v ->> 'id' AS id, r.v::text AS text,
        NULL::jsonb AS meta
   FROM json_array_elements({document} -> 'resources') AS r(v)
  WHERE r.v ->> 'resourceType' = {type})"""


async def judge(session: Session, suite: Suite, case: Case | Malformed) -> str | None:
    """Why the case fails; None when it passes.

    A refused view and resources that break it are judged; StoreError means that PostgreSQL could
    not be asked, which says nothing about the case.
    """
    if isinstance(case, Malformed):
        return case.reason
    try:
        view = compile_view(case.view)
        rows = await rows_of(session, view, suite.document)
    except ResearchFlowError as error:
        if isinstance(error, StoreError) and error.code != "statement_timeout":
            raise
        return None if case.expectError and _is_expected(error) else _told(error)
    if case.expectError:
        return f"an error was expected, the view gave {len(rows)} rows"
    return difference(case, [column.name for column in view.columns], rows)


async def rows_of(session: Session, view: CompiledView, document: str) -> list[dict[str, Any]]:
    """The view's public columns over the `resources` of a JSON object, as JSON's own types.

    Numbers are int, float or Decimal; dates and times are ISO 8601, bytes base64.
    """
    source = compose(RESOURCES, document=param(document, "json"), type=param(view.resource, "text"))
    # Without the companions of dates: the end of the year 9999 is no datetime of Python's.
    public = join(", ", (ident(column.name) for column in view.columns))
    statement = compose("SELECT {} FROM ({}) AS v", public, view.select(source))
    async with session.transaction(
        isolation="repeatable read", readonly=True, statement_timeout_s=CASE_TIMEOUT_S
    ):
        records = await session.fetch(statement)
    return [
        {column.name: _json(record[column.name], column.pg_type) for column in view.columns}
        for record in records
    ]


def _json(value: Any, pg_type: str) -> Any:
    if pg_type == "jsonb" and value is not None:
        return json.loads(value, parse_float=Decimal)
    if isinstance(value, date | time):
        return value.isoformat()
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _is_expected(error: ResearchFlowError) -> bool:
    """Whether a case may expect it: a fault of the view or of its data, not one of ours."""
    if isinstance(error, StatementError):
        return error.sqlstate.startswith(DATA_ERROR_CLASSES)
    return isinstance(error, ViewDefinitionError | FhirPathError)


def _told(error: ResearchFlowError) -> str:
    place = f" in {error.field}" if error.field and error.field not in error.message else ""
    return f"{error.message}{place} [{error.code}]"
