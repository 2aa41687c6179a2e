"""Criteria as filters, without a server: ages, opposites, names, refusals."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from agents_ward import phenotype
from researchflow_agents.errors import AgentError
from researchflow_agents.phenotype import parse_phenotype
from researchflow_agents.phenotype.dates import earlier, years_before
from researchflow_agents.phenotype.reading import name_of
from researchflow_agents.phenotype.translation import truth_of
from researchflow_server.contract import Filter, Query

ON = date(2025, 6, 15)
LAB = {"kind": "lab", "codes": ["4548-4"]}


def filters(criterion: dict[str, Any]) -> tuple[Any, Any]:
    """The two filters of a criterion as JSON."""
    truth = truth_of(phenotype(criterion).all_of[0], on=ON)
    return plain(truth.holds), plain(truth.fails)


def plain(where: Filter) -> Any:
    return Query(view="v", where=where).model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )["where"]


def completed_years(born: date, on: date) -> int:
    """Age by the calendar; 29 February counts as 1 March in a common year."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def test_age_bound_separates_exactly_who_has_reached_the_age() -> None:
    for offset in range(0, 1500, 7):
        on = date(2023, 1, 1) + timedelta(days=offset)
        for years in (0, 1, 18, 64, 65):
            bound = years_before(on, years)
            assert completed_years(bound, on) >= years
            assert completed_years(bound + timedelta(days=1), on) < years or years == 0


@pytest.mark.parametrize(
    ("on", "years", "born"),
    [
        (date(2024, 2, 29), 1, date(2023, 2, 28)),
        (date(2024, 2, 29), 4, date(2020, 2, 29)),
        (date(2025, 2, 28), 65, date(1960, 2, 28)),
        (date(2025, 3, 1), 65, date(1960, 3, 1)),
    ],
)
def test_leap_days_move_the_bound(on: date, years: int, born: date) -> None:
    assert years_before(on, years) == born


def test_period_goes_back_by_months_then_days() -> None:
    assert earlier(date(2025, 3, 31), years=0, months=1, days=0) == date(2025, 2, 28)
    assert earlier(date(2025, 1, 15), years=1, months=2, days=3) == date(2023, 11, 12)
    with pytest.raises(AgentError):
        years_before(date(100, 1, 1), 200)


def test_age_is_a_bound_of_the_birth_date() -> None:
    holds, fails = filters({"kind": "demographics", "age_min": 40, "age_max": 60})
    assert holds == {
        "all_of": [
            {"column": "birth_date", "op": "le", "value": "1985-06-15"},
            {"column": "birth_date", "op": "gt", "value": "1964-06-15"},
        ]
    }
    assert fails == {
        "any_of": [
            {"column": "birth_date", "op": "gt", "value": "1985-06-15"},
            {"column": "birth_date", "op": "le", "value": "1964-06-15"},
        ]
    }


def test_threshold_is_one_semi_join_and_keeps_every_digit() -> None:
    holds, _fails = filters({**LAB, "value": [{"op": "gt", "value": "8.10"}], "unit": "%"})
    assert holds == {
        "column": "id",
        "op": "in",
        "query": {
            "view": "observation_labs",
            "column": "patient_id",
            "min_rows": 1,
            "where": {
                "all_of": [
                    {"column": "code", "op": "in", "value": ["4548-4"]},
                    {"column": "value_unit", "op": "in", "value": ["%"]},
                    {"column": "value_quantity", "op": "gt", "value": "8.10"},
                ]
            },
        },
    }


def test_not_exchanges_true_and_false() -> None:
    late = {**LAB, "window": {"from": "2024"}}
    holds, fails = filters(late)
    assert filters({"not": late}) == (fails, holds)
    assert filters({"not": {"not": late}}) == (holds, fails)
    assert holds != fails


@pytest.mark.parametrize(
    ("criterion", "decided"),
    [
        ({"kind": "demographics", "gender": "male"}, False),
        ({"kind": "demographics", "deceased": True}, True),
        (LAB, True),
        ({**LAB, "window": {"from": "2024"}}, False),
        ({"any_of": [LAB, {**LAB, "window": {"from": "2024"}}]}, False),
        ({"not": {"all_of": [LAB]}}, True),
    ],
)
def test_what_can_be_undecided_is_known(criterion: dict[str, Any], decided: bool) -> None:
    assert truth_of(phenotype(criterion).all_of[0], on=ON).decided is decided


def test_criterion_without_label_is_named_by_what_it_asks() -> None:
    criteria = phenotype({"not": {"any_of": [LAB, {"kind": "medication", "any": True}]}}).all_of
    assert name_of(criteria[0]) == "not lab 4548-4 or medication any"


@pytest.mark.parametrize(
    ("criterion", "code", "field"),
    [
        ({"kind": "death"}, "unsupported", "all_of.0"),
        ({**LAB, "within_6_months_before": "x"}, "unsupported", "all_of.0.within_6_months_before"),
        (
            {"not": {**LAB, "window": {"before": "diabetes"}}},
            "unsupported",
            "all_of.0.not.window.before",
        ),
        ({**LAB, "value": [{"op": "gt", "value": "8"}]}, "input_invalid", "all_of.0"),
        ({**LAB, "value": [{"op": "gt", "value": "x"}]}, "input_invalid", "all_of.0.value.0.value"),
        ({**LAB, "codes": []}, "input_invalid", "all_of.0.codes"),
        ({**LAB, "window": {}}, "input_invalid", "all_of.0.window"),
        ({"kind": "medication"}, "input_invalid", "all_of.0"),
        ({"kind": "condition", "system": "icd10", "codes": ["e11.9"]}, "input_invalid", "all_of.0"),
        (
            {"kind": "condition", "system": "snomed", "codes": ["44054006"], "prefix": True},
            "input_invalid",
            "all_of.0",
        ),
        (
            {"kind": "condition", "system": "icd10", "codes": ["E1"], "prefix": True},
            "input_invalid",
            "all_of.0",
        ),
        ({"kind": "demographics"}, "input_invalid", "all_of.0"),
        ({"kind": "demographics", "age_min": 9, "age_max": 8}, "input_invalid", "all_of.0"),
        ({"kind": "demographics", "gender": "females"}, "input_invalid", "all_of.0.gender.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(
    criterion: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(AgentError) as caught:
        phenotype({"label": "the one", **criterion})
    assert (caught.value.code, caught.value.info.field) == (code, field)
    if "." in field[len("all_of.0.") :]:
        assert '"the one"' in caught.value.message


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"title": "t"}, {"title": "t", "all_of": []}])
def test_what_is_no_phenotype_is_refused(raw: Any) -> None:
    with pytest.raises(AgentError):
        parse_phenotype(raw)
