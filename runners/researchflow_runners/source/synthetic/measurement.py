"""Laboratory results, vital signs, and the reports that gather them."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from researchflow_runners.source.synthetic.chart import Chart, without_nones
from researchflow_runners.source.synthetic.codes import (
    DIASTOLIC,
    LABS,
    LOINC,
    PRESSURE,
    SNOMED,
    SYSTOLIC,
    TERMINOLOGY,
    VITALS,
    Measure,
    coded,
    coding,
    concept,
    quantity,
)
from researchflow_runners.source.synthetic.problem import Visit

STATUSES = ("final",) * 22 + ("amended", "corrected", "preliminary", "entered-in-error")
#: One measurement in so many of a patient was cancelled and has no value.
_CANCELLED_EVERY = 61


def measurements(chart: Chart, visits: list[Visit]) -> list[dict[str, Any]]:
    """Observations of every visit; a panel and a report at each check-up."""
    numbers = count(1)
    found: list[dict[str, Any]] = []
    for visit in visits:
        found.append(_pressure(chart, visit, next(numbers)))
        found += [_observation(chart, visit, next(numbers), vital, "vital-signs")
                  for vital in VITALS]  # fmt: skip
        if visit.problem in (None, "diabetes", "kidney", "hyperlipidemia"):
            labs = [_observation(chart, visit, next(numbers), lab, "laboratory") for lab in LABS]
            labs.append(_worded(chart, visit, next(numbers)))
            found += [*labs, _report(chart, visit, labs)]
    return found


def _observation(
    chart: Chart, visit: Visit, number: int, measure: Measure, category: str
) -> dict[str, Any]:
    """One measured quantity, high for those who have the problem it tells of."""
    value = _value(chart, measure)
    cancelled = number % _CANCELLED_EVERY == 0
    low, high = measure.normal
    return without_nones(
        {
            **_head(chart, visit, number, category),
            "status": "cancelled" if cancelled else chart.turn(STATUSES, number),
            "code": concept(measure.text, coding(LOINC, measure.loinc, measure.text)),
            **_when(chart, visit, number),
            "valueQuantity": None if cancelled else quantity(value, measure.unit),
            "dataAbsentReason": coded("data-absent-reason", "error") if cancelled else None,
            "interpretation": None if cancelled else _interpretation(value, low, high),
            "referenceRange": _range(measure) if category == "laboratory" else None,
        }
    )


def _value(chart: Chart, measure: Measure) -> float:
    ill = measure.ill if chart.has(measure.problem) else None
    return chart.draw(*(ill or measure.usual), measure.digits)


def _head(chart: Chart, visit: Visit, number: int, category: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": chart.id_of("observation", number),
        "status": "final",
        "category": [coded("observation-category", category)],
        "subject": chart.patient,
        "encounter": visit.reference,
        "performer": [chart.clinician(number)],
    }


def _when(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    taken = chart.instant(visit.day)
    issued = (taken + timedelta(hours=3)).isoformat(timespec="milliseconds")
    if number % 31 == 0:
        period = {"start": taken.isoformat(), "end": (taken + timedelta(hours=1)).isoformat()}
        return {"effectivePeriod": period, "issued": issued}
    if number % 43 == 0:
        return {"effectiveDateTime": visit.day.isoformat()[:7]}
    return {"effectiveDateTime": taken.isoformat(), "issued": issued}


def _interpretation(value: float, low: float | None, high: float | None) -> list[dict[str, Any]]:
    code = "N"
    if high is not None and value > high:
        code = "H"
    elif low is not None and value < low:
        code = "L"
    return [{"coding": [{"system": TERMINOLOGY + "v3-ObservationInterpretation", "code": code}]}]


def _range(measure: Measure) -> list[dict[str, Any]]:
    low, high = measure.normal
    bounds = {"low": low, "high": high}
    return [
        {name: quantity(bound, measure.unit) for name, bound in bounds.items() if bound is not None}
    ]


def _worded(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    """A result in words: coded, or plain text."""
    answers: tuple[dict[str, Any], ...] = (
        {"valueCodeableConcept": concept("Negative", coding(SNOMED, "260385009", "Negative"))},
        {"valueString": "No growth after 48 hours"},
        {"valueCodeableConcept": concept("Positive", coding(SNOMED, "10828004", "Positive"))},
    )
    text = "Bacteria identified in Urine by Culture"
    return {
        **_head(chart, visit, number, "laboratory"),
        "code": concept(text, coding(LOINC, "630-4", text)),
        **_when(chart, visit, number),
        **chart.turn(answers, number),
    }


def _pressure(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    return {
        **_head(chart, visit, number, "vital-signs"),
        "status": chart.turn(STATUSES, number),
        "code": concept(PRESSURE[1], coding(LOINC, *PRESSURE)),
        **_when(chart, visit, number),
        "component": [
            {
                "code": concept(part.text, coding(LOINC, part.loinc, part.text)),
                "valueQuantity": quantity(_value(chart, part), part.unit),
            }
            for part in (SYSTOLIC, DIASTOLIC)
        ],
    }


def _report(chart: Chart, visit: Visit, labs: list[dict[str, Any]]) -> dict[str, Any]:
    text = "Comprehensive metabolic panel"
    return {
        "resourceType": "DiagnosticReport",
        "id": f"{visit.id}-report",
        "status": chart.turn(("final",) * 9 + ("partial", "amended"), len(visit.id)),
        "category": [coded("v2-0074", "LAB")],
        "code": concept(text, coding(LOINC, "24323-8", text)),
        "subject": chart.patient,
        "encounter": visit.reference,
        "effectiveDateTime": visit.day.isoformat(),
        "issued": f"{visit.day.isoformat()}T18:00:00Z",
        "performer": [{"reference": "Organization/organization-1"}],
        "result": [{"reference": f"Observation/{lab['id']}"} for lab in labs],
        "conclusion": "Values as listed",
    }
