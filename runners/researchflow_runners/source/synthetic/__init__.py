"""A hospital that does not exist: deterministic FHIR R4 resources for demonstrations and tests.

    hospital.py      hospital(): who has what, and everything about each patient
    codes.py         the clinical vocabulary and what belongs together
    chart.py         one patient's dates, chances and references
    person.py        Patient
    problem.py       Condition, Encounter
    measurement.py   Observation, DiagnosticReport
    plan.py          CarePlan
    treatment.py     MedicationRequest, Procedure, Immunization, AllergyIntolerance

Every name, address and number is invented. All dates hang on REFERENCE_DATE, so the same
arguments give the same bytes on any day.
"""

from researchflow_runners.source.synthetic.hospital import REFERENCE_DATE, hospital

__all__ = ["REFERENCE_DATE", "hospital"]
