"""What no row can meet is refused; what none does meet is told, with what there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, condition, lab, open_clinic, patient
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid import absent
from researchflow_runners.query.model import SqlQuery
from researchflow_server.embedded import Services
from tool_server import module_stores

COUNT = [{"fn": "count"}]


@asynccontextmanager
async def furnished(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Two women with an HbA1c each, one with a condition in ICD-10, and a man; refreshed."""
    async with open_clinic(postgres_dsn, redis_url) as opened:
        await opened.put(patient("a"), patient("b"), patient("c", gender="male"))
        await opened.put(lab("x", "a"), condition("1", "a", "I10"))
        await opened.put(lab("y", "b", 8.25, effectiveDateTime="2024-05"))
        await opened.refresh()
        yield opened


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    """One that nobody changes."""
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        furnished(dsn, redis_url) as opened,
    ):
        yield opened


@pytest_asyncio.fixture
async def changing(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """One of the test's own."""
    async with furnished(postgres_dsn, redis_url) as opened:
        yield opened


def _is(column: str, value: Any, op: str = "eq") -> dict[str, Any]:
    return {"column": column, "op": op, "value": value}


async def warned(clinic: Clinic, view: str, where: dict[str, Any], **asked: Any) -> tuple[str, ...]:
    answer = await clinic.ask(view, where=where, aggregates=COUNT, **asked)
    assert answer.rows == ((0,),)
    warnings: tuple[str, ...] = answer.warnings
    return warnings


async def test_a_value_that_fhir_does_not_have_is_refused_with_the_nearest(clinic: Clinic) -> None:
    for value, meant in (("F", "female"), ("femal", "female"), ("Male", "male"), ("W", None)):
        for where in (_is("gender", value), {"not": _is("gender", [value], "in")}):
            with pytest.raises(QueryError) as caught:
                await clinic.ask("patient_simple", where=where)
            assert caught.value.code == "value_never_matches"
            assert caught.value.did_you_mean == meant
            assert caught.value.allowed == ("male", "female", "other", "unknown")
    assert await clinic.ids("patient_simple", where=_is("gender", "FEM", "contains"))


async def test_a_code_that_is_written_otherwise_is_told_with_those_there_are(
    clinic: Clinic,
) -> None:
    (warning,) = await warned(clinic, "observation_labs", _is("code", "4548"))
    assert warning == (
        'no row of view "observation_labs" has such a value in "code"; most frequent there: '
        '4548-4; did you mean "4548-4"?'
    )
    (warning,) = await warned(clinic, "patient_simple", _is("gender", "other"))
    assert warning.endswith("most frequent there: female, male")


async def test_codes_of_a_system_that_the_data_do_not_use_are_told(clinic: Clinic) -> None:
    where = _is("snomed_code", "38341003")
    (warning,) = await warned(clinic, "condition_simple", where)
    assert "the column is empty in this data" in warning
    assert warning.endswith(
        '"icd10_code" has codes of http://hl7.org/fhir/sid/icd-10-cm, such as I10'
    )


async def test_a_semi_join_tells_what_its_own_view_lacks(clinic: Clinic) -> None:
    inner = {"view": "condition_simple", "where": _is("icd10_code", "E11", "starts_with")}
    where = {"all_of": [_is("gender", "female"), {"column": "id", "op": "in", "query": inner}]}
    (warning,) = await warned(clinic, "patient_simple", where)
    assert warning.startswith('no row of view "condition_simple" has such a value in "icd10_code"')
    assert "I10" in warning


@pytest.mark.parametrize(
    ("view", "where", "told"),
    [
        ("observation_labs", _is("value_quantity", 9, "gt"), "they go from 7.5 to 8.25"),
        ("observation_labs", _is("effective_datetime", "2030", "ge"),
         "they go from 2024-03-01 to 2024-05-01"),
        ("observation_labs", _is("value_unit", "mg"), "most frequent there: %"),
        ("observation_labs", _is("value_unit", "%", "ne"), "has another value"),
        ("patient_simple", _is("active", True), "the column is empty in this data"),
        ("observation_labs", {"column": "patient_id", "op": "is_null"}, "every row of view"),
        ("observation_labs", {"column": "value_string", "op": "not_null"}, "has a value in"),
        ("patient_simple", _is("id", "nobody"), 'such a value in "id"'),
    ],
)  # fmt: skip
async def test_every_comparison_that_nothing_meets_is_told(
    clinic: Clinic, view: str, where: dict[str, Any], told: str
) -> None:
    (warning,) = await warned(clinic, view, where)
    assert told in warning


async def test_a_filter_as_large_as_may_be_is_looked_into(clinic: Clinic) -> None:
    part = {"all_of": [_is("icd10_code", f"E{n}") for n in range(15)]}
    where = {"any_of": [_in("condition_simple", part) for _number in range(11)]}
    warnings = await warned(clinic, "patient_simple", where)
    assert 0 < len(warnings) <= absent.WARNINGS_MAX
    assert all("most frequent there: I10" in one for one in warnings)


async def test_rows_of_nothing_are_told_too(clinic: Clinic) -> None:
    answer = await clinic.ask("patient_simple", where=_is("gender", ["other", "unknown"], "in"))
    assert answer.rows == ()
    assert len(answer.warnings) == 1


async def test_nothing_is_told_where_the_codes_occur_and_no_row_has_both(clinic: Clinic) -> None:
    where = {"all_of": [_is("gender", "male"), _is("id", "a")]}
    assert await warned(clinic, "patient_simple", where) == ()


async def test_a_filter_of_another_view_that_only_fails_as_a_whole_is_told(clinic: Clinic) -> None:
    both = {"all_of": [_is("value_quantity", 8, "gt"), _is("patient_id", "a")]}
    where = {"column": "id", "query": {"view": "observation_labs", "where": both}}
    (warning,) = await warned(clinic, "patient_simple", where)
    assert warning == 'no row of view "observation_labs" meets all that is asked of it together'


async def test_keys_and_free_texts_that_do_occur_are_never_shown(clinic: Clinic) -> None:
    for view, column in (("patient_simple", "id"), ("condition_simple", "code_text")):
        (warning,) = await warned(clinic, view, _is(column, "nobody"))
        assert warning == f'no row of view "{view}" has such a value in "{column}"'


def _in(view: str, where: dict[str, Any], op: str = "in") -> dict[str, Any]:
    return {"column": "id", "op": op, "query": {"view": view, "where": where}}


NO_CODE = _is("icd10_code", "E11")
HAS_LAB = _in("observation_labs", _is("code", "4548-4"))
BRANCHES = [
    _in("condition_simple", NO_CODE, "not_in"),
    {"not": _in("condition_simple", NO_CODE)},
    {"any_of": [_in("condition_simple", NO_CODE), HAS_LAB]},
    {"at_least": {"n": 1, "of": [HAS_LAB, _in("condition_simple", NO_CODE)]}},
    {"not": _in("condition_simple", {"all_of": [NO_CODE, {"column": "id", "op": "not_null"}]})},
]


@pytest.mark.parametrize("where", BRANCHES)
async def test_a_branch_that_matches_nothing_is_told_beside_the_rows(
    clinic: Clinic, where: dict[str, Any]
) -> None:
    for _time in range(2):
        answer = await clinic.ask("patient_simple", where=where)
        assert answer.row_count > 0
        assert any('"condition_simple"' in one and "I10" in one for one in answer.warnings)


async def test_a_branch_that_a_waiting_change_meets_is_not_told(changing: Clinic) -> None:
    where = _in("condition_simple", NO_CODE, "not_in")
    assert len((await changing.ask("patient_simple", where=where)).warnings) == 1
    await changing.cache(condition("2", "b"))
    assert (await changing.ask("patient_simple", where=where)).warnings == ()


async def test_a_branch_that_matched_is_not_looked_at_again(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"not": _in("condition_simple", _is("icd10_code", "I10"))}
    assert (await clinic.ask("patient_simple", where=where)).warnings == ()
    monkeypatch.setattr(absent, "_EXISTS", "no SQL")
    assert (await clinic.ask("patient_simple", where=where)).row_count == 2


SQL = [
    ("SELECT id FROM condition_simple WHERE icd10_code = 'E11'", "most frequent there: I10"),
    ("SELECT count(*) AS n FROM condition_simple AS c WHERE c.snomed_code = '38341003'",
     "the column is empty in this data"),
    ("SELECT count(*) AS n FROM patient_simple p JOIN condition_simple c ON c.patient_id = p.id"
     " AND c.icd10_code IN ('E11', 'E10')", "most frequent there: I10"),
    ("SELECT id FROM patient_simple WHERE 'F' = gender::text OR gender = 'F'",
     'FHIR has no such code in Patient.gender, which column "gender" holds: use "female"'),
    ("SELECT sum(value_quantity) AS s FROM observation_labs WHERE value_quantity = 9.5",
     "they go from 7.5 to 8.25"),
    ("WITH w AS (SELECT patient_id FROM condition_simple WHERE icd10_code = ANY(:codes))"
     " SELECT p.id FROM patient_simple AS p JOIN w ON w.patient_id = p.id",
     "most frequent there: I10"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "told"), SQL)
async def test_sql_that_finds_nothing_tells_what_its_constants_miss(
    clinic: Clinic, sql: str, told: str
) -> None:
    parameters = {"codes": ["E11"]} if ":codes" in sql else {}
    answer = await clinic.runner.query_sql(SqlQuery(sql=sql, parameters=parameters))
    (warning,) = answer.warnings
    assert told in warning


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM condition_simple WHERE icd10_code = 'I10' AND id = 'nobody' || id",
        "SELECT id FROM condition_simple WHERE icd10_code <> 'E11'",
        "SELECT id FROM patient_simple WHERE gender = lower('F')",
        "SELECT g.id FROM (SELECT 'x' AS gender, id FROM patient_simple) AS g WHERE g.gender = 'F'",
    ],
)
async def test_sql_is_told_nothing_that_its_text_does_not_say(clinic: Clinic, sql: str) -> None:
    assert (await clinic.runner.query_sql(SqlQuery(sql=sql))).warnings == ()


async def test_a_look_that_takes_too_long_is_no_reason_to_fail(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"all_of": [_is("icd10_code", "I10"), _is("id", "nobody")]}
    slow = absent._EXISTS.replace("{alias} WHERE", "{alias}, pg_sleep(60) WHERE")
    monkeypatch.setattr(absent, "_EXISTS", slow)
    monkeypatch.setattr(absent, "LOOK_MS", 20)
    asked = {"column": "id", "op": "in", "query": {"view": "condition_simple", "where": where}}
    assert (await clinic.ask("patient_simple", where=asked)).warnings == (absent.UNKNOWN_WHY,)
    matching = {**asked, "query": {"view": "condition_simple", "where": where["all_of"][0]}}
    either = {"any_of": [HAS_LAB, matching]}
    answer = await clinic.ask("patient_simple", where=either)
    assert (answer.row_count, answer.warnings) == (2, ())


@pytest.mark.parametrize("where", [_is("icd10_code", "x", "ne"), {"not": NO_CODE}])
async def test_what_excludes_by_a_column_of_its_own_is_no_mistake(
    clinic: Clinic, where: dict[str, Any]
) -> None:
    answer = await clinic.ask("condition_simple", where=where, aggregates=COUNT)
    assert answer.rows == ((1,),)
    assert answer.warnings == ()


async def test_an_earlier_anchor_is_told_by_its_own_rows(changing: Clinic) -> None:
    await changing.put(patient("o", gender="other"))
    await changing.refresh()
    assert (await changing.ask("patient_simple", where=_is("gender", "other"))).row_count == 1
    (warning,) = await warned(changing, "patient_simple", _is("gender", "other"), as_of=1)
    assert "most frequent there: female, male" in warning
