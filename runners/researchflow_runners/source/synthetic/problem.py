"""Conditions and the encounters at which they and everything else were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from researchflow_runners.source.synthetic.chart import Chart, without_nones
from researchflow_runners.source.synthetic.codes import (
    ACUTE,
    CHRONIC,
    ICD10,
    SNOMED,
    TERMINOLOGY,
    coded,
    coding,
    concept,
)

#: Years back that the hospital's records go.
RECORD_YEARS = 6
CHRONIC_STATUSES = (
    "active", "active", "active", "recurrence", "active", "remission", "active", "inactive",
    "active", "relapse",
)  # fmt: skip
ACUTE_STATUSES = ("resolved", "resolved", "active", "resolved", "inactive", "resolved")


@dataclass(frozen=True, slots=True)
class Visit:
    """An encounter and why it took place; None for a check-up."""

    id: str
    day: date
    problem: str | None = None

    @property
    def reference(self) -> dict[str, str]:
        """Reference to the encounter."""
        return {"reference": f"Encounter/{self.id}"}


def visits(chart: Chart) -> list[Visit]:
    """One for each problem, and a check-up in each half of the last two years."""
    days: list[tuple[date, str | None]] = [
        (_onset(chart, problem), problem) for problem in chart.problems
    ]
    days += [(chart.last_day - timedelta(days=150 * back + 20), None) for back in range(5)]
    born = chart.birth_date
    days = [(max(day, born), problem) for day, problem in days]
    return [
        Visit(chart.id_of("encounter", number), day, problem)
        for number, (day, problem) in enumerate(sorted(days, key=lambda one: one[0]), start=1)
    ]


def _onset(chart: Chart, problem: str) -> date:
    years = RECORD_YEARS if problem in CHRONIC else 3
    first = chart.last_day - timedelta(days=365 * years)
    return chart.day_between(first, chart.last_day - timedelta(days=60))


def encounter(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    """The Encounter resource of a visit."""
    starts = chart.instant(visit.day)
    status = chart.turn(("finished",) * 24 + ("entered-in-error",), number)
    is_inpatient = visit.problem in ("coronary", "fibrillation", "influenza")
    hours = 76 if is_inpatient else 1
    kind = "IMP" if is_inpatient else "AMB"
    found = visit.problem and (CHRONIC | ACUTE)[visit.problem]
    return without_nones(
        {
            "resourceType": "Encounter",
            "id": visit.id,
            "status": status,
            "class": {"system": TERMINOLOGY + "v3-ActCode", "code": kind},
            "type": [
                concept("Hospital admission", coding(SNOMED, "32485007", "Hospital admission"))
                if is_inpatient
                else concept("Check-up", coding(SNOMED, "185349003", "Encounter for check up"))
            ],
            "subject": chart.patient,
            "participant": [{"individual": chart.clinician(number)}],
            "period": {
                "start": starts.isoformat(),
                "end": (starts + timedelta(hours=hours)).isoformat(),
            },
            "reasonCode": [concept(found.text, coding(SNOMED, found.snomed, found.text))]
            if found
            else None,
            "hospitalization": {"dischargeDisposition": {"text": "Home"}} if is_inpatient else None,
            "location": [{"location": chart.ward(number)}],
            "serviceProvider": {"reference": "Organization/organization-1"},
        }
    )


def condition(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    """The Condition resource of the problem that a visit was about."""
    assert visit.problem is not None
    is_chronic = visit.problem in CHRONIC
    verification = chart.turn(("confirmed",) * 17 + ("provisional", "refuted"), number)
    status: str | None = chart.turn(CHRONIC_STATUSES if is_chronic else ACUTE_STATUSES, number)
    if chart.turn((False,) * 37 + (True,), number):
        status, verification = None, "entered-in-error"
    severity = chart.turn((None, ("6736007", "Moderate"), None, ("24484000", "Severe")), number)
    ended = visit.day + timedelta(days=9) if status in ("resolved", "remission") else None
    return without_nones(
        {
            "resourceType": "Condition",
            "id": chart.id_of("condition", number),
            "clinicalStatus": status and coded("condition-clinical", status),
            "verificationStatus": coded("condition-ver-status", verification),
            "category": [coded("condition-category", _category(number))],
            "severity": severity and concept(severity[1], coding(SNOMED, *severity)),
            "code": _code(chart, visit.problem, number),
            "subject": chart.patient,
            "encounter": visit.reference,
            **_onset_of(chart, visit, number),
            "abatementDateTime": ended and ended.isoformat(),
            "recordedDate": (visit.day + timedelta(days=number % 3)).isoformat(),
            "recorder": chart.clinician(number),
        }
    )


def _category(number: int) -> str:
    return "problem-list-item" if number % 2 else "encounter-diagnosis"


def _code(chart: Chart, problem: str, number: int) -> dict[str, Any]:
    """ICD-10 and SNOMED side by side; for a few only one of them, or only words."""
    found = (CHRONIC | ACUTE)[problem]
    icd10 = coding(ICD10, found.icd10, found.text)
    snomed = coding(SNOMED, found.snomed, found.text)
    both = (icd10, snomed)
    codings = chart.turn((both, both, (snomed, icd10), both, (snomed,), both, (icd10,)), number)
    if problem in ACUTE and chart.turn((False,) * 11 + (True,), number):
        codings = ()
    return concept(found.text, *codings)


def _onset_of(chart: Chart, visit: Visit, number: int) -> dict[str, Any]:
    """A date or an instant; for a few a month, a year, an age, a period or nothing."""
    day = visit.day.isoformat()
    age = (visit.day - chart.birth_date).days // 365
    years = {"value": age, "unit": "years", "system": "http://unitsofmeasure.org", "code": "a"}
    forms: tuple[dict[str, Any], ...] = (
        {"onsetDateTime": day},
        {"onsetDateTime": f"{day}T09:15:00-05:00"},
        {"onsetDateTime": day},
        {"onsetAge": years},
        {"onsetDateTime": day[:7]},
        {"onsetDateTime": day},
        {"onsetPeriod": {"start": day, "end": (visit.day + timedelta(days=5)).isoformat()}},
        {"onsetDateTime": day[:4]},
        {"onsetDateTime": day},
        {},
        {"onsetDateTime": day},
    )
    return chart.turn(forms, number)
