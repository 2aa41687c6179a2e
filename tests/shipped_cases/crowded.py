"""One resource a view in which every list is filled twice and every coding has rivals.

Each column of each view has a value here, and a path that took another one would show it.
"""

from __future__ import annotations

from decimal import Decimal

from shipped_cases.build import (
    CAREPLAN,
    CLINICAL,
    CPT,
    CVX,
    ICD10CM,
    INTERPRETATION,
    LOINC,
    RXNORM,
    SCT,
    SECOND,
    TERMINOLOGY,
    US_CORE,
    Json,
    coding,
    concept,
    crowd,
    quantity,
    reference,
)

_CLINICAL = crowd(CLINICAL, "active")
_VERIFIED = crowd(TERMINOLOGY + "condition-ver-status", "confirmed")
_BASICS: Json = {
    "id": "crowded",
    "subject": reference("Patient/p"),
    "encounter": reference("Encounter/e"),
}
_PERFORMERS = [reference("Practitioner/p1"), reference("Practitioner/p2")]

PATIENT: Json = {
    "resourceType": "Patient",
    "id": "crowded",
    "active": True,
    "birthDate": "1950-01-02",
    "gender": "other",
    "deceasedDateTime": "2020-01-02T03:04:05Z",
    "name": [
        {"use": "official", "family": "First", "given": ["One", "Two"]},
        {"use": "official", "family": "Second", "given": ["Three"]},
    ],
    "telecom": [
        {"system": "phone", "use": "home", "value": "1"},
        {"system": "phone", "use": "home", "value": "2"},
        {"system": "email", "value": "a@example.org"},
        {"system": "email", "value": "b@example.org"},
    ],
    "address": [
        {
            "use": "home",
            "line": ["L"],
            "city": "C",
            "state": "S",
            "postalCode": "P",
            "country": "N",
        },
        {"use": "home", "line": ["M"], "city": "D"},
    ],
    "maritalStatus": crowd(TERMINOLOGY + "v3-MaritalStatus", "M"),
    "communication": [
        {
            "language": concept(
                coding("urn:ietf:bcp:47", "de"), coding("urn:ietf:bcp:47", "de-CH")
            ),
            "preferred": True,
        },
        {"language": concept(coding("urn:ietf:bcp:47", "fr")), "preferred": True},
    ],
    "extension": [
        {
            "url": US_CORE + extension,
            "extension": [
                {"url": "text", "valueString": text},
                {"url": "text", "valueString": "never"},
            ],
        }
        for extension in ("race", "ethnicity")
        for text in (f"{extension} 1", f"{extension} 2")
    ]
    + [{"url": US_CORE + "birthsex", "valueCode": sex} for sex in ("F", "M")],
}
CONDITION: Json = {
    **_BASICS,
    "resourceType": "Condition",
    "clinicalStatus": _CLINICAL,
    "verificationStatus": _VERIFIED,
    "category": [crowd(TERMINOLOGY + "condition-category", "problem-list-item"), SECOND],
    "severity": crowd(SCT, "255604002"),
    "code": concept(
        *crowd(SCT, "38341003")["coding"], *crowd(ICD10CM, "I10")["coding"], text="pressure"
    ),
    "onsetDateTime": "2001",
    "abatementDateTime": "2002",
    "recordedDate": "2003",
    "recorder": reference("Practitioner/r"),
}
MEDICATION_REQUEST: Json = {
    **_BASICS,
    "resourceType": "MedicationRequest",
    "status": "completed",
    "medicationCodeableConcept": crowd(RXNORM, "1", text="drug"),
    "dosageInstruction": [
        {
            "text": "first",
            "route": crowd(SCT, "2"),
            "timing": {"repeat": {"frequency": 3, "period": 4, "periodUnit": "h"}},
        },
        {
            "text": "second",
            "timing": {"repeat": {"frequency": 5, "period": 6, "periodUnit": "d"}},
        },
    ],
}
_VALUED: Json = {
    "valueCodeableConcept": crowd(SCT, "260385009", text="negative"),
    "interpretation": [crowd(INTERPRETATION, "N"), SECOND],
}
OBSERVATIONS: list[Json] = [
    {
        **_BASICS,
        **_VALUED,
        "resourceType": "Observation",
        "id": f"crowded-{category}",
        "status": "final",
        "category": [
            crowd(TERMINOLOGY + "observation-category", category),
            crowd("urn:local", category),
        ],
        "code": crowd(LOINC, "94500-6", text="text"),
        "effectiveDateTime": "2020-01-02",
        "issued": "2020-01-02T03:04:05Z",
        "performer": _PERFORMERS,
        "referenceRange": [
            {"low": quantity(1), "high": quantity(2)},
            {"low": quantity(3), "high": quantity(4)},
        ],
        "component": [
            {
                **_VALUED,
                "code": concept(coding(LOINC, code), text=f"text of {code}"),
            }
            for code in ("8480-6", "8462-4")
        ]
        + [
            {
                "code": concept(coding(LOINC, code)),
                "valueQuantity": quantity(Decimal("7.5"), "mm[Hg]"),
            }
            for code in ("8480-6", "8462-4")
        ],
    }
    for category in ("laboratory", "vital-signs")
]
VITAL_PERIOD: Json = {
    "resourceType": "Observation",
    "id": "period",
    "status": "final",
    "category": [concept(coding(None, "vital-signs"))],
    "code": concept(coding("urn:local", "HR", "Heart rate")),
    "effectivePeriod": {"start": "2020", "end": "2021"},
    "valueQuantity": quantity(Decimal("60.0"), "/min"),
    "component": [
        {
            "code": concept(coding(LOINC, code)),
            "valueQuantity": quantity(value, "mm[Hg]"),
        }
        for code, value in (("8480-6", 1), ("8480-6", 2), ("8462-4", 3), ("8462-4", 4))
    ],
}
VITAL_WORDS: Json = {
    "resourceType": "Observation",
    "id": "words",
    "status": "final",
    "category": [concept(coding(None, "vital-signs"))],
    "valueString": "normal",
}
VITAL_DRAFT: Json = {**VITAL_WORDS, "id": "draft", "status": "registered", "component": [{}]}
PROCEDURE: Json = {
    **_BASICS,
    "resourceType": "Procedure",
    "status": "completed",
    "category": crowd(SCT, "387713003"),
    "code": concept(*crowd(SCT, "80146002")["coding"], *crowd(CPT, "44950")["coding"]),
    "performedPeriod": {"start": "2020", "end": "2021"},
    "performer": [
        {"actor": reference("Practitioner/p1"), "function": crowd(SCT, "304292004")},
    ],
    "bodySite": [crowd(SCT, "66754008"), SECOND],
    "reasonCode": [crowd(SCT, "74400008"), SECOND],
}
ENCOUNTER: Json = {
    **_BASICS,
    "resourceType": "Encounter",
    "status": "cancelled",
    "class": coding(TERMINOLOGY + "v3-ActCode", "EMER"),
    "type": [crowd(SCT, "50849002", text="first"), SECOND],
    "period": {"start": "2020", "end": "2021"},
    "reasonCode": [crowd(SCT, "74400008"), SECOND],
    "hospitalization": {"dischargeDisposition": crowd("urn:discharge", "home")},
    "participant": [{"individual": one} for one in _PERFORMERS],
    "location": [
        {"location": reference("Location/l1")},
        {"location": reference("Location/l2")},
    ],
    "serviceProvider": reference("Organization/o"),
    "partOf": reference("Encounter/whole"),
}
IMMUNIZATION: Json = {
    "resourceType": "Immunization",
    "id": "crowded",
    "status": "completed",
    "patient": reference("Patient/p"),
    "encounter": reference("Encounter/e"),
    "vaccineCode": crowd(CVX, "140", text="flu"),
    "occurrenceDateTime": "2020",
    "primarySource": True,
    "lotNumber": "LOT",
    "expirationDate": "2021",
    "doseQuantity": quantity(Decimal("0.5"), "mL"),
    "performer": [{"actor": one} for one in _PERFORMERS],
    "location": reference("Location/l"),
}
ALLERGY: Json = {
    "resourceType": "AllergyIntolerance",
    "id": "crowded",
    "clinicalStatus": crowd(TERMINOLOGY + "allergyintolerance-clinical", "active"),
    "verificationStatus": crowd(TERMINOLOGY + "allergyintolerance-verification", "confirmed"),
    "type": "allergy",
    "category": ["food", "biologic"],
    "criticality": "high",
    "code": concept(
        coding(SCT, "91935009", "Peanut"), coding(RXNORM, "later", "Later"), text="peanut"
    ),
    "patient": reference("Patient/p"),
    "encounter": reference("Encounter/e"),
    "onsetDateTime": "2001",
    "recordedDate": "2002",
    "lastOccurrence": "2003",
    "recorder": reference("Patient/r"),
    "reaction": [
        {"severity": "mild", "manifestation": [crowd(SCT, "247472004"), SECOND]},
        {"severity": "severe", "manifestation": [SECOND]},
    ],
}
DIAGNOSTIC_REPORT: Json = {
    **_BASICS,
    "resourceType": "DiagnosticReport",
    "status": "final",
    "category": [crowd(TERMINOLOGY + "v2-0074", "LAB"), SECOND],
    "code": crowd(LOINC, "58410-2", text="text"),
    "effectiveDateTime": "2020-01-02",
    "issued": "2020-01-02T03:04:05Z",
    "performer": _PERFORMERS,
    "conclusion": "fine",
    "conclusionCode": [crowd(SCT, "17621005"), SECOND],
}
DIAGNOSTIC_PERIOD: Json = {
    "resourceType": "DiagnosticReport",
    "id": "period",
    "status": "corrected",
    "code": concept(coding("urn:local", "ECG", "Tracing")),
    "effectivePeriod": {"start": "2020", "end": "2021"},
}
CARE_PLAN: Json = {
    **_BASICS,
    "resourceType": "CarePlan",
    "status": "active",
    "intent": "order",
    "category": [
        concept(coding(CAREPLAN, "assess-plan"), text="first"),
        crowd(SCT, "735985000", text="later"),
    ],
    "title": "plan",
    "description": "what is planned",
    "period": {"start": "2020-01-02", "end": "2021"},
    "created": "2019-12-31T23:00:00Z",
    "author": reference("Practitioner/r"),
    "activity": [
        {"detail": {"code": crowd(SCT, "229065009", text="exercise")}},
        {"detail": {"code": SECOND}},
    ],
    "addresses": [reference("Condition/c1"), reference("Condition/c2")],
    "goal": [reference("Goal/g1"), reference("Goal/g2")],
}
RESOURCES: list[Json] = [
    PATIENT,
    CONDITION,
    MEDICATION_REQUEST,
    *OBSERVATIONS,
    VITAL_PERIOD,
    VITAL_WORDS,
    VITAL_DRAFT,
    PROCEDURE,
    ENCOUNTER,
    IMMUNIZATION,
    ALLERGY,
    DIAGNOSTIC_REPORT,
    DIAGNOSTIC_PERIOD,
    CARE_PLAN,
]
