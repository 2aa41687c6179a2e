"""A dated answer to a typed question."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import Query
from researchflow_server import contract
from researchflow_server.contract import Detail, QueryViewInput
from researchflow_server.tools.budget import rows_that_fit
from researchflow_server.tools.detail import question, told
from researchflow_server.tools.result import dumped
from researchflow_server.tools.spec import Call, ToolSpec

MISSING_UNKNOWN = (
    "resources that could not be computed may be missing: an earlier release published this anchor "
    "and did not keep how many"
)


async def run(call: Call, arguments: QueryViewInput) -> dict[str, Any]:
    """The answer, cut to what a client takes; the cursor of a cut one goes on where it was cut."""
    answer = await call.runtime.hybrid.query(question(arguments, Query))
    return cut_payload(answer, call.bytes_max, arguments.detail)


def cut_payload(answer: Answer, bytes_max: int, detail: Detail) -> dict[str, Any]:
    """What is told of the answer, in the shape of contract.QueryViewOutput and within so many
    bytes."""
    frame_bytes = len(dumped(told({**answer_payload(answer), "rows": []}, detail)))
    kept = rows_that_fit(answer.rows, frame_bytes=frame_bytes, bytes_max=bytes_max)
    payload = answer_payload(answer.cut(kept))
    if kept < answer.row_count:
        payload["warnings"].append(
            f"cut to {kept} rows to stay within {bytes_max} bytes; go on with next_cursor, "
            "or ask for fewer columns"
        )
    return told(payload, detail)


def missing_warnings(count: int | None) -> list[str]:
    """What is told of so many resources that the rows lack; None where that is not known."""
    if count is None:
        return [MISSING_UNKNOWN]
    return [f"{count} resources could not be computed and are missing"] if count else []


def answer_payload(answer: Answer) -> dict[str, Any]:
    """The answer in the shape of contract.QueryViewOutput."""
    warnings = [*answer.warnings, *missing_warnings(answer.missing_resources)]
    if answer.speed.provisional:
        warnings.append(
            f"{answer.speed.provisional} waiting changes are not confirmed by the source"
        )
    return {
        "columns": [column.name for column in answer.columns],
        "types": [
            f"{column.type}[]" if column.is_list else column.type for column in answer.columns
        ],
        "rows": [list(row) for row in answer.rows],
        "row_count": answer.row_count,
        **({} if answer.ties is None else {"ties": answer.ties}),
        "truncated": answer.truncated,
        "next_cursor": answer.next_cursor,
        "freshness": answer.freshness,
        "anchor": answer.anchor,
        "data_as_of": answer.data_as_of,
        "route": answer.route,
        "computed_at": answer.computed_at,
        "took_ms": round(answer.timings.total_ms, 2),
        "age_s": answer.age_s,
        "staleness_s": answer.staleness_s,
        "checked_at": answer.checked_at,
        "pending": answer.pending,
        "speed": asdict(answer.speed),
        "degradations": [asdict(degradation) for degradation in answer.degradations],
        "warnings": warnings,
    }


QUERY_VIEW = ToolSpec(
    name=contract.QUERY_VIEW,
    title="Query a view",
    description="Rows, groups and counts of a view, filtered by it and by other views.",
    arguments=QueryViewInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
