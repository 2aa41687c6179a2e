"""The compiler gives the rows of the standard, or refuses at the place that is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from conformance import CASES, check_case, params_of, rows_of
from researchflow_runners.compiler import compile_view
from researchflow_runners.conformance import Case, Suite
from researchflow_runners.errors import FhirPathError, ResearchFlowError
from researchflow_runners.sql import compose, param


@pytest.mark.parametrize(("suite", "case"), list(params_of(CASES)))
async def test_case(connection: asyncpg.Connection, suite: Suite, case: Case) -> None:
    await check_case(connection, suite, case)


def view_of(path: str, **column: Any) -> dict[str, Any]:
    """A view of one column over Patient."""
    return {"resource": "Patient", "select": [{"column": [{"name": "c", "path": path, **column}]}]}


@pytest.mark.parametrize(
    ("path", "code", "span"),
    [
        ("name.", "syntax", (5, 5)),
        ("nam.family", "unknown_element", (0, 3)),
        ("name.famly", "unknown_element", (0, 10)),
        ("deceasedBoolean", "unknown_element", (0, 15)),
        ("name.frist()", "unknown_function", (0, 12)),
        ("name.where()", "wrong_arguments", (0, 12)),
        ("name.where('x')", "not_boolean", (11, 14)),
        ("birthDate > 5", "not_comparable", (0, 13)),
        ("multipleBirth > 1", "not_comparable", (0, 17)),
        ("%missing", "unknown_constant", (0, 8)),
        ("deceased.ofType(Nothing)", "unknown_type", (0, 24)),
        ("5 ''", "invalid_unit", (0, 4)),
        ("name ~ contact.name", "unsupported", (0, 19)),
        ("multipleBirth | active", "unsupported", (0, 22)),
        ("extension.value.distinct()", "unsupported", (0, 26)),
        ("active + 1", "not_a_number", (0, 10)),
        ("1.5.toInteger()", "not_convertible", (0, 15)),
        ("active.toDate()", "not_convertible", (0, 15)),
        ("name.toDate()", "unsupported", (0, 13)),
        ("multipleBirth.convertsToInteger()", "unsupported", (0, 33)),
        ("'1'.toInteger('2')", "wrong_arguments", (0, 18)),
        ("'1'.toIntger()", "unknown_function", (0, 14)),
        ("name.skip('1')", "not_integer", (0, 14)),
        ("name.tail(1)", "wrong_arguments", (0, 12)),
        ("telecom.rank ~ (1.5 | 2)", "unsupported", (0, 23)),
        ("gender !~ 1", "not_comparable", (0, 11)),
        ("telecom.rank.allTrue()", "not_boolean", (0, 12)),
        ("name.hasValue()", "unsupported", (0, 15)),
        ("gender.sqrt()", "not_a_number", (0, 13)),
        ("1.5.round(-1)", "not_integer", (0, 13)),
        ("gender.indexOf(1)", "not_a_string", (0, 17)),
        ("gender.matches(id)", "unsupported", (0, 18)),
        ("gender.matches('a++')", "invalid_pattern", (0, 21)),
        ("gender.matches('[')", "invalid_pattern", (0, 19)),
        ("gender.matches('a{256}')", "invalid_pattern", (0, 24)),
        ("gender.matches('[\\\\D]')", "invalid_pattern", (0, 23)),
        ("gender.replaceMatches('(a)', '$2')", "invalid_pattern", (0, 34)),
        ("name.children()", "unsupported", (0, 15)),
        ("name.repeat(given)", "unsupported", (0, 18)),
        ("name.defineVariable('x')", "unsupported", (0, 24)),
        ("name['x']", "not_integer", (5, 8)),
        ("name.getResourceKey()", "unsupported", (0, 21)),
        ("name.getReferenceKey()", "unsupported", (0, 22)),
    ],
)
def test_refusal_names_code_and_position(path: str, code: str, span: tuple[int, int]) -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of(path))
    assert caught.value.code == code
    assert caught.value.span is not None
    assert (caught.value.span.start, caught.value.span.end) == span
    assert caught.value.field == "select[0].column[0].path"
    assert caught.value.hint


def test_refused_element_names_the_nearest() -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of("name.famly"))
    assert caught.value.did_you_mean == "family"


def test_repeat_is_refused_with_the_directive_to_use() -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of("contact.repeat(name)"))
    assert "directive 'repeat'" in caught.value.hint
    assert "repeat" not in caught.value.allowed


def test_choice_key_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_view(view_of("deceasedBoolean"))
    assert "deceased.ofType(boolean)" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"resource": "Patiant"}, "unknown_resource_type", "resource"),
        ({"resource": "DomainResource"}, "unknown_resource_type", "resource"),
        ({"select": []}, "invalid_definition", "select"),
        ({"select": [{}]}, "definition_incomplete", "select[0]"),
        ({"select": [{"foreach": "name"}]}, "unknown_element", "select[0].foreach"),
        (
            {"select": [{"column": [{"path": "id"}]}]},
            "definition_incomplete",
            "select[0].column[0].name",
        ),
        (
            {"select": [{"column": [{"path": "id", "name": "1x"}]}]},
            "invalid_name",
            "select[0].column[0].name",
        ),
        *(
            (
                {"select": [{"forEach": "name", "column": [{"path": "family", "name": name}]}]},
                "invalid_name",
                "select[0].column[0].name",
            )
            for name in ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")
        ),
        (
            {"select": [{"column": [{"path": "id", "name": "c"}, {"path": "id", "name": "c"}]}]},
            "duplicate_column",
            "select",
        ),
        (
            {
                "select": [
                    {"forEach": "name", "repeat": ["name"], "column": [{"path": "id", "name": "c"}]}
                ]
            },
            "several_iterations",
            "select[0]",
        ),
        ({"select": [{"forEach": 1, "column": []}]}, "invalid_definition", "select[0].forEach"),
        ({"where": [{"path": "name.family"}]}, "not_boolean", "where[0].path"),
        ({"constant": [{"name": "x"}]}, "invalid_constant", "constant[0]"),
        (
            {"constant": [{"name": "x", "valueInteger": True}]},
            "invalid_constant",
            "constant[0].valueInteger",
        ),
        (
            {"constant": [{"name": "x", "valueDate": "soon"}]},
            "invalid_constant",
            "constant[0].valueDate",
        ),
    ],
)
def test_definition_error_names_its_place(change: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(ResearchFlowError) as caught:
        compile_view({**view_of("id"), **change})
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("path", "type_name"), [("name", "string"), ("id", "integer"), ("active", "integer")]
)
def test_column_type_that_cannot_hold_the_values_is_refused(path: str, type_name: str) -> None:
    with pytest.raises(ResearchFlowError) as caught:
        compile_view(view_of(path, type=type_name))
    assert (caught.value.code, caught.value.field) == ("column_type", "select[0].column[0].type")


def test_deep_selects_are_refused() -> None:
    select: dict[str, Any] = {"column": [{"name": "c", "path": "id"}]}
    for _level in range(500):
        select = {"select": [select]}
    with pytest.raises(ResearchFlowError) as caught:
        compile_view({"resource": "Patient", "select": [select]})
    assert caught.value.code == "definition_too_deep"


async def test_text_in_constants_stays_data(connection: asyncpg.Connection) -> None:
    evil = "'; DROP TABLE x; -- \" $c0 \\ @ {} ? \u00e9"
    view = {
        "resource": "Patient",
        "constant": [{"name": "evil", "valueString": evil}],
        "select": [
            {
                "column": [
                    {"name": "found", "path": "name.where(family = %evil).family.first()"},
                    {"name": "joined", "path": "name.family.join(%evil)"},
                ]
            }
        ],
    }
    patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "A"}, {"family": evil}]}
    rows = await rows_of(connection, compile_view(view), [patient])
    assert rows == [{"found": evil, "joined": f"A{evil}{evil}"}]


async def test_dates_have_the_period_they_mean_beside_them(connection: asyncpg.Connection) -> None:
    compiled = compile_view(view_of("birthDate"))
    names = [name for name, _type in compiled.stored_columns]
    assert names == ["_res_id", "_id", "_ord", "c", "c__lo", "c__hi"]


def test_digest_changes_with_the_definition() -> None:
    assert compile_view(view_of("id")).digest == compile_view(view_of("id")).digest
    assert compile_view(view_of("id")).digest != compile_view(view_of("gender")).digest


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2024-02-28", "2024-02-28", "2024-02-29"),
        ("2024-02-28T10", "2024-02-28T10:00", "2024-02-28T11:00"),
        ("2024-02-28T10Z", "2024-02-28T10:00", "2024-02-28T11:00"),
        ("2024-02-28T10+02:00", "2024-02-28T08:00", "2024-02-28T09:00"),
        ("2024-02-28T10:15:20", "2024-02-28T10:15:20", "2024-02-28T10:15:20.000001"),
        ("2024-02-28T10:15", "2024-02-28T10:15", "2024-02-28T10:16"),
        ("2024-02-28T10:15Z", "2024-02-28T10:15", "2024-02-28T10:16"),
        ("2024-02-28T10:15+02:00", "2024-02-28T08:15", "2024-02-28T08:16"),
        ("2024-02-28T10:15:20Z", "2024-02-28T10:15:20", "2024-02-28T10:15:20.000001"),
        ("2024-02-28T10:15:20.5Z", "2024-02-28T10:15:20.5", "2024-02-28T10:15:20.500001"),
        ("2024-02-28T10:15:20+02:00", "2024-02-28T08:15:20", "2024-02-28T08:15:20.000001"),
        ("2024-02-28T10:15:20.123-02:00", "2024-02-28T12:15:20.123", "2024-02-28T12:15:20.123001"),
    ],
)
async def test_period_of_a_date(
    connection: asyncpg.Connection, written: str, low: str, high: str
) -> None:
    view = compile_view(view_of("birthDate"))
    resource = json.dumps({"resourceType": "Patient", "birthDate": written})
    source = compose(
        "(SELECT 1::bigint AS res_id, 'p' AS id, {} AS text, NULL::jsonb AS meta)",
        param(resource, "text"),
    )
    text, arguments = view.select(source).render()
    await connection.execute("SET TIME ZONE 'UTC'")
    row = await connection.fetchrow(text, *arguments)
    periods = [datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (low, high)]
    assert [row["c"], row["c__lo"], row["c__hi"]] == [written, *periods]
