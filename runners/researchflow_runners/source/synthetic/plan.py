"""Care plans: what was agreed for a problem that needs more than one visit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from researchflow_runners.source.synthetic.chart import Chart, without_nones
from researchflow_runners.source.synthetic.codes import (
    ASSESS_PLAN,
    CARE_PLANS,
    SNOMED,
    coding,
    concept,
)
from researchflow_runners.source.synthetic.problem import Visit

PLAN_STATUSES = (
    "active", "completed", "active", "active", "revoked", "active", "on-hold", "completed",
    "active", "draft", "active",
)  # fmt: skip
ENDED = ("completed", "revoked")


def care_plans(chart: Chart, visits: list[Visit]) -> list[dict[str, Any]]:
    """One for each problem that has a plan; a few of them were entered in error."""
    problems = [visit for visit in visits if visit.problem is not None]
    return [
        _care_plan(chart, visit, number)
        for number, visit in enumerate(problems, start=1)
        if visit.problem in CARE_PLANS
    ]


def _care_plan(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    """The plan that addresses the condition of that number."""
    plan = CARE_PLANS[visit.problem or ""]
    status = chart.turn(PLAN_STATUSES, number)
    if chart.turn((False,) * 16 + (True,), number):
        status = "entered-in-error"
    ends = min(visit.day + timedelta(days=180), chart.last_day)
    kind = concept(plan.text, coding(SNOMED, plan.snomed, plan.text))
    shared = concept("Assessment and plan", coding(*ASSESS_PLAN))
    return without_nones(
        {
            "resourceType": "CarePlan",
            "id": chart.id_of("careplan", number),
            "status": status,
            "intent": chart.turn(("plan", "order", "plan"), number),
            "category": [shared, kind] if chart.turn((True, False), number) else [kind],
            "title": plan.text if number % 2 else None,
            "subject": chart.patient,
            "encounter": visit.reference,
            "period": {
                "start": visit.day.isoformat()[: chart.turn((10, 10, 10, 7, 10), number)],
                **({"end": ends.isoformat()} if status in ENDED else {}),
            },
            "created": visit.day.isoformat() if number % 3 else None,
            "author": chart.clinician(number),
            "addresses": [{"reference": f"Condition/{chart.id_of('condition', number)}"}],
            "activity": [
                {"detail": {"code": concept(text, coding(SNOMED, code, text)), "status": done}}
                for (code, text), done in zip(
                    plan.activities, ("in-progress", "scheduled"), strict=False
                )
            ],
        }
    )
