"""The oracle itself agrees with the official SQL-on-FHIR cases."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oracle import OracleError, rows

OFFICIAL = Path(__file__).resolve().parents[2] / "shared" / "sql-on-fhir" / "tests"


CASES = Path(__file__).parent / "cases"
#: Suites of the project's own whose every view that is not refused is the oracle's matter too.
OWN = ("durations", "quantities", "value_sets")


def own_cases() -> list[Any]:
    cases: list[Any] = []
    for name in OWN:
        suite = json.loads((CASES / f"{name}.json").read_text("utf-8"), parse_float=Decimal)
        for case in suite["tests"]:
            if not case.get("expectError"):
                cases.append(pytest.param(suite["resources"], case, id=f"{name}: {case['title']}"))
    return cases


def official_cases() -> list[Any]:
    cases: list[Any] = []
    for path in sorted(OFFICIAL.glob("*.json")):
        suite = json.loads(path.read_text("utf-8"), parse_float=Decimal)
        for number, case in enumerate(suite["tests"]):
            cases.append(pytest.param(suite["resources"], case, id=f"{path.stem}-{number}"))
    return cases or [
        pytest.param([], None, marks=pytest.mark.skip(reason="official cases are not here"))
    ]


def comparable(found: list[dict[str, Any]]) -> list[str]:
    plain = json.loads(json.dumps(found, default=float), parse_int=float)
    return sorted(json.dumps(row, sort_keys=True) for row in plain)


@pytest.mark.parametrize(("resources", "case"), official_cases())
def test_oracle_gives_the_rows_of_the_official_case(
    resources: list[dict[str, Any]], case: dict[str, Any]
) -> None:
    if case.get("expectError"):
        with pytest.raises(OracleError):
            rows(case["view"], resources)
        return
    found = rows(case["view"], resources)
    assert comparable(found) == comparable(case["expect"])
    if "expectColumns" in case:
        assert list(found[0]) == case["expectColumns"]


@pytest.mark.parametrize(("resources", "case"), own_cases())
def test_oracle_gives_the_rows_of_the_projects_own_case(
    resources: list[dict[str, Any]], case: dict[str, Any]
) -> None:
    assert comparable(rows(case["view"], resources)) == comparable(case["expect"])


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "birthDate": "1970-06",
    "deceasedBoolean": False,
    "name": [{"family": "F", "given": ["A", "B"]}],
    "link": [
        {"other": {"reference": "Patient/9/_history/2"}},
        {"other": {"reference": "urn:uuid:0"}},
        {"other": {"reference": "http://elsewhere/Patient/3"}},
        {"other": {"reference": "RelatedPerson/4"}},
    ],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("birthDate < @1970-07-01", [True]),
        ("birthDate < @1970-06-15", []),
        ("birthDate = @1970", []),
        ("birthDate = @1971", [False]),
        ("deceased.exists()", [True]),
        ("deceased.ofType(boolean) = true", [False]),
        ("gender = 'male'", []),
        ("gender = 'male' and false", [False]),
        ("gender = 'male' or true", [True]),
        ("name.given = 'A'", [False]),
        ("1 / 0", []),
        ("7 div 2", [3]),
        ("1 / 2", [Decimal("0.5")]),
        ("iif(gender.exists(), 'known', 'unknown')", ["unknown"]),
        ("name.given.join(' ') + ' ' + name.family", ["A B F"]),
        ("contact.name.given.join(' ')", []),
        ("link.other.getReferenceKey(Patient)", ["9"]),
        ("link.other.getReferenceKey()", ["9", "4"]),
    ],
)
def test_expression_has_the_value_of_the_standard(path: str, expected: list[Any]) -> None:
    column = {"name": "v", "path": path, "collection": True}
    view = {"resource": "Patient", "select": [{"column": [column]}]}
    assert rows(view, [PATIENT]) == [{"v": expected}]


def test_nothing_under_for_each_or_null_gives_one_row_of_nulls_for_the_subtree() -> None:
    view = {
        "resource": "Patient",
        "select": [
            {"column": [{"name": "id", "path": "id"}]},
            {
                "forEachOrNull": "contact",
                "column": [{"name": "literal", "path": "'x'"}],
                "select": [
                    {
                        "forEach": "telecom",
                        "column": [
                            {"name": "value", "path": "value"},
                            {"name": "number", "path": "%rowIndex"},
                        ],
                    }
                ],
            },
        ],
    }
    assert rows(view, [PATIENT]) == [{"id": "p1", "literal": None, "value": None, "number": 0}]
