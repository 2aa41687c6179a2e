"""The whole hospital, in an order in which references point backwards."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from researchflow_runners.source.synthetic.chart import (
    CLINICIANS,
    REFERENCE_DATE,
    WARDS,
    Chart,
)
from researchflow_runners.source.synthetic.codes import (
    ACUTE,
    CHRONIC,
    MEDICATIONS,
    RXNORM,
    coding,
    concept,
)
from researchflow_runners.source.synthetic.measurement import measurements
from researchflow_runners.source.synthetic.person import patient
from researchflow_runners.source.synthetic.plan import care_plans
from researchflow_runners.source.synthetic.problem import condition, encounter, visits
from researchflow_runners.source.synthetic.treatment import treatments

__all__ = ["CONDITIONS", "PATIENTS", "REFERENCE_DATE", "SEED", "hospital"]

PATIENTS = 105
CONDITIONS = 423
SEED = 20250630


def hospital(
    patients: int = PATIENTS, conditions: int = CONDITIONS, seed: int = SEED
) -> Iterator[dict[str, Any]]:
    """Resources of exactly so many patients with so many conditions between them.

    A patient brings about 100 resources: `hospital(1200, 4800)` is more than 100,000.
    """
    if patients < 0 or conditions < 0 or (conditions and not patients):
        raise ValueError("conditions need patients, and neither can be negative")
    yield from _house()
    for number, problems in enumerate(_problems(patients, conditions, seed), start=1):
        yield from _records(Chart(number, seed, problems))


def _records(chart: Chart) -> Iterator[dict[str, Any]]:
    seen = visits(chart)
    yield patient(chart)
    for number, visit in enumerate(seen, start=1):
        yield encounter(chart, visit, number)
    for number, visit in enumerate((one for one in seen if one.problem is not None), start=1):
        yield condition(chart, visit, number)
    yield from measurements(chart, seen)
    yield from treatments(chart, seen)
    yield from care_plans(chart, seen)


def _problems(patients: int, conditions: int, seed: int) -> list[tuple[str, ...]]:
    """Each patient's problems: chronic ones first come, acute ones fill up to the number."""
    chance = Random(f"{seed}/problems")
    wishes = [_wishes(Chart(number, seed), chance) for number in range(1, patients + 1)]
    found: list[list[str]] = [[] for _ in wishes]
    left = conditions
    for turn in range(len(CHRONIC)):
        for mine, wished in zip(found, wishes, strict=True):
            if turn < len(wished) and left:
                mine.append(wished[turn])
                left -= 1
    acute = tuple(ACUTE)
    for _ in range(left):
        found[chance.randrange(patients)].append(chance.choice(acute))
    return [tuple(mine) for mine in found]


def _wishes(chart: Chart, chance: Random) -> list[str]:
    """Chronic problems by chance and age; those who have diabetes have others more often."""
    wished: list[str] = []
    for name, problem in CHRONIC.items():
        likelier = 1.4 if "diabetes" in wished and name != "asthma" else 1.0
        hit = chance.random() < problem.chance * likelier
        if hit and chart.age >= problem.age_min:
            wished.append(name)
    return wished


def _house() -> Iterator[dict[str, Any]]:
    yield {
        "resourceType": "Organization",
        "id": "organization-1",
        "active": True,
        "name": "Hospital of the Synthetic Example",
        "address": [{"city": "Exampleville", "state": "MA", "country": "US"}],
    }
    for number in range(1, WARDS + 1):
        yield {
            "resourceType": "Location",
            "id": f"location-{number}",
            "status": "active",
            "name": f"Ward {number}",
            "managingOrganization": {"reference": "Organization/organization-1"},
        }
    for number in range(1, CLINICIANS + 1):
        yield {
            "resourceType": "Practitioner",
            "id": f"practitioner-{number}",
            "active": True,
            "name": [{"family": "Clinicianson", "given": [f"Doc{number}"], "prefix": ["Dr."]}],
            "gender": "female" if number % 2 else "male",
        }
    drug = MEDICATIONS["amoxicillin"]
    yield {
        "resourceType": "Medication",
        "id": "medication-amoxicillin",
        "status": "active",
        "code": concept(drug.text, coding(RXNORM, drug.rxnorm, drug.text)),
    }
