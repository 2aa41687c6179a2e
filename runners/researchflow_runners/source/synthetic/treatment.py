"""What was done about the problems: drugs, procedures, vaccines, and allergies to mind."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from researchflow_runners.source.synthetic.chart import Chart, without_nones
from researchflow_runners.source.synthetic.codes import (
    ACUTE,
    ALLERGENS,
    CHRONIC,
    CPT,
    CVX,
    MEDICATIONS,
    PROCEDURES,
    RXNORM,
    SNOMED,
    TERMINOLOGY,
    VACCINES,
    coded,
    coding,
    concept,
)
from researchflow_runners.source.synthetic.problem import Visit

ORDER_STATUSES = (
    "active", "active", "completed", "active", "stopped", "active", "on-hold", "active", "draft",
    "completed", "active", "cancelled", "active",
)  # fmt: skip
PROCEDURE_STATUSES = (
    "completed", "completed", "completed", "in-progress", "completed", "not-done", "completed",
    "completed", "preparation",
)  # fmt: skip


def treatments(chart: Chart, visits: list[Visit]) -> list[dict[str, Any]]:
    """Everything done at the visits, in order."""
    orders, procedures = count(1), count(1)
    found: list[dict[str, Any]] = []
    for visit in visits:
        if visit.problem is None:
            continue
        problem = (CHRONIC | ACUTE)[visit.problem]
        wanted = problem.medications
        if visit.problem == "diabetes" and chart.number % 3:
            wanted = wanted[:1]
        found += [_order(chart, visit, next(orders), name) for name in wanted]
        found += [_procedure(chart, visit, next(procedures), name) for name in problem.procedures]
    if chart.age >= 50:
        found.append(_procedure(chart, visits[-1], next(procedures), "colonoscopy"))
    found += [_vaccination(chart, visit, number) for number, visit in enumerate(visits[-3:])]
    if chart.number % 5 == 0:
        found.append(_allergy(chart, visits[0]))
    return found


def _order(chart: Chart, visit: Visit, number: int, name: str) -> dict[str, Any]:
    drug = MEDICATIONS[name]
    code = concept(drug.text, coding(RXNORM, drug.rxnorm, drug.text))
    ends = min(visit.day + timedelta(days=365), chart.last_day)
    medication: dict[str, Any] = {"medicationCodeableConcept": code}
    if name == "amoxicillin" and chart.number % 4 == 0:
        medication = {"medicationReference": {"reference": "Medication/medication-amoxicillin"}}
    return without_nones(
        {
            "resourceType": "MedicationRequest",
            "id": chart.id_of("medicationrequest", number),
            "status": chart.turn(ORDER_STATUSES, number),
            "intent": "order",
            "priority": chart.turn((None, "routine", "urgent"), number),
            **medication,
            "subject": chart.patient,
            "encounter": visit.reference,
            "authoredOn": chart.instant(visit.day).isoformat(),
            "requester": chart.clinician(number),
            "dosageInstruction": [
                {
                    "text": f"{drug.quantity:g} {drug.unit} {drug.per_day} times a day",
                    "timing": {
                        "repeat": {"frequency": drug.per_day, "period": 1, "periodUnit": "d"}
                    },
                    "route": concept(drug.route[1], coding(SNOMED, *drug.route)),
                    "doseAndRate": [{"doseQuantity": {"value": drug.quantity, "unit": drug.unit}}],
                }
            ],
            "dispenseRequest": {
                "validityPeriod": {"start": visit.day.isoformat(), "end": ends.isoformat()},
                "numberOfRepeatsAllowed": number % 4,
                "quantity": {"value": 30 * drug.per_day, "unit": drug.unit},
            },
        }
    )


def _procedure(chart: Chart, visit: Visit, number: int, name: str) -> dict[str, Any]:
    done = PROCEDURES[name]
    problem = visit.problem and (CHRONIC | ACUTE)[visit.problem]
    day = visit.day + timedelta(days=min(14, (chart.last_day - visit.day).days))
    starts = chart.instant(day)
    ends = starts + timedelta(minutes=90)
    when: dict[str, Any] = {"performedDateTime": starts.isoformat()}
    if done.is_surgical:
        when = {"performedPeriod": {"start": starts.isoformat(), "end": ends.isoformat()}}
    kind = ("387713003", "Surgical procedure") if done.is_surgical else ("103693007", "Diagnostic")
    codings = (coding(CPT, done.cpt, done.text), coding(SNOMED, done.snomed, done.text))
    return without_nones(
        {
            "resourceType": "Procedure",
            "id": chart.id_of("procedure", number),
            "status": chart.turn(PROCEDURE_STATUSES, number),
            "category": concept(kind[1], coding(SNOMED, *kind)),
            "code": concept(done.text, *codings[: 1 + (chart.number % 6 != 0)]),
            "subject": chart.patient,
            "encounter": visit.reference,
            **when,
            "recorder": chart.clinician(number),
            "performer": _performers(chart, number, is_surgical=done.is_surgical),
            "location": chart.ward(number),
            "reasonCode": [concept(problem.text, coding(SNOMED, problem.snomed, problem.text))]
            if problem
            else None,
            "bodySite": [concept(done.body_site[1], coding(SNOMED, *done.body_site))]
            if done.body_site
            else None,
            "outcome": {"text": "Successful"},
        }
    )


def _performers(chart: Chart, number: int, *, is_surgical: bool) -> list[dict[str, Any]] | None:
    """One; a surgeon and an anesthetist; none for a few."""
    if is_surgical:
        return [
            {"function": concept("Surgeon"), "actor": chart.clinician(number)},
            {"function": concept("Anesthetist"), "actor": chart.clinician(number + 1)},
        ]
    return None if chart.number % 8 == 0 else [{"actor": chart.clinician(number)}]


def _vaccination(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    code, text = VACCINES[number % len(VACCINES)]
    return without_nones(
        {
            "resourceType": "Immunization",
            "id": chart.id_of("immunization", number + 1),
            "status": chart.turn(("completed",) * 9 + ("not-done",), number),
            "vaccineCode": concept(text, coding(CVX, code, text)),
            "patient": chart.patient,
            "encounter": visit.reference,
            "occurrenceDateTime": visit.day.isoformat(),
            "primarySource": True,
            "lotNumber": f"LOT{chart.number:04d}",
            "location": chart.ward(number),
            "performer": [{"actor": chart.clinician(number)}],
        }
    )


def _allergy(chart: Chart, visit: Visit) -> dict[str, Any]:
    code, text, category = chart.turn(ALLERGENS, 0)
    verification = chart.turn(("confirmed", "confirmed", "unconfirmed", "refuted"), 0)
    rash = concept("Eruption of skin", coding(SNOMED, "271807003", "Eruption of skin"))
    return {
        "resourceType": "AllergyIntolerance",
        "id": chart.id_of("allergy", 1),
        "clinicalStatus": coded("allergyintolerance-clinical", "active"),
        "verificationStatus": {
            "coding": [
                {
                    "system": TERMINOLOGY + "allergyintolerance-verification",
                    "code": verification,
                }
            ]
        },
        "type": "allergy",
        "category": [category],
        "criticality": chart.turn(("low", "high"), 0),
        "code": concept(text, coding(SNOMED, code, text)),
        "patient": chart.patient,
        "encounter": visit.reference,
        "recordedDate": visit.day.isoformat(),
        "recorder": chart.clinician(0),
        "reaction": [{"manifestation": [rash], "severity": "mild"}],
    }
