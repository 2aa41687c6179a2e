"""A constant that can never match is refused with what to write; whatever may match is asked."""

from __future__ import annotations

import pytest

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.comparison import compare_truth
from researchflow_runners.query.model import Compare, Operator, Scalar
from researchflow_runners.sql import fixed

CODED = Column("code", "code", "text", system="http://snomed.info/sct")
STATUS = Column("status", "code", "text")
DISPLAY = Column("display", "string", "text")


def asked(column: Column, op: Operator, value: Scalar | list[Scalar]) -> object:
    compare = Compare(column=column.name, op=op, value=value)
    return compare_truth(compare, column, fixed("t"), field="where")


@pytest.mark.parametrize("column", [CODED, STATUS])
@pytest.mark.parametrize(
    "value",
    [
        "http://snomed.info/sct|38341003",
        "https://loinc.org|4548-4",
        "urn:oid:2.16.840.1.113883.6.96|38341003",
        "http://snomed.info/sct|",
        "SNOMED:38341003",
        "snomed ct: 38341003",
        "ICD-10-CM|E11.9",
        "loinc|4548-4",
    ],
)
def test_a_code_with_its_system_is_refused(column: Column, value: str) -> None:
    for op, given in (("eq", value), ("ne", value), ("starts_with", value), ("in", ["a", value])):
        with pytest.raises(QueryError) as caught:
            asked(column, op, given)  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.field) == ("value_never_matches", "where.value")
        assert "alone" in caught.value.hint
        assert value not in caught.value.message


@pytest.mark.parametrize("value", ["%diab%", "diab%", "%", "% diab", "%50 %a"])
def test_a_pattern_of_like_is_refused(value: str) -> None:
    for op in ("contains", "starts_with"):
        if value == "%":
            assert asked(DISPLAY, op, value)  # type: ignore[arg-type]
            continue
        with pytest.raises(QueryError) as caught:
            asked(DISPLAY, op, value)  # type: ignore[arg-type]
        assert caught.value.code == "value_never_matches"


@pytest.mark.parametrize(
    ("column", "op", "value"),
    [
        (DISPLAY, "contains", "dextrose 5%"),
        (DISPLAY, "contains", "5 % in water"),
        (DISPLAY, "eq", "%diab%"),
        (DISPLAY, "eq", "http://snomed.info/sct|38341003"),
        (CODED, "eq", "38341003"),
        (CODED, "in", ["a|b", "local:1"]),
        (CODED, "eq", "http://example.org/code"),
        (STATUS, "eq", "in-progress"),
    ],
)
def test_what_may_match_is_asked(
    column: Column, op: Operator, value: Scalar | list[Scalar]
) -> None:
    assert asked(column, op, value)
