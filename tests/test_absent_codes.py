"""An answer of nothing says which code nobody has, and what there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, condition, lab, open_clinic, patient

COUNT = [{"fn": "count"}]


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Two women and a man with an HbA1c and a condition coded in ICD-10, refreshed."""
    async with open_clinic(postgres_dsn, redis_url) as opened:
        await opened.put(patient("a"), patient("b"), patient("c", gender="male"))
        await opened.put(lab("x", "a"), condition("1", "a", "I10"))
        await opened.refresh()
        yield opened


def _is(column: str, value: Any, op: str = "eq") -> dict[str, Any]:
    return {"column": column, "op": op, "value": value}


async def warned(clinic: Clinic, view: str, where: dict[str, Any], **asked: Any) -> tuple[str, ...]:
    answer = await clinic.ask(view, where=where, aggregates=COUNT, **asked)
    assert answer.rows == ((0,),)
    warnings: tuple[str, ...] = answer.warnings
    return warnings


async def test_a_code_that_is_written_otherwise_is_told_with_those_there_are(
    clinic: Clinic,
) -> None:
    (warning,) = await warned(clinic, "patient_simple", _is("gender", "femal"))
    assert warning == (
        'no row of view "patient_simple" has such a value in "gender"; most frequent there: '
        'female, male; did you mean "female"?'
    )
    (warning,) = await warned(clinic, "observation_labs", _is("code", "4548", "eq"))
    assert warning.endswith('most frequent there: 4548-4; did you mean "4548-4"?')


async def test_codes_of_a_system_that_the_data_do_not_use_are_told(clinic: Clinic) -> None:
    where = _is("snomed_code", "38341003")
    (warning,) = await warned(clinic, "condition_simple", where)
    assert "the column is empty in this data" in warning


async def test_a_semi_join_tells_what_its_own_view_lacks(clinic: Clinic) -> None:
    inner = {"view": "condition_simple", "where": _is("icd10_code", "E11", "starts_with")}
    where = {"all_of": [_is("gender", "female"), {"column": "id", "op": "in", "query": inner}]}
    (warning,) = await warned(clinic, "patient_simple", where)
    assert warning.startswith('no row of view "condition_simple" has such a value in "icd10_code"')
    assert "I10" in warning


async def test_rows_of_nothing_are_told_too(clinic: Clinic) -> None:
    answer = await clinic.ask("patient_simple", where=_is("gender", ["F", "W"], "in"))
    assert answer.rows == ()
    assert len(answer.warnings) == 1


async def test_nothing_is_told_where_the_codes_occur_and_no_row_has_both(clinic: Clinic) -> None:
    where = {"all_of": [_is("gender", "male"), _is("id", "a")]}
    assert await warned(clinic, "patient_simple", where) == ()


async def test_ids_and_texts_that_do_occur_are_never_shown(clinic: Clinic) -> None:
    assert await warned(clinic, "patient_simple", _is("id", "nobody")) == ()


@pytest.mark.parametrize("where", [_is("gender", "x", "ne"), {"not": _is("gender", "x")}])
async def test_what_excludes_is_no_mistake(clinic: Clinic, where: dict[str, Any]) -> None:
    answer = await clinic.ask("patient_simple", where=where, aggregates=COUNT)
    assert answer.rows == ((3,),)
    assert answer.warnings == ()


async def test_an_earlier_anchor_is_told_by_its_own_rows(clinic: Clinic) -> None:
    await clinic.put(patient("o", gender="other"))
    await clinic.refresh()
    assert (await clinic.ask("patient_simple", where=_is("gender", "other"))).row_count == 1
    (warning,) = await warned(clinic, "patient_simple", _is("gender", "other"), as_of=1)
    assert "most frequent there: female, male" in warning
