"""A picture of a dated answer, with the data that it shows."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import Query, SqlQuery
from researchflow_server import contract
from researchflow_server.contract import DrawInput, QuerySqlInput
from researchflow_server.pictures import (
    Drawn,
    check_columns,
    check_units,
    drawn,
    number_column,
    rows_max,
    specification,
)
from researchflow_server.runtime.views import askable_views
from researchflow_server.tools.budget import rows_that_fit
from researchflow_server.tools.detail import question, told
from researchflow_server.tools.query_view import answer_payload
from researchflow_server.tools.result import Illustrated, dumped
from researchflow_server.tools.spec import Call, ToolSpec

HINT = "aggregate first (group_by), filter, or set limit in the query to draw its first rows"


async def run(call: Call, arguments: DrawInput) -> Illustrated:
    """The picture of all rows of the query, or of the first `limit` where it has one."""
    check_columns(arguments)
    call.runtime.renderer.require()
    unit = await _unit(call, arguments)
    answer = await _answered(call, arguments, unit)
    if unit is not None:
        check_units(arguments, answer, unit)
    # Up to ROWS_MAX rows are counted: long enough to keep other callers waiting.
    content = await asyncio.to_thread(drawn, arguments, answer)
    payload = _payload(arguments, answer, content)
    notes = [
        *([f"cut: the first {answer.row_count:,} rows only; more exist"] * answer.truncated),
        *(degradation.message for degradation in answer.degradations),
        *payload["warnings"],
    ]
    spec = specification(content, answer, title=arguments.title, notes=notes)
    png = await call.runtime.renderer.png(spec)
    return Illustrated(told(_cut(payload, call.bytes_max), arguments.detail), png, spec)


async def _unit(call: Call, arguments: DrawInput) -> str | None:
    """The column that tells the units of the numbers of rows; those of groups are checked as any
    aggregate's, and those of SQL are its author's."""
    name, query = number_column(arguments), arguments.query
    if name is None or not isinstance(query, Query) or query.group_by or query.aggregates:
        return None
    view = (await askable_views(call.runtime)).get(query.view)
    columns = view.columns if view else ()
    return next((column.unit for column in columns if column.name == name), None)


async def _answered(call: Call, arguments: DrawInput, unit: str | None) -> Answer:
    """The rows to draw; QueryError `marks_too_many` where the query has more and sets no limit."""
    query = arguments.query
    most = rows_max(arguments.chart)
    if query.cursor is not None:
        raise QueryError(
            "a picture has no pages",
            code="invalid_argument",
            field="query.cursor",
            hint="leave cursor out",
        )
    is_limited = "limit" in query.model_fields_set
    wanted = {"limit": query.limit if is_limited else most, **_columns(arguments, unit)}
    hybrid = call.runtime.hybrid
    if isinstance(query, QuerySqlInput):
        answer = await hybrid.query_sql(question(query, SqlQuery).model_copy(update=wanted))
    else:
        answer = await hybrid.query(question(query, Query).model_copy(update=wanted))
    if answer.truncated and not is_limited:
        raise QueryError(
            f'more than {most:,} rows, which is the most that a "{arguments.chart}" is made of',
            code="marks_too_many",
            field="query",
            hint=HINT,
        )
    return answer


def _columns(arguments: DrawInput, unit: str | None) -> dict[str, Any]:
    """Of a question for rows those that are drawn where it names no columns, and the unit."""
    query = arguments.query
    if not isinstance(query, Query) or query.group_by or query.aggregates:
        return {}
    named = query.columns or (arguments.x, arguments.y, arguments.by)
    return {"columns": list(dict.fromkeys(name for name in (*named, unit) if name is not None))}


def _payload(arguments: DrawInput, answer: Answer, content: Drawn) -> dict[str, Any]:
    payload = answer_payload(answer)
    return {
        "chart": arguments.chart,
        "drawn_from": answer.row_count,
        **payload,
        "columns": list(content.columns),
        "types": list(content.types),
        "rows": [list(row) for row in content.rows],
        "row_count": len(content.rows),
        "next_cursor": None,
        "warnings": [*payload["warnings"], *content.warnings],
    }


def _cut(payload: dict[str, Any], bytes_max: int) -> dict[str, Any]:
    """The payload with as many rows as fit; the picture has all of them."""
    rows = payload["rows"]
    frame_bytes = len(dumped({**payload, "rows": []}))
    kept = rows_that_fit(rows, frame_bytes=frame_bytes, bytes_max=bytes_max)
    if kept == len(rows):
        return payload
    told = f"the picture shows {len(rows):,} rows, of which {kept:,} are told here"
    return {
        **payload,
        "rows": rows[:kept],
        "row_count": kept,
        "truncated": True,
        "warnings": [*payload["warnings"], told],
    }


DRAW = ToolSpec(
    name=contract.DRAW,
    title="Draw a picture",
    description="A picture (PNG) of a query's answer, and its data; survival is Kaplan-Meier.",
    arguments=DrawInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
