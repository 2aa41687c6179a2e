"""Which codes occur in the data for words or a code."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.codes.query import CodeQuery
from researchflow_server import contract
from researchflow_server.contract import FindCodesInput
from researchflow_server.tools.budget import rows_that_fit
from researchflow_server.tools.detail import question, told
from researchflow_server.tools.query_view import answer_payload
from researchflow_server.tools.result import dumped
from researchflow_server.tools.spec import Call, ToolSpec

MORE = "more codes fit: give more words, a view or a system, or a larger limit"


async def run(call: Call, arguments: FindCodesInput) -> dict[str, Any]:
    """The codes in the shape of contract.QueryViewOutput; they are not paged."""
    answer = await call.runtime.hybrid.find_codes(question(arguments, CodeQuery))
    payload = answer_payload(answer)
    frame_bytes = len(dumped({**payload, "rows": []}))
    kept = rows_that_fit(answer.rows, frame_bytes=frame_bytes, bytes_max=call.bytes_max)
    payload |= {
        "rows": payload["rows"][:kept],
        "row_count": kept,
        "truncated": answer.truncated or kept < answer.row_count,
    }
    if payload["truncated"]:
        payload["warnings"].append(MORE)
    return told(payload, arguments.detail)


FIND_CODES = ToolSpec(
    name=contract.FIND_CODES,
    title="Find codes",
    description="Codes that occur in the data, by lay words, drug class or code; forgives typos.",
    arguments=FindCodesInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
