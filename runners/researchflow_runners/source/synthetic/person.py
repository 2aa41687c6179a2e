"""Patients: demographics with everything that real ones leave out or record twice."""

from __future__ import annotations

from typing import Any

from researchflow_runners.source.synthetic.chart import Chart, without_nones
from researchflow_runners.source.synthetic.codes import TERMINOLOGY

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
FAMILIES = (
    "Sampleton", "Mockford", "Testerson", "Placeholder", "Fabricato", "Inventado", "Pretendwell",
    "Dummersby", "Makebelieve", "Notareal", "Fictiano",
)  # fmt: skip
GIVEN_FEMALE = ("Alpha", "Beta", "Gamma", "Delta", "Zeta", "Theta", "Iota")
GIVEN_MALE = ("Kappa", "Lambda", "Sigma", "Omicron", "Tau", "Upsilon", "Omega")
CITIES = (
    ("Exampleville", "MA", "00001"), ("Samplebury", "NY", "00002"), ("Testopolis", "CA", "00003"),
    ("Mocktown", "TX", "00004"),
)  # fmt: skip
RACES = (
    ("2106-3", "White"), ("2106-3", "White"), ("2054-5", "Black or African American"),
    ("2028-9", "Asian"), ("2106-3", "White"),
    ("1002-5", "American Indian or Alaska Native"),
)  # fmt: skip
ETHNICITIES = (
    ("2186-5", "Not Hispanic or Latino"), ("2186-5", "Not Hispanic or Latino"),
    ("2135-2", "Hispanic or Latino"),
)  # fmt: skip
_OMB = "urn:oid:2.16.840.1.113883.6.238"


def gender_of(chart: Chart) -> str:
    """Mostly female and male in turn; a few other and unknown."""
    if chart.number % 50 == 0:
        return "unknown"
    if chart.number % 35 == 0:
        return "other"
    return "female" if chart.number % 2 else "male"


def patient(chart: Chart) -> dict[str, Any]:
    """The Patient resource."""
    number = chart.number
    active = False if number % 19 == 0 else None if number % 4 == 0 else True
    return without_nones(
        {
            "resourceType": "Patient",
            "id": chart.patient_id,
            "meta": {"profile": [US_CORE + "us-core-patient"]},
            "extension": _extensions(chart) if number % 16 else None,
            "identifier": [{"system": "https://hospital.example/mrn", "value": f"MRN{number:06d}"}],
            "active": active,
            "name": _names(chart) if number % 29 else None,
            "telecom": _telecom(number) if number % 9 else None,
            "gender": gender_of(chart) if number % 60 else None,
            "birthDate": _birth_date(chart),
            **_deceased(chart),
            "address": _addresses(number) if number % 14 else None,
            "maritalStatus": _marital_status(chart),
            "communication": [
                {
                    "language": {
                        "coding": [
                            {
                                "system": "urn:ietf:bcp:47",
                                "code": "es" if number % 6 == 0 else "en-US",
                            }
                        ]
                    },
                    "preferred": True,
                }
            ],
            "generalPractitioner": [chart.clinician(0)],
            "managingOrganization": {"reference": "Organization/organization-1"},
        }
    )


def _birth_date(chart: Chart) -> str | None:
    """A full date; for a few a month, a year or nothing."""
    full = chart.birth_date.isoformat()
    if chart.number % 41 == 0:
        return None
    if chart.number % 33 == 0:
        return full[:4]
    return full[:7] if chart.number % 21 == 0 else full


def _deceased(chart: Chart) -> dict[str, Any]:
    if chart.died is not None:
        return {"deceasedDateTime": f"{chart.died.isoformat()}T20:30:00Z"}
    if chart.number % 17 == 0:
        return {"deceasedBoolean": True}
    return {"deceasedBoolean": False} if chart.number % 5 == 0 else {}


def _names(chart: Chart) -> list[dict[str, Any]]:
    number = chart.number
    given = (GIVEN_FEMALE if gender_of(chart) == "female" else GIVEN_MALE)[number % 7]
    official = {
        "use": "official",
        "family": f"{FAMILIES[number % len(FAMILIES)]}",
        "given": [given, f"Synth{number}"],
    }
    if number % 8 == 0:
        return [{"use": "nickname", "given": [f"Nick{number}"]}, official]
    if number % 23 == 0:
        return [{"text": f"{given} {official['family']}"}]
    return [official]


def _telecom(number: int) -> list[dict[str, Any]]:
    home = {"system": "phone", "use": "home", "value": f"555-01{number % 100:02d}"}
    work = {"system": "phone", "use": "work", "value": f"555-02{number % 100:02d}"}
    email = {"system": "email", "value": f"synth{number}@example.org"}
    return [work, home] if number % 3 == 0 else [home, email]


def _addresses(number: int) -> list[dict[str, Any]]:
    city, state, postal_code = CITIES[number % len(CITIES)]
    home = {
        "use": "home",
        "line": [f"{number} Example Street"] + ["Unit 2"] * (number % 11 == 0),
        "city": city,
        "state": state,
        "postalCode": postal_code,
        "country": "US",
    }
    old = {"use": "old", "line": ["1 Former Road"], "city": "Oldtown", "state": "OH"}
    return [old, home] if number % 10 == 0 else [home]


def _marital_status(chart: Chart) -> dict[str, Any] | None:
    if chart.age < 18:
        return None
    code, display = chart.turn((("M", "Married"), ("S", "Never Married"), ("W", "Widowed")), 0)
    system = TERMINOLOGY + "v3-MaritalStatus"
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _extensions(chart: Chart) -> list[dict[str, Any]]:
    sex = {"female": "F", "male": "M"}.get(gender_of(chart), "UNK")
    return [
        _category("us-core-race", *chart.turn(RACES, 0)),
        _category("us-core-ethnicity", *chart.turn(ETHNICITIES, 0)),
        {"url": US_CORE + "us-core-birthsex", "valueCode": sex},
    ]


def _category(name: str, code: str, display: str) -> dict[str, Any]:
    value = {"system": _OMB, "code": code, "display": display}
    return {
        "url": US_CORE + name,
        "extension": [
            {"url": "ombCategory", "valueCoding": value},
            {"url": "text", "valueString": display},
        ],
    }
