"""Buckets, ages, having and values by date in answers with groups: what they say and refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, condition, lab, open_clinic, patient
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_server.embedded import Services
from tool_server import module_stores

VIEWS = ("condition_diagnoses", "observation_labs", "patient_demographics", "patient_simple")
Json = dict[str, Any]
ACTIVE = {"coding": [{"code": "active"}]}


def diagnosis(name: str, of: str, onset: str | None) -> Json:
    made = condition(name, of, clinicalStatus=ACTIVE)
    return made if onset is None else {**made, "onsetDateTime": onset}


def measured(name: str, of: str, value: float, at: str) -> Json:
    return lab(name, of, value, effectiveDateTime=at)


RESOURCES = [
    patient("a", birthDate="1960-03-01"),
    patient("b", birthDate="1970", gender="male"),
    patient("c", birthDate="1950-01-01", deceasedDateTime="2020-06-01"),
    patient("hidden", birthDate="1980-01-01", active=False),
    diagnosis("d1", "a", "2010-02-28"),  # 49
    diagnosis("d2", "a", "2010-03-01T02:00:00+03:00"),  # the day before, in UTC: 49
    diagnosis("d3", "b", "2011-07"),  # 40 or 41
    diagnosis("d4", "c", "2023-05-05"),  # after death, at 70
    diagnosis("d5", "hidden", "2015"),  # of nobody that patient_demographics shows
    diagnosis("d6", "a", None),
    measured("l1", "a", 9.0, "2018-01-10"),
    measured("l2", "a", 8.5, "2019-07-01T00:30:00+02:00"),  # 30 June in UTC
    measured("l3", "a", 7.25, "2021"),
    measured("l4", "b", 6.0, "2018-12-31"),
    measured("l5", "b", 6.5, "2018-12-31"),
]


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        open_clinic(dsn, redis_url, views=compiled(*VIEWS)) as opened,
    ):
        await opened.put(*RESOURCES)
        await opened.refresh()
        yield opened


async def groups(clinic: Clinic, view: str, **asked: Any) -> tuple[dict[Any, Any], Answer]:
    """The last column by the first one."""
    answer: Answer = await clinic.ask(view, **asked)
    return {row[0]: row[-1] for row in answer.rows}, answer


async def test_ages_at_diagnosis_end_at_death_and_stay_open_where_dates_are(
    clinic: Clinic,
) -> None:
    at = {"age_at": "onset_datetime", "age_brackets": [40, 50]}
    found, answer = await groups(clinic, "condition_diagnoses", group_by=[at])
    assert found == {"40-49": 3, "50+": 1, None: 2}
    assert any("2 rows have no age" in one for one in answer.warnings)
    assert any('1 rows name a patient that view "patient_demographics"' in one
               for one in answer.warnings)  # fmt: skip
    assert answer.views == ("condition_diagnoses", "patient_demographics")


async def test_median_age_at_diagnosis_by_sex_is_one_question(clinic: Clinic) -> None:
    found, _answer = await groups(
        clinic,
        "condition_diagnoses",
        group_by=["patient.gender"],
        aggregates=[{"fn": "median", "age_at": "onset_datetime"}],
    )
    assert found == {"female": 49, "male": None, None: None}


async def test_a_column_of_the_patient_filters_and_is_shown(clinic: Clinic) -> None:
    where = {"column": "patient.birth_date", "op": "lt", "value": "1960"}
    answer: Answer = await clinic.ask(
        "condition_diagnoses", columns=["id", "patient.gender", "patient.birth_date"], where=where
    )
    assert answer.rows == (("d4", "female", "1950-01-01"),)


async def test_seasons_begin_in_their_month_and_partial_dates_in_none(clinic: Clinic) -> None:
    season = {"column": "effective_datetime", "bucket": "year", "starts": 7}
    found, answer = await groups(clinic, "observation_labs", group_by=[season])
    assert found == {"2017-07/2018-06": 1, "2018-07/2019-06": 3, None: 1}
    assert any('1 rows have a "effective_datetime" too partial' in one for one in answer.warnings)
    year = {"column": "effective_datetime", "bucket": "year"}
    found, answer = await groups(clinic, "observation_labs", group_by=[year])
    assert found == {"2018": 3, "2019": 1, "2021": 1}
    assert answer.warnings == ()


async def test_three_results_over_a_year_are_asked_of_groups(clinic: Clinic) -> None:
    asked: Json = {
        "aggregates": [{"fn": "count"}, {"fn": "span_days", "column": "effective_datetime"}],
        "having": {
            "all_of": [
                {"column": "count", "op": "ge", "value": 2},
                {"column": "span_days_effective_datetime", "op": "ge", "value": 365},
            ]
        },
    }
    found, _answer = await groups(clinic, "observation_labs", group_by=["patient_id"], **asked)
    assert found == {"a": 536}
    semi_join = {"column": "id", "query": {"view": "observation_labs", **asked}}
    answer: Answer = await clinic.ask("patient_simple", columns=["id"], where=semi_join)
    assert answer.rows == (("a",),)
    assert any("too partial to tell its day" in one for one in answer.warnings)


async def test_change_from_first_to_last_value_is_one_question(clinic: Clinic) -> None:
    fns = [{"fn": fn, "column": "value_quantity"} for fn in ("first", "last", "change")]
    answer: Answer = await clinic.ask(
        "observation_labs",
        group_by=["patient_id"],
        aggregates=fns,
        having={"column": "change_value_quantity", "op": "lt", "value": 0},
        order_by=[{"column": "change_value_quantity"}],
    )
    assert [tuple(map(str, row)) for row in answer.rows] == [("a", "9.0", "7.25", "-1.75")]
    # b's two values are of one day: the one with the lowest id is both the first and the last.
    assert answer.ties == 3


async def test_who_was_last_seen_long_ago_is_asked_by_a_relative_date(clinic: Clinic) -> None:
    asked: Json = {
        "group_by": ["patient_id"],
        "aggregates": [{"fn": "max", "column": "effective_datetime", "name": "seen"}],
        "having": {"column": "seen", "op": "lt", "value": "newest-1y"},
    }
    found, answer = await groups(clinic, "observation_labs", **asked)
    assert found == {"b": "2018-12-31"}
    assert any("2020-01-01" in one for one in answer.warnings)


async def test_numbers_group_by_width(clinic: Clinic) -> None:
    width = {"column": "value_quantity", "width": 2.5}
    found, _answer = await groups(clinic, "observation_labs", group_by=[width])
    assert found == {"5-<7.5": 3, "7.5-<10": 2}


REFUSED: list[tuple[str, Json, str, str]] = [
    ("group_by", {"column": "code", "bucket": "year"}, "aggregate_type", "group_by[0].column"),
    ("group_by", {"column": "code", "width": 5}, "aggregate_type", "group_by[0].column"),
    (
        "group_by",
        {"column": "effective_datetime", "width": 5},
        "aggregate_type",
        "group_by[0].column",
    ),
    ("group_by", {"column": "value_quantity", "width": 0}, "value_type", "group_by[0].width"),
    (
        "group_by",
        {"column": "issued", "bucket": "month", "starts": 7},
        "invalid_argument",
        "group_by[0].starts",
    ),
    ("group_by", {"column": "issued"}, "column_missing", "group_by[0]"),
    ("group_by", {"age_at": "code"}, "aggregate_type", "group_by[0].age_at"),
    ("group_by", {"age_at": "issued", "width": 0}, "value_type", "group_by[0].width"),
    (
        "group_by",
        {"age_at": "issued", "width": 5, "age_brackets": [5]},
        "invalid_argument",
        "group_by[0].width",
    ),
    ("group_by", "patient.shoe_size", "unknown_column", "group_by[0]"),
    ("aggregates", {"fn": "span_days", "column": "code"}, "aggregate_type", "aggregates[0].fn"),
    ("aggregates", {"fn": "change", "column": "code"}, "aggregate_type", "aggregates[0].fn"),
    (
        "aggregates",
        {"fn": "sum", "column": "value_quantity", "by": "issued"},
        "invalid_argument",
        "aggregates[0].by",
    ),
    (
        "aggregates",
        {"fn": "last", "column": "value_quantity", "by": "code"},
        "value_type",
        "aggregates[0].by",
    ),
]


@pytest.mark.parametrize(("argument", "part", "code", "field"), REFUSED)
async def test_a_group_that_cannot_be_made_is_refused_by_name(
    clinic: Clinic, argument: str, part: Json, code: str, field: str
) -> None:
    with pytest.raises(QueryError) as caught:
        await clinic.ask("observation_labs", **{argument: [part]})
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("asked", "code", "field", "hint"),
    [
        (
            {"having": {"column": "x", "op": "eq", "value": 1}},
            "invalid_argument",
            "having",
            "where",
        ),
        (
            {"group_by": ["code"], "having": {"column": "status", "op": "eq", "value": "final"}},
            "unknown_column",
            "having.column",
            "name a group or an aggregate",
        ),
        (
            {"group_by": ["code"], "having": {"column": "count", "op": "contains", "value": "1"}},
            "operator_not_allowed",
            "having.op",
            "",
        ),
        (
            {"group_by": ["code"], "order_by": [{"column": "issued"}]},
            "unknown_column",
            "order_by[0].column",
            '{"fn": "min", "column": "issued"}',
        ),
        (
            {
                "where": {
                    "column": "patient_id",
                    "query": {"view": "observation_labs", "aggregates": [{"fn": "count"}]},
                }
            },
            "invalid_argument",
            "where.query.aggregates",
            "having",
        ),
    ],
)
async def test_a_question_of_groups_that_cannot_be_asked_says_what_can(
    clinic: Clinic, asked: Json, code: str, field: str, hint: str
) -> None:
    with pytest.raises(QueryError) as caught:
        await clinic.ask("observation_labs", **asked)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert hint in str(caught.value.hint)


async def test_a_view_without_a_patient_has_none_of_its_columns(clinic: Clinic) -> None:
    with pytest.raises(QueryError) as caught:
        await clinic.ask("patient_simple", group_by=["encounter.class_code"])
    assert caught.value.code == "unknown_column"
    with pytest.raises(QueryError) as caught:
        await clinic.ask("observation_labs", aggregates=[{"fn": "median", "age_at": "nowhere"}])
    assert (caught.value.code, caught.value.field) == ("unknown_column", "aggregates[0].age_at")


async def test_units_mixed_in_a_semi_join_are_refused(clinic: Clinic) -> None:
    await clinic.cache(lab("u1", "b", 50, valueQuantity={"value": 50, "unit": "mmol/mol"}))
    query = {
        "view": "observation_labs",
        "aggregates": [{"fn": "avg", "column": "value_quantity", "name": "mean"}],
        "having": {"column": "mean", "op": "gt", "value": 1_000},
    }
    for value in (1, 1_000):
        query["having"] = {"column": "mean", "op": "gt", "value": value}
        with pytest.raises(QueryError) as caught:
            await clinic.ask("patient_simple", where={"column": "id", "query": query})
        assert (caught.value.code, caught.value.allowed) == ("units_mixed", ("value_unit",))
        assert caught.value.field == "where.query.aggregates[0]"
    await clinic.cache("Observation/u1")


async def test_groups_of_different_units_are_told(clinic: Clinic) -> None:
    await clinic.cache(
        lab("u3", "z", 50, effectiveDateTime="2031-01-01",
            valueQuantity={"value": 50, "unit": "mmol/mol"}),
        lab("u4", "z", 7, effectiveDateTime="2032-01-01"),
    )  # fmt: skip
    year = {"column": "effective_datetime", "bucket": "year"}
    where: Json = {"column": "patient_id", "op": "eq", "value": "z"}
    asked: Json = {"where": where, "aggregates": [{"fn": "avg", "column": "value_quantity"}]}
    apart = "of another unit in some groups"
    told = await clinic.ask("observation_labs", group_by=[year], **asked)
    assert [row[0] for row in told.rows] == ["2031", "2032"]
    assert sum(apart in warning for warning in told.warnings) == 1
    where["column"], where["value"] = "id", "u4"
    for query in ({**asked, "group_by": [year]}, {**asked, "group_by": [year, "value_unit"]}):
        found = await clinic.ask("observation_labs", **query)
        assert not any(apart in warning for warning in found.warnings)
    await clinic.cache("Observation/u3", "Observation/u4")


async def test_a_patients_column_may_choose_rows_without_being_shown(clinic: Clinic) -> None:
    where = {"column": "patient.gender", "op": "eq", "value": "female"}
    answer: Answer = await clinic.ask(
        "observation_labs", columns=["id"], where=where, latest_per="code"
    )
    assert answer.rows == (("l3",),)


async def test_groups_that_having_leaves_out_are_told_of_all_the_same(clinic: Clinic) -> None:
    await clinic.cache(lab("u2", "b", 50, valueQuantity={"value": 50, "unit": "mmol/mol"}))
    asked: Json = {
        "group_by": [{"column": "effective_datetime", "bucket": "month"}],
        "aggregates": [{"fn": "count"}],
        "having": {"column": "count", "op": "gt", "value": 1_000},
    }
    found, answer = await groups(clinic, "observation_labs", **asked)
    assert found == {}
    assert any("too partial to tell its month" in one for one in answer.warnings)
    mean: Json = {"fn": "avg", "column": "value_quantity", "name": "mean"}
    high = {"column": "mean", "op": "gt", "value": 1_000}
    with pytest.raises(QueryError) as caught:
        await clinic.ask("observation_labs", aggregates=[mean], having=high)
    assert caught.value.code == "units_mixed"
    await clinic.cache("Observation/u2")
