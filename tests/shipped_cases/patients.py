"""Patients: without a name, dead in several ways, with several names."""

from __future__ import annotations

from typing import Any

from shipped_cases.build import US_CORE, Json, coding, concept


def patient(number: str, **elements: Any) -> Json:
    return {"resourceType": "Patient", "id": number, **elements}


PATIENTS: list[Json] = [
    patient("bare"),
    patient(
        "full",
        active=True,
        birthDate="1970-06",
        gender="female",
        deceasedBoolean=False,
        name=[
            {"use": "maiden", "family": "Before", "given": ["Old"]},
            {"use": "official", "family": "Doe", "given": ["Jane", "Mary"]},
        ],
        telecom=[
            {"system": "phone", "use": "mobile", "value": "m"},
            {"system": "email", "use": "work", "value": "e@example.org"},
            {"system": "phone", "use": "home", "value": "h"},
        ],
        address=[
            {"use": "work", "city": "Worktown"},
            {
                "use": "home",
                "line": ["1 Way", "Flat 2"],
                "city": "Hometown",
                "state": "MA",
                "postalCode": "02108",
                "country": "US",
            },
        ],
        maritalStatus=concept(
            coding("urn:local", "married"),
            coding("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "M"),
        ),
        communication=[
            {"language": concept(coding("urn:ietf:bcp:47", "es"))},
            {"language": concept(coding("urn:ietf:bcp:47", "en")), "preferred": True},
        ],
        extension=[
            {
                "url": US_CORE + "race",
                "extension": [
                    {"url": "ombCategory", "valueCoding": coding("urn:x", "2106-3", "White")},
                    {"url": "ombCategory", "valueCoding": coding("urn:x", "2028-9", "Asian")},
                    {"url": "text", "valueString": "White and Asian"},
                ],
            },
            {
                "url": US_CORE + "ethnicity",
                "extension": [{"url": "text", "valueString": "Not Hispanic"}],
            },
            {"url": US_CORE + "birthsex", "valueCode": "F"},
        ],
    ),
    patient("inactive", active=False, gender="male"),
    patient("dead", deceasedBoolean=True, name=[{"family": "Only"}]),
    patient("dated", deceasedDateTime="2020-05", name=[{"given": ["Just", "Given"]}]),
    patient("text", name=[{"text": "As Written"}], address=[{"city": "First"}, {"city": "Second"}]),
]
PATIENT_SIMPLE: list[Json] = [
    {"id": "bare", "patient_id": "bare"},
    {
        "id": "full",
        "patient_id": "full",
        "active": True,
        "birth_date": "1970-06",
        "gender": "female",
    },
    {"id": "inactive", "patient_id": "inactive", "active": False, "gender": "male"},
    {"id": "dead", "patient_id": "dead"},
    {"id": "dated", "patient_id": "dated"},
    {"id": "text", "patient_id": "text"},
]
PATIENT_DEMOGRAPHICS: list[Json] = [
    {"id": "bare", "patient_id": "bare", "deceased": False},
    {
        "id": "full",
        "patient_id": "full",
        "active": True,
        "birth_date": "1970-06",
        "gender": "female",
        "deceased": False,
        "family_name": "Doe",
        "given_name": "Jane",
        "full_name": "Jane Mary Doe",
        "phone": "h",
        "email": "e@example.org",
        "address_line": "1 Way, Flat 2",
        "city": "Hometown",
        "state": "MA",
        "postal_code": "02108",
        "country": "US",
        "race": "White and Asian",
        "ethnicity": "Not Hispanic",
        "birth_sex": "F",
        "marital_status": "M",
        "language": "en",
    },
    {
        "id": "dead",
        "patient_id": "dead",
        "deceased": True,
        "family_name": "Only",
        "full_name": "Only",
    },
    {
        "id": "dated",
        "patient_id": "dated",
        "deceased": True,
        "deceased_date": "2020-05",
        "given_name": "Just",
        "full_name": "Just Given",
    },
    {
        "id": "text",
        "patient_id": "text",
        "deceased": False,
        "full_name": "As Written",
        "city": "First",
    },
]
