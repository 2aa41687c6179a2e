"""Amounts of time and quantities that cannot be honoured are refused with their place."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import asyncpg
import pytest

from conformance import rows_of
from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.ucum import known_codes, unit_of
from researchflow_runners.errors import FhirPathError


def view_of(path: str, resource: str = "Patient") -> dict[str, Any]:
    """A view of one column."""
    return {"resource": resource, "select": [{"column": [{"name": "c", "path": path}]}]}


@pytest.mark.parametrize(
    ("path", "code", "span"),
    [
        ("birthDate + 5", "not_a_number", (0, 13)),
        ("birthDate - birthDate", "not_a_number", (0, 21)),
        ("birthDate * 2 years", "not_a_number", (0, 19)),
        ("6 months + birthDate", "not_a_number", (0, 20)),
        ("birthDate + 1 hour", "not_a_duration", (12, 18)),
        ("birthDate + 1 'mg'", "not_a_duration", (12, 18)),
        ("birthDate + 1 'a'", "not_a_duration", (12, 17)),
        ("@T10:00 + 1 week", "not_a_duration", (10, 16)),
        ("birthDate + iif(active, 1 day, 2 days)", "not_a_duration", (0, 38)),
        ("birthDate + 4001 years", "duration_too_long", (12, 22)),
        ("birthDate - 2000000 days", "duration_too_long", (12, 24)),
        ("5 '' = 5 ''", "invalid_unit", (0, 4)),
        ("5 'mg' > 5", "not_comparable", (0, 10)),
        ("multipleBirth > 5 'mg'", "not_comparable", (0, 22)),
        ("5 'mg' + 5 'mg'", "not_a_number", (0, 15)),
        ("name.memberOf('#x')", "unknown_value_set", (0, 19)),
        ("today(1)", "wrong_arguments", (0, 8)),
    ],
)
def test_misuse_is_refused_with_its_place(path: str, code: str, span: tuple[int, int]) -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of(path))
    assert caught.value.code == code
    assert caught.value.span is not None
    assert (caught.value.span.start, caught.value.span.end) == span
    assert caught.value.field == "select[0].column[0].path"
    assert caught.value.hint


def test_refused_amount_names_the_units_that_are_taken() -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of("@T10:00 + 1 week"))
    assert caught.value.allowed == ("hours", "minutes", "seconds", "milliseconds")


@pytest.mark.parametrize(
    ("code", "base", "factor"),
    [
        ("mg", "g", "0.001"),
        ("dag", "g", "10"),
        ("uL", "L", "0.000001"),
        ("dl", "L", "0.1"),
        ("nmol", "mol", "0.000000001"),
        ("mm", "m", "0.001"),
        ("ks", "s", "1000"),
        ("min", "s", "60"),
        ("a", "mo", "12"),
    ],
)
def test_unit_converts_exactly(code: str, base: str, factor: str) -> None:
    unit, of = unit_of(code), unit_of(base)
    assert unit is not None
    assert of is not None
    assert unit.base == of.base
    assert unit.factor / of.factor == Fraction(factor)


def test_no_code_is_two_units() -> None:
    codes = [code for units in known_codes().values() for code in units]
    assert len(codes) == len(set(codes))
    assert all(unit.factor > 0 for units in known_codes().values() for unit in units.values())


async def test_number_keeps_every_digit(connection: asyncpg.Connection) -> None:
    digits = "0.10000000000000000000000000000000000001"
    observation = {
        "resourceType": "Observation",
        "id": "o",
        "valueQuantity": {"value": 1, "system": "http://unitsofmeasure.org", "code": "kg"},
    }
    path = f"({digits} 'g').toString() & ' ' & (value.ofType(Quantity) > 999.{'9' * 40} 'g')"
    path += ".toString()"
    rows = await rows_of(connection, compile_view(view_of(path, "Observation")), [observation])
    assert rows == [{"c": f"{digits} 'g' true"}]


async def test_literal_is_a_quantity_of_its_own(connection: asyncpg.Connection) -> None:
    view = compile_view(view_of("4 years"))
    assert (view.columns[0].fhir_type, view.columns[0].pg_type) == ("Quantity", "jsonb")
    rows = await rows_of(connection, view, [{"resourceType": "Patient", "id": "p"}])
    system = "http://unitsofmeasure.org"
    assert rows == [{"c": {"value": 4, "unit": "years", "system": system, "code": "a"}}]
