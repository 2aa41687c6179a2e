"""One patient's record over all shipped views, as one dated list."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.hybrid.timeline import Record
from researchflow_runners.query.timeline import Timeline
from researchflow_server import contract
from researchflow_server.contract import PatientTimelineInput
from researchflow_server.tools.detail import question
from researchflow_server.tools.query_view import cut_payload
from researchflow_server.tools.spec import Call, ToolSpec

#: Room for the counts and their warnings.
RECORD_BYTES = 600


async def run(call: Call, arguments: PatientTimelineInput) -> dict[str, Any]:
    """A page of events, and what the whole record holds beside them."""
    answer, record = await call.runtime.hybrid.timeline(question(arguments, Timeline))
    payload = cut_payload(answer, call.bytes_max - RECORD_BYTES, arguments.detail)
    warnings = [*payload.get("warnings", []), *_warnings(record)]
    return {
        **payload,
        **({"warnings": warnings} if warnings else {}),
        "kinds": record.kinds,
        "undated": record.undated,
        "undecided": record.undecided,
    }


def _warnings(record: Record) -> list[str]:
    found = []
    if not record.events:
        found.append("the patient is known and has no dated event of these kinds in this period")
    if record.undated:
        found.append(
            f"{record.undated} events have no date and are not listed: query_view of "
            'patient_events with {"column": "date", "op": "is_null"} shows them'
        )
    if record.unplaced:
        found.append(
            f"{record.unplaced} events of the record have a time without an offset, which is read "
            "as UTC: they may stand up to 14 hours from their place"
        )
    if record.undecided:
        found.append(
            f"{record.undecided} events have a partial date that lies across an end of the period "
            "and are not listed: widen it to see them"
        )
    return found


PATIENT_TIMELINE = ToolSpec(
    name=contract.PATIENT_TIMELINE,
    title="A patient's timeline",
    description="What happened to one patient, newest first.",
    arguments=PatientTimelineInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
