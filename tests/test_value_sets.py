"""`memberOf` takes the value sets that the view contains, whole or not at all."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from conformance import rows_of
from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.value_sets import MEMBERS_MAX
from researchflow_runners.errors import FhirPathError, ResearchFlowError

Json = dict[str, Any]
LISTED = {"system": "urn:a", "concept": [{"code": "x"}]}
EXPANDED = {"system": "urn:a", "code": "x"}
INCOMPLETE = "http://hl7.org/fhir/StructureDefinition/valueset-unclosed"


def view_of(path: str, *value_sets: Json, resource: str = "Condition") -> Json:
    """A view of one column that contains the value sets."""
    contained = [{"resourceType": "ValueSet", **one} for one in value_sets]
    select = [{"column": [{"name": "c", "path": path}]}]
    return {"resource": resource, "contained": contained, "select": select}


def refusal(view: Json) -> ResearchFlowError:
    with pytest.raises(ResearchFlowError) as caught:
        compile_view(view)
    return caught.value


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "unsupported_value_set"),
        ({"compose": {"include": [{**LISTED, "filter": [{}]}]}}, "unsupported_value_set"),
        ({"compose": {"include": [{"valueSet": ["urn:other"]}]}}, "unsupported_value_set"),
        ({"compose": {"include": [{"concept": [{"code": "x"}]}]}}, "unsupported_value_set"),
        (
            {"compose": {"include": [LISTED], "exclude": [{"valueSet": ["urn:other"]}]}},
            "unsupported_value_set",
        ),
        ({"compose": {"inactive": False, "include": [LISTED]}}, "unsupported_value_set"),
        ({"expansion": {"total": 2, "contains": [EXPANDED]}}, "unsupported_value_set"),
        ({"expansion": {"offset": 1, "contains": [EXPANDED]}}, "unsupported_value_set"),
        (
            {
                "expansion": {
                    "extension": [{"url": INCOMPLETE, "valueBoolean": True}],
                    "contains": [EXPANDED],
                }
            },
            "unsupported_value_set",
        ),
        (
            {"expansion": {"contains": [EXPANDED] * (MEMBERS_MAX + 1)}},
            "value_set_too_large",
        ),
        (
            {
                "compose": {
                    "include": [
                        {
                            "system": "urn:a",
                            "concept": [{"code": str(n)} for n in range(MEMBERS_MAX + 1)],
                        }
                    ]
                }
            },
            "value_set_too_large",
        ),
    ],
)
def test_value_set_that_is_not_listed_whole_is_refused(content: Json, code: str) -> None:
    error = refusal(view_of("code.memberOf('#v')", {"id": "v", **content}))
    assert isinstance(error, FhirPathError)
    assert error.code == code
    assert "'#v'" in error.message
    assert error.span is not None
    assert (error.span.start, error.span.end) == (0, 19)
    assert error.field == "select[0].column[0].path"


def test_value_set_that_no_expression_names_is_not_looked_into() -> None:
    filtered = {"compose": {"include": [{"system": "urn:a", "filter": [{}]}]}}
    compile_view(view_of("id", {"id": "v", **filtered}, {"id": "w", "status": "draft"}))


def test_unknown_value_set_names_the_known_ones() -> None:
    sets = [
        {"id": "v", "compose": {"include": [LISTED]}},
        {"url": "urn:w", "version": "1", "compose": {"include": [LISTED]}},
    ]
    error = refusal(view_of("code.memberOf('urn:ww')", *sets))
    assert error.code == "unknown_value_set"
    assert error.allowed == ("#v", "urn:w", "urn:w|1")
    assert error.did_you_mean == "urn:w"


@pytest.mark.parametrize(
    ("sets", "code", "field"),
    [
        ([{"id": "v"}, {"id": "v"}], "duplicate_value_set", "contained[1]"),
        (
            [{"id": "v", "compose": {"include": [{"concept": [{}]}]}}],
            "invalid_value_set",
            "contained[0].compose.include[0].concept[0].code",
        ),
        ([{"id": 1}], "invalid_value_set", "contained[0].id"),
    ],
)
def test_malformed_value_set_is_named(sets: list[Json], code: str, field: str) -> None:
    error = refusal(view_of("id", *sets))
    assert (error.code, error.field) == (code, field)


def test_malformed_expansion_is_named() -> None:
    value_set = {"id": "v", "expansion": {"contains": [{"contains": ["x"]}]}}
    error = refusal(view_of("code.memberOf('#v')", value_set))
    assert (error.code, error.field) == ("invalid_value_set", "contained[0].expansion.contains")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("subject.memberOf('#v')", "not_coded"),
        ("onset.memberOf('#v')", "not_coded"),
        ("code.memberOf(id)", "unsupported"),
        ("code.memberOf()", "wrong_arguments"),
        ("id.memberOf('#whole')", "several_code_systems"),
    ],
)
def test_misuse_is_refused_with_its_place(path: str, code: str) -> None:
    sets = [
        {"id": "v", "compose": {"include": [LISTED]}},
        {"id": "whole", "compose": {"include": [{"system": "urn:a"}]}},
    ]
    error = refusal(view_of(path, *sets))
    assert error.code == code
    assert error.span is not None
    assert error.field == "select[0].column[0].path"


def test_members_travel_as_parameters() -> None:
    value_set = {"id": "v", "compose": {"include": [{**LISTED, "system": "urn:'evil"}]}}
    view = compile_view(view_of("code.memberOf('#v')", value_set))
    text, arguments = (
        view.after_source.render()[0] + view.before_source.render()[0],
        [
            *view.before_source.render()[1],
            *view.after_source.render()[1],
        ],
    )
    assert "evil" not in text
    assert ["urn:'evil\x1fx"] in arguments


async def test_as_many_members_as_there_may_be_are_found(connection: asyncpg.Connection) -> None:
    concepts = [{"code": f"c{number}"} for number in range(MEMBERS_MAX)]
    value_set = {"id": "v", "compose": {"include": [{"system": "urn:a", "concept": concepts}]}}
    view = view_of("id", value_set)
    view["where"] = [{"path": "code.memberOf('#v')"}]
    conditions = [
        {
            "resourceType": "Condition",
            "id": code,
            "code": {"coding": [{"system": "urn:a", "code": code}]},
        }
        for code in ("c0", f"c{MEMBERS_MAX - 1}", f"c{MEMBERS_MAX}")
    ]
    rows = await rows_of(connection, compile_view(view), json.loads(json.dumps(conditions)))
    assert sorted(row["c"] for row in rows) == ["c0", f"c{MEMBERS_MAX - 1}"]


async def test_no_code_of_a_whole_system_is_overlooked(connection: asyncpg.Connection) -> None:
    view = view_of("id", {"id": "v", "compose": {"include": [LISTED, {"system": "urn:whole"}]}})
    view["where"] = [{"path": "code.memberOf('#v')"}]
    coded = {"coding": [{"system": "urn:whole", "code": "other"}]}
    found = {"resourceType": "Condition", "id": "found", "code": coded}
    assert await rows_of(connection, compile_view(view), [found]) == [{"c": "found"}]


async def test_resources_are_looked_through_for_the_few_codes(
    connection: asyncpg.Connection,
) -> None:
    view = view_of("id", {"id": "v", "compose": {"include": [LISTED]}})
    view["where"] = [{"path": "code.memberOf('#v')"}]
    compiled = compile_view(view)
    assert "strpos(s.text" in compiled.after_source.render()[0]
    coded = {"coding": [{"system": "urn:a", "code": "x"}]}
    found = {"resourceType": "Condition", "id": "found", "code": coded}
    rows = await rows_of(connection, compiled, [found, {"resourceType": "Condition", "id": "none"}])
    assert rows == [{"c": "found"}]
