"""A number compared with a constant over rows of several units is told, wherever it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, lab, open_clinic, patient
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid import compared_units
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import Query, SqlQuery
from researchflow_server.embedded import Services
from tool_server import module_stores

Json = dict[str, Any]
EGFR = {"coding": [{"system": "http://loinc.org", "code": "33914-3"}]}


def egfr(name: str, of: str, value: float, unit: str | None) -> Json:
    quantity = {"value": value} if unit is None else {"value": value, "unit": unit}
    return lab(name, of, code=EGFR, valueQuantity=quantity)


def among(column: str, op: str, value: Any) -> Json:
    return {"column": column, "op": op, "value": value}


IS_EGFR = among("code", "eq", "33914-3")
LOW = among("value_quantity", "lt", 60)
LOW_EGFR = {"all_of": [IS_EGFR, LOW]}
ONE_UNIT = among("value_unit", "eq", "mL/min")


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    async with (
        module_stores(services, number=10) as (dsn, redis_url),
        open_clinic(dsn, redis_url) as opened,
    ):
        await opened.put(
            patient("a"),
            patient("b"),
            egfr("1", "a", 50, "mL/min/1.73m2"),
            egfr("2", "b", 55, "mL/min/1.73m2"),
            egfr("3", "b", 70, "mL/min/1.73m2"),
            egfr("4", "b", 40, "mL/min"),
            lab("5", "a", 7.5),
        )
        await opened.refresh()
        yield opened


def told(answer: Answer) -> tuple[str, ...]:
    return tuple(one for one in answer.warnings if "value_unit" in one)


def of_labs(**asked: Any) -> Json:
    return {"column": "id", "op": "in", "query": {"view": "observation_labs", **asked}}


async def test_a_comparison_over_several_units_names_them_and_the_way_out(clinic: Clinic) -> None:
    answer = await clinic.ask("observation_labs", where=LOW_EGFR, columns=["id"])
    assert answer.row_count == 3
    assert told(answer) == (
        '"value_quantity" of view "observation_labs" is compared in 2 units of "value_unit": '
        'mL/min/1.73m2 (3 rows), mL/min (1 rows); keep to one: add {"column": "value_unit", '
        '"op": "eq", "value": "mL/min/1.73m2"} beside the comparison',
    )


@pytest.mark.parametrize(
    "where",
    [
        LOW,
        {"all_of": [IS_EGFR, among("value_quantity", "in", [50, 40])]},
        {"all_of": [IS_EGFR, {"not": LOW}]},
        {"any_of": [LOW_EGFR, among("code", "eq", "4548-4")]},
        {"at_least": {"n": 1, "of": [LOW_EGFR, IS_EGFR]}},
        {"all_of": [LOW_EGFR, among("value_unit", "in", ["mL/min", "mL/min/1.73m2"])]},
    ],
)
async def test_it_is_told_wherever_the_comparison_stands(clinic: Clinic, where: Json) -> None:
    assert len(told(await clinic.ask("observation_labs", where=where))) == 1


@pytest.mark.parametrize(
    "where",
    [
        of_labs(where=LOW_EGFR),
        of_labs(where=IS_EGFR, latest_per={"key": "patient_id", "where": LOW}),
        {
            "column": "id",
            "query": {"view": "observation_labs", "where": IS_EGFR,
                      "first_per": {"key": "patient_id", "where": LOW}},
            "op": "not_in",
        },
    ],
)  # fmt: skip
async def test_it_is_told_of_another_views_rows(clinic: Clinic, where: Json) -> None:
    assert len(told(await clinic.ask("patient_simple", where=where))) == 1


async def test_it_is_told_of_the_rows_that_are_kept_and_of_events(clinic: Clinic) -> None:
    latest = {"key": "patient_id", "where": LOW}
    assert told(await clinic.ask("observation_labs", where=IS_EGFR, latest_per=latest))
    window = {
        "days": 30,
        "side": "either",
        "of": {"view": "observation_labs", "column": "patient_id", "where": LOW_EGFR},
    }
    within = {"column": "patient_id", "within": window}
    assert told(await clinic.ask("observation_labs", where=within))


@pytest.mark.parametrize(
    "where",
    [
        {"all_of": [LOW_EGFR, ONE_UNIT]},
        {"all_of": [ONE_UNIT, {"any_of": [LOW, among("value_quantity", "gt", 90)]}]},
        {"all_of": [LOW, among("value_unit", "in", ["mL/min"])]},
        {"all_of": [LOW, among("value_unit", "contains", "1.73")]},
        {"all_of": [among("code", "eq", "4548-4"), among("value_quantity", "gt", 7)]},
        {"all_of": [IS_EGFR, {"column": "value_quantity", "op": "not_null"}]},
        IS_EGFR,
    ],
)
async def test_nothing_is_told_of_one_unit(clinic: Clinic, where: Json) -> None:
    assert told(await clinic.ask("observation_labs", where=where)) == ()


async def test_a_unit_of_a_waiting_change_is_told_until_it_leaves(clinic: Clinic) -> None:
    where = {"all_of": [among("code", "eq", "4548-4"), among("value_quantity", "gt", 7)]}
    assert told(await clinic.ask("observation_labs", where=where)) == ()
    await clinic.cache(lab("6", "a", 58, valueQuantity={"value": 58}))
    (warning,) = told(await clinic.ask("observation_labs", where=where))
    assert "no unit (1 rows)" in warning
    await clinic.cache("Observation/6")
    assert told(await clinic.ask("observation_labs", where=where)) == ()


async def test_five_units_are_named_and_the_others_counted(clinic: Clinic) -> None:
    await clinic.cache(*(egfr(f"u{n}", "a", 10, f"unit {n}") for n in range(6)))
    (warning,) = told(await clinic.ask("observation_labs", where=LOW_EGFR))
    assert "8 units" in warning
    assert "and 3 more" in warning or ", 3 more;" in warning
    await clinic.cache(*(f"Observation/u{n}" for n in range(6)))


@pytest.mark.parametrize("fn", ["min", "max", "any_value"])
async def test_having_over_numbers_of_several_units_is_refused(clinic: Clinic, fn: str) -> None:
    having = among("v", "lt", 60)
    aggregates = [{"fn": fn, "column": "value_quantity", "name": "v"}]
    for asked in (
        {"group_by": ["code"], "aggregates": aggregates, "having": having},
        {"group_by": ["value_quantity"], "having": LOW},
    ):
        with pytest.raises(QueryError) as caught:
            await clinic.ask("observation_labs", **asked)
        assert caught.value.code == "units_mixed"


async def test_an_anchor_is_looked_into_once(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in (LOW_EGFR, {"all_of": [LOW_EGFR, ONE_UNIT]}):
        first = await clinic.ask("observation_labs", where=where, freshness="anchored")
        with monkeypatch.context() as patched:
            patched.setattr(compared_units, "_UNITS", "no SQL")
            again = await clinic.ask("observation_labs", where=where, freshness="anchored")
        assert again.warnings == first.warnings


async def test_a_look_that_takes_too_long_says_that_it_was_not_made(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = compared_units._UNITS.replace("SELECT {unit}", "SELECT pg_sleep(1)::text || {unit}")
    monkeypatch.setattr(compared_units, "_UNITS", slow)
    monkeypatch.setattr("researchflow_runners.hybrid.absent.LOOK_MS", 20)
    asked = Query.model_validate({"view": "observation_labs", "where": LOW_EGFR})
    runner = clinic.another_runner()
    for _again in range(2):
        answer = await runner.query(asked)
        assert answer.row_count == 3
        (warning,) = told(answer)
        assert "was not looked into" in warning
        # It is not looked into again, which this would fail.
        monkeypatch.setattr(compared_units, "_UNITS", "no SQL")


LABS = "FROM observation_labs"
OF_EGFR = f"{LABS} WHERE code = '33914-3'"


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT avg(value_quantity) {OF_EGFR}",
        f"SELECT patient_id, max(l.value_quantity) {LABS} AS l WHERE code = :egfr GROUP BY 1",
        f"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value_quantity) {OF_EGFR}",
        f"SELECT count(*) {OF_EGFR} AND value_quantity < 60",
        f"SELECT count(*) FILTER (WHERE value_quantity BETWEEN 30 AND 60) {OF_EGFR}",
        f"WITH l AS (SELECT * {OF_EGFR}) SELECT stddev(l.value_quantity) FROM l",
        f"SELECT sum(value_quantity) {LABS}",
        f"SELECT code, avg(value_quantity) {LABS} GROUP BY 1",
        f"SELECT avg(value_quantity) {LABS} WHERE code IN ('33914-3', '4548-4')",
    ],
)
async def test_sql_that_never_names_the_unit_is_told_of_several(clinic: Clinic, sql: str) -> None:
    parameters = {"egfr": "33914-3"} if ":egfr" in sql else {}
    answer = await clinic.runner.query_sql(SqlQuery(sql=sql, parameters=parameters))
    (warning,) = told(answer)
    assert "mL/min/1.73m2 (3 rows)" in warning


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT avg(value_quantity) {OF_EGFR} AND value_unit = 'mL/min'",
        f"SELECT value_unit, avg(value_quantity) {LABS} GROUP BY value_unit",
        f"SELECT avg(value_quantity) {LABS} WHERE code = '4548-4'",
        f"SELECT code, avg(value_quantity) {LABS} WHERE code IN ('4548-4', 'none') GROUP BY code",
        f"SELECT * {OF_EGFR} AND value_quantity < 60",
        f"SELECT count(*) {OF_EGFR}",
        f"SELECT value_quantity {OF_EGFR}",
    ],
)
async def test_sql_of_one_unit_or_with_its_unit_is_told_nothing(clinic: Clinic, sql: str) -> None:
    assert told(await clinic.runner.query_sql(SqlQuery(sql=sql))) == ()


async def test_codes_that_sql_keeps_apart_may_differ_in_their_units(clinic: Clinic) -> None:
    await clinic.cache(lab("w", "a", code={"coding": [{"system": "http://loinc.org",
        "code": "w"}]}, valueQuantity={"value": 70, "unit": "kg"}))  # fmt: skip
    apart = [
        f"SELECT max(value_quantity) FILTER (WHERE code = 'w') AS w, max(value_quantity)"
        f" FILTER (WHERE code = '4548-4') AS h {LABS}",
        f"SELECT max(CASE WHEN code = 'w' THEN value_quantity END) {LABS}"
        " WHERE code IN ('w', '4548-4')",
        "SELECT count(*) FROM observation_labs AS w JOIN observation_labs AS h USING (patient_id)"
        " WHERE w.code = 'w' AND h.code = '4548-4' AND w.value_quantity > 60",
        f"SELECT code, avg(value_quantity) {LABS} WHERE code IN ('w', '4548-4') GROUP BY code",
    ]
    for sql in apart:
        assert told(await clinic.runner.query_sql(SqlQuery(sql=sql))) == (), sql
    together = f"SELECT avg(value_quantity) {LABS} WHERE code IN ('w', '4548-4')"
    assert told(await clinic.runner.query_sql(SqlQuery(sql=together)))
    await clinic.cache("Observation/w")
