"""`patient_timeline`: one patient's record; the question is the runners' own model."""

from __future__ import annotations

from researchflow_runners.query.timeline import Timeline
from researchflow_server.contract.base import Detailed
from researchflow_server.contract.query_view import QueryViewOutput

PATIENT_TIMELINE = "patient_timeline"


class PatientTimelineInput(Detailed, Timeline):
    """Whose events, and how much of the answer is told."""


class PatientTimelineOutput(QueryViewOutput):
    """Events, newest first, dated as any answer.

    `kinds` counts the events of all pages by kind. Not listed are `undated` events and
    `undecided` ones, whose partial date lies across an end of the period asked for.
    """

    kinds: dict[str, int]
    undated: int
    undecided: int = 0
