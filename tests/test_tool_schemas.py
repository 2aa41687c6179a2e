"""What the tools publish of their arguments: short, valid, and nothing left out."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from researchflow_runners.query import group_model, model
from researchflow_server.mcp.app import INSTRUCTIONS
from researchflow_server.tools import TOOLS, schema
from researchflow_server.tools.arguments import FILTERS, parse_arguments
from researchflow_server.tools.schema import compact_schema
from researchflow_server.tools.spec import ToolSpec

VIEWS = ("encounters", "patient_simple")
SCHEMAS = {spec.name: compact_schema(spec.arguments, VIEWS) for spec in TOOLS}
GROUPS = (group_model.AgeGroup, group_model.Bucket, group_model.Width)
SEMI_JOIN = {"column": "id", "query": {"view": "encounters", "min_rows": 2}}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_views", {}),
    ("describe_view", {"view": "encounters", "show": "sql"}),
    ("query_view", {"view": "encounters", "where": {"not": SEMI_JOIN}, "as_of": 3}),
    ("query_view", {"view": "encounters", "where": {"all_of": [SEMI_JOIN]}, "as_of": "paper"}),
    (
        "query_view",
        {
            "view": "encounters",
            "group_by": ["class_code", {"column": "birth_date", "age_brackets": [18, 65]}],
            "aggregates": [{"fn": "count"}, {"fn": "max", "column": "end", "name": "last"}],
            "having": {"column": "count", "op": "ge", "value": 2},
            "latest_per": "patient_id",
            "first_per": {"key": ["patient_id", "code"], "by": "start"},
            "order_by": [{"column": "last", "descending": True}],
            "limit": 5,
            "cursor": "c",
            "freshness": "anchored",
            "max_staleness_s": 2.5,
        },
    ),
    ("query_sql", {"sql": "SELECT 1", "parameters": {"x": [1, 2]}, "limit": 5}),
    ("cache_resources", {"resources": [{"resourceType": "Patient"}], "delete": ["Patient/1"]}),
    ("refresh_views", {"wait_s": 0, "run_id": 4, "cancel": True}),
    ("register_view", {"definition": {"name": "x"}}),
]


def named_in(forms: str, words: tuple[str, ...]) -> list[str]:
    """Those of the words that the line does not say."""
    said = set(re.findall(r"\w+", forms))
    return [word for word in words if word not in said]


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schema_is_valid_and_whole(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["type"] == "object"
    assert "$ref" not in json.dumps(SCHEMAS[name])


@pytest.mark.parametrize("spec", TOOLS, ids=lambda spec: spec.name)
def test_every_argument_is_published_with_what_it_may_be(spec: ToolSpec[Any]) -> None:
    shown = SCHEMAS[spec.name]["properties"]
    names = [field.alias or name for name, field in spec.arguments.model_fields.items()]
    assert list(shown) == names
    assert all("type" in part for part in shown.values())
    assert all(len(part.get("title", "")) == 0 for part in shown.values())


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_what_a_tool_takes_its_schema_takes(tool: str, arguments: dict[str, Any]) -> None:
    spec = next(spec for spec in TOOLS if spec.name == tool)
    parse_arguments(spec.arguments, arguments, tool=tool)
    Draft202012Validator(SCHEMAS[tool]).validate(arguments)


def test_the_forms_of_a_filter_name_every_part() -> None:
    shown = SCHEMAS["query_view"]["properties"]["where"]
    names = [
        field.alias or name
        for kind in (*FILTERS, model.SubQuery, model.Window, model.Event, model.Several)
        for name, field in kind.model_fields.items()
    ]
    assert named_in(shown["description"], (*names, *get_args(model.Operator))) == []


@pytest.mark.parametrize(
    ("argument", "kind", "words"),
    [
        ("aggregates", group_model.Aggregate, get_args(group_model.AggregateFunction)),
        ("order_by", model.Order, ()),
        *(("group_by", kind, ()) for kind in GROUPS),
    ],
)
def test_forms_of_an_argument_name_every_part(
    argument: str, kind: type[BaseModel], words: tuple[str, ...]
) -> None:
    forms = SCHEMAS["query_view"]["properties"][argument]["description"]
    assert named_in(forms, (*kind.model_fields, *words)) == []


def test_what_every_question_takes_is_explained_once() -> None:
    assert named_in(INSTRUCTIONS, tuple(schema.EXPLAINED_ONCE)) == []
    for tool in ("query_view", "query_sql"):
        shown = SCHEMAS[tool]["properties"]
        assert not any({"description", "default"} & set(shown[name]) for name in
                       schema.EXPLAINED_ONCE)  # fmt: skip


def test_view_names_that_would_crowd_out_the_rest_are_left_to_list_views() -> None:
    long_names = tuple(f"{'v' * 60}{number}" for number in range(10))
    assert sum(map(len, long_names)) > schema.VIEWS_NAMED_BYTES_MAX
    assert compact_schema(model.Query, long_names)["properties"]["view"] == {"type": "string"}
