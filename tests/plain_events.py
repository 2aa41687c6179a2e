"""The events of patients told by plain Python from their raw resources, sharing no code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Json = dict[str, Any]

SCT = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
CPT = "http://www.ama-assn.org/go/cpt"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
DONE = ("final", "amended", "corrected")


def events(resources: Iterable[Json]) -> list[Json]:
    """One event a resource, in no order; those that are no event are left out."""
    found = []
    for one in resources:
        tell = TELLERS.get(one["resourceType"])
        for event in tell(one) if tell else ():
            whole = dict.fromkeys(("date", "code", "system", "display", "value", "unit", "status"))
            found.append({**whole, "id": one["id"], "patient_id": patient(one), **event})
    return found


def patient(one: Json) -> str | None:
    if one["resourceType"] == "Patient":
        return str(one["id"])
    kind, _, key = (
        (one.get("subject") or one.get("patient") or {}).get("reference", "").partition("/")
    )
    return key if kind == "Patient" else None


def chosen(codings: list[Json], *systems: str) -> Json:
    """The first coding of the first system that has one, else the first; as code and display."""
    for system in systems:
        for coding in codings:
            if coding.get("system") == system:
                return coding
    return codings[0] if codings else {}


def named(concepts: list[Json], *systems: str) -> Json:
    """Code, system and display of the concepts, for a column that names one system."""
    codings = [coding for concept in concepts for coding in concept.get("coding", ())]
    coding = chosen(codings, *systems)
    text = next((one.get("text") for one in concepts), None)
    return {
        "code": coding.get("code"),
        "system": coding.get("system"),
        "display": coding.get("display") or text,
    }


def of_systems(concept: Json, *systems: str) -> Json:
    """The same for columns of these systems alone."""
    known = [one for one in concept.get("coding", ()) if one.get("system") in systems]
    return named([{"coding": known, "text": concept.get("text")}], *systems)


def condition(one: Json) -> list[Json]:
    status = next(
        (coding["code"] for coding in one.get("clinicalStatus", {}).get("coding", ())), None
    )
    checked = [coding["code"] for coding in one.get("verificationStatus", {}).get("coding", ())]
    date = one.get("onsetDateTime") or one.get("onsetPeriod", {}).get("start")
    event = {"kind": "condition", "status": status, "date": date or one.get("recordedDate")}
    if status in ("active", "recurrence", "relapse", "resolved", "remission"):
        code = of_systems(one.get("code", {}), SCT, ICD10)
        return [{**event, "view": "condition_diagnoses", **code}]
    codings = one.get("code", {}).get("coding", ())
    if status != "inactive" or "entered-in-error" in checked or not codings:
        return []
    coding = chosen(codings, SCT)
    date = one.get("onsetDateTime") or one.get("recordedDate")
    code = {name: coding.get(name) for name in ("code", "system", "display")}
    return [{**event, "view": "condition_codes", "date": date, **code}]


def medication(one: Json) -> list[Json]:
    if one["status"] not in ("active", "completed", "on-hold", "stopped"):
        return []
    dosage = next(iter(one.get("dosageInstruction", ())), {})
    dose = next(iter(dosage.get("doseAndRate", ())), {}).get("doseQuantity", {})
    return [
        {
            "kind": "medication",
            "view": "medication_requests",
            "date": one.get("authoredOn"),
            "status": one["status"],
            "value": number(dose.get("value")) or dosage.get("text"),
            "unit": dose.get("unit"),
            **named([one.get("medicationCodeableConcept", {})], RXNORM),
        }
    ]


def observation(one: Json) -> list[Json]:
    if one["status"] not in DONE:
        return []
    categories = {
        coding.get("code") for part in one.get("category", ()) for coding in part.get("coding", ())
    }
    period = one.get("effectivePeriod", {}).get("start")
    event = {
        "date": one.get("effectiveDateTime") or period or one.get("issued"),
        "status": one["status"],
        "unit": one.get("valueQuantity", {}).get("unit"),
        **named([one["code"]], LOINC),
    }
    coded = chosen(one.get("valueCodeableConcept", {}).get("coding", []), SCT).get("code")
    words = one.get("valueString") or coded
    amount = number(one.get("valueQuantity", {}).get("value"))
    found = []
    if "laboratory" in categories:
        found.append({**event, "kind": "lab", "view": "observation_labs", "value": amount or words})
    if "vital-signs" in categories:
        value = amount or pressure(one) or words
        found.append({**event, "kind": "vital_sign", "view": "vital_signs", "value": value})
    return found


def pressure(one: Json) -> str | None:
    parts = {
        coding["code"]: number(part["valueQuantity"]["value"])
        for part in one.get("component", ())
        for coding in part["code"]["coding"]
        if "valueQuantity" in part
    }
    return "/".join(parts[code] or "" for code in ("8480-6", "8462-4") if code in parts) or None


def procedure(one: Json) -> list[Json]:
    if one["status"] not in ("completed", "in-progress"):
        return []
    return [
        {
            "kind": "procedure",
            "view": "procedure_history",
            "date": one.get("performedDateTime") or one.get("performedPeriod", {}).get("start"),
            "status": one["status"],
            "value": one.get("outcome", {}).get("text"),
            **of_systems(one.get("code", {}), SCT, CPT),
        }
    ]


def encounter(one: Json) -> list[Json]:
    if one["status"] == "entered-in-error":
        return []
    return [
        {
            "kind": "encounter",
            "view": "encounters",
            "date": one.get("period", {}).get("start"),
            "status": one["status"],
            "value": one["class"]["code"],
            **named(one.get("type", [])[:1], SCT),
        }
    ]


def immunization(one: Json) -> list[Json]:
    if one["status"] != "completed":
        return []
    dose = one.get("doseQuantity", {})
    return [
        {
            "kind": "immunization",
            "view": "immunizations",
            "date": one.get("occurrenceDateTime"),
            "status": one["status"],
            "value": number(dose.get("value")) or one.get("occurrenceString"),
            "unit": dose.get("unit"),
            **named([one["vaccineCode"]], CVX),
        }
    ]


def allergy(one: Json) -> list[Json]:
    checked = {coding["code"] for coding in one.get("verificationStatus", {}).get("coding", ())}
    if checked & {"refuted", "entered-in-error"}:
        return []
    status = one.get("clinicalStatus", {}).get("coding", [{}])[0].get("code")
    return [
        {
            "kind": "allergy",
            "view": "allergies",
            "date": one.get("onsetDateTime") or one.get("recordedDate"),
            "status": status,
            "value": one.get("criticality"),
            **named([one["code"]]),
        }
    ]


def report(one: Json) -> list[Json]:
    if one["status"] not in (*DONE, "appended"):
        return []
    period = one.get("effectivePeriod", {}).get("start")
    return [
        {
            "kind": "report",
            "view": "diagnostic_reports",
            "date": one.get("effectiveDateTime") or period or one.get("issued"),
            "status": one["status"],
            "value": one.get("conclusion"),
            **named([one["code"]], LOINC),
        }
    ]


def care_plan(one: Json) -> list[Json]:
    if one["status"] == "entered-in-error":
        return []
    kinds = [
        part
        for part in one.get("category", ())
        if any(coding.get("system") == SCT for coding in part.get("coding", ()))
    ]
    return [
        {
            "kind": "care_plan",
            "view": "care_plans",
            "date": one.get("period", {}).get("start") or one.get("created"),
            "status": one["status"],
            "value": one.get("description"),
            **named(kinds or one.get("category", []), SCT),
        }
    ]


def death(one: Json) -> list[Json]:
    died_at = one.get("deceasedDateTime")
    if one.get("active") is False or not (died_at or one.get("deceasedBoolean")):
        return []
    return [{"kind": "death", "view": "patient_demographics", "date": died_at}]


def number(value: Any) -> str | None:
    return None if value is None else str(value)


TELLERS: dict[str, Callable[[Json], list[Json]]] = {
    "Patient": death,
    "Condition": condition,
    "MedicationRequest": medication,
    "Observation": observation,
    "Procedure": procedure,
    "Encounter": encounter,
    "Immunization": immunization,
    "AllergyIntolerance": allergy,
    "DiagnosticReport": report,
    "CarePlan": care_plan,
}
