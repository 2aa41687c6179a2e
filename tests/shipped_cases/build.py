"""Short ways to write FHIR JSON by hand."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
CPT = "http://www.ama-assn.org/go/cpt"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
CAREPLAN = "http://hl7.org/fhir/us/core/CodeSystem/careplan-category"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"


def coding(system: str | None, code: str, display: str | None = None) -> Json:
    parts = {"system": system, "code": code, "display": display}
    return {name: value for name, value in parts.items() if value is not None}


def concept(*codings: Json, text: str | None = None) -> Json:
    found: Json = {"coding": list(codings)} if codings else {}
    return found | ({"text": text} if text is not None else {})


def reference(text: str) -> Json:
    return {"reference": text}


def quantity(value: Any, unit: str | None = None, **more: str) -> Json:
    return {"value": value} | ({"unit": unit} if unit else {}) | more


def crowd(system: str, code: str, *, text: str | None = None) -> Json:
    """A concept whose wanted coding stands between a local one and another of its system."""
    return concept(
        coding("urn:local", "local", "Local"),
        coding(system, code, f"Display of {code}"),
        coding(system, "later", "Later"),
        text=text,
    )


#: A concept to stand second in a list.
SECOND = concept(coding("urn:second", "second", "Second"), text="second")
