"""What a caller does wrong comes back as an error that names it, and the server goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from researchflow_server.contract import TOOL_NAMES, ErrorInfo
from researchflow_server.embedded import Services
from researchflow_server.tools import TOOLS
from researchflow_server.tools.arguments import parse_arguments
from researchflow_server.tools.spec import ToolSpec
from tool_server import ToolServer, module_stores, tool_server

KEYS = set(ErrorInfo.model_fields)
VIEW = {"view": "patient_simple"}
UNKNOWN, MISSING, INVALID = "unknown_argument", "missing_argument", "invalid_argument"


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server without patients; nothing is materialised, and no test changes that."""
    async with (
        module_stores(services, number=5) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        yield server


def simple(where: Any) -> dict[str, Any]:
    return {**VIEW, "where": where}


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "field", "guess"),
    [
        ("query_view", {**VIEW, "patientId": "1"}, UNKNOWN, "patientId", None),
        ("query_view", {**VIEW, "colums": ["id"]}, UNKNOWN, "colums", "columns"),
        ("query_view", {"views": "patient_simple"}, UNKNOWN, "views", "view"),
        ("query_view", {}, MISSING, "view", None),
        ("query_view", {"view": "patient_simpel"}, "unknown_view", "view", "patient_simple"),
        ("query_view", {"view": 5}, INVALID, "view", None),
        ("query_view", {**VIEW, "limit": 0}, INVALID, "limit", None),
        ("query_view", {**VIEW, "limit": 10_001}, INVALID, "limit", None),
        ("query_view", {**VIEW, "columns": ["gendre"]}, "unknown_column", "columns[0]", "gender"),
        ("query_view", {**VIEW, "freshness": "Live"}, INVALID, "freshness", "live"),
        ("query_view", simple("gender = male"), INVALID, "where", None),
        (
            "query_view",
            simple({"column": "gender", "op": "equals", "value": 1}),
            INVALID,
            "where.op",
            "eq",
        ),
        (
            "query_view",
            simple({"column": "gender", "op": "eqq", "value": 1}),
            INVALID,
            "where.op",
            "eq",
        ),
        (
            "query_view",
            simple({"all_of": [{"colum": "gender", "op": "eq", "value": "x"}]}),
            UNKNOWN,
            "where.all_of.0.colum",
            "column",
        ),
        (
            "query_view",
            simple({"column": "id", "query": {"vew": "x"}}),
            UNKNOWN,
            "where.query.vew",
            "view",
        ),
        (
            "query_view",
            simple({"column": "gender", "op": "eq", "value": {"a": 1}}),
            INVALID,
            "where.value",
            None,
        ),
        (
            "query_view",
            simple({"column": "active", "op": "eq", "value": "perhaps"}),
            "value_type",
            "where.value",
            None,
        ),
        ("query_view", {**VIEW, "cursor": "abc"}, "cursor_invalid", "cursor", None),
        ("query_view", {**VIEW, "as_of": 1}, "view_not_materialised", "as_of", None),
        ("describe_view", {"view": "patients"}, "unknown_view", "view", "patient_simple"),
        ("describe_view", {**VIEW, "show": "SQL"}, INVALID, "show", "sql"),
        ("list_views", {"resource": "Patients"}, "unknown_resource_type", "resource", "Patient"),
        ("list_views", {"type": "Patient"}, UNKNOWN, "type", "resource"),
        ("cache_resources", {}, MISSING, "resources", None),
        ("cache_resources", {"delete": ["ada"]}, INVALID, "delete.0", None),
        ("cache_resources", {"resources": "Patient"}, INVALID, "resources", None),
        ("refresh_views", {"run_id": 99}, "unknown_run", "run_id", None),
        ("refresh_views", {"wait_s": 1_000}, INVALID, "wait_s", None),
        ("get_statistics", {"verbose": True}, UNKNOWN, "verbose", "detail"),
        *(
            (tool, {**given, name: truth}, INVALID, name, None)
            for truth in (True, False, [True])
            for tool, given, name in (
                ("query_view", VIEW, "limit"),
                ("query_view", VIEW, "as_of"),
                ("query_view", VIEW, "max_staleness_s"),
                ("refresh_views", {}, "wait_s"),
                ("refresh_views", {}, "run_id"),
            )
        ),
        (
            "query_view",
            {
                **VIEW,
                "limit": None,
                "where": {"column": "id", "query": {"view": "condition_simple", "min_rows": True}},
            },
            INVALID,
            "where.query.min_rows",
            None,
        ),
        (
            "query_view",
            {**VIEW, "group_by": [{"column": "birth_date", "age_brackets": [1, True]}]},
            INVALID,
            "group_by.0.age_brackets",
            None,
        ),
        *(
            (
                "query_view",
                {**VIEW, "aggregates": [{"fn": given, "column": "id"}]},
                INVALID,
                "aggregates.0.fn",
                guess,
            )
            for given, guess in (
                ("mean", "avg"),
                ("average", "avg"),
                ("mode", None),
                ("maxi", None),
                ("corr", None),
                ("std", "stddev"),
                ("Minimum", "min"),
                ("counts", None),
            )
        ),
        *(
            (
                "query_view",
                simple({"column": "gender", "op": given, "value": "x"}),
                INVALID,
                "where.op",
                guess,
            )
            for given, guess in (
                ("equals", "eq"),
                (">=", "ge"),
                ("like", "contains"),
                ("between", None),
            )
        ),
        ("query_vew", {}, "unknown_tool", None, "query_view"),
        ("query_sql", {}, MISSING, "sql", None),
        ("query_sql", {"sql": "SELECT 1", "where": {}}, UNKNOWN, "where", None),
        ("query_sql", {"sql": "SELECT 1"}, "sql_reads_no_view", "sql", None),
    ],
)
async def test_a_wrong_call_names_what_is_wrong(
    tools: ToolServer,
    tool: str,
    arguments: dict[str, Any],
    code: str,
    field: str | None,
    guess: str | None,
) -> None:
    error = await tools.error(tool, **arguments)
    assert set(error) <= KEYS
    assert (error["code"], error.get("field"), error.get("did_you_mean")) == (code, field, guess)
    assert error["message"]
    assert error["hint"]
    assert error["retryable"] is False


#: What a call needs beside its optional arguments.
NEEDED: dict[str, dict[str, Any]] = {
    "query_sql": {"sql": "SELECT id FROM patient_simple"},
    "find_codes": {"text": "x"},
    "patient_timeline": {"patient": "ada"},
    "query_view": VIEW,
    "draw": {"chart": "bar", "query": VIEW, "x": "gender", "y": "count"},
    "describe_view": VIEW,
    "drop_view": VIEW,
    "validate_view": {"definition": {}},
    "register_view": {"definition": {}},
}


@pytest.mark.parametrize("spec", TOOLS, ids=lambda spec: spec.name)
def test_null_for_an_optional_argument_is_as_if_absent(spec: ToolSpec[Any]) -> None:
    needed = NEEDED.get(spec.name, {})
    fields = spec.arguments.model_fields.items()
    nulls = {name: None for name, field in fields if not field.is_required()}
    nulled = parse_arguments(spec.arguments, {**nulls, **needed}, tool=spec.name)
    assert nulled == parse_arguments(spec.arguments, needed, tool=spec.name)


async def test_null_inside_a_filter_is_as_if_absent(tools: ToolServer) -> None:
    where = {"any_of": None, "column": "id", "op": None, "value": None, "query": {
        "view": "condition_simple", "column": None, "where": None, "min_rows": None}}  # fmt: skip
    error = await tools.error("query_view", **simple(where))
    assert (error["code"], error["field"]) == (UNKNOWN, "where.any_of")
    del where["any_of"], where["value"]
    assert (await tools.call("query_view", **simple(where)))["row_count"] == 0


async def test_null_for_a_needed_argument_is_named(tools: ToolServer) -> None:
    error = await tools.error("query_view", view=None)
    assert (error["code"], error["field"]) == (MISSING, "view")
    error = await tools.error("query_view", view="patient_simple", zzz=None)
    assert (error["code"], error["field"]) == (UNKNOWN, "zzz")


async def test_an_unknown_argument_runs_nothing(tools: ToolServer) -> None:
    await tools.error("cache_resources", resources=[patient("x")], dryRun=True)
    assert await tools.runtime.stores.redis.count("Patient") == 0


async def test_an_unknown_argument_lists_the_allowed_ones(tools: ToolServer) -> None:
    error = await tools.error("describe_view", view="patient_simple", full=True)
    assert error["allowed"] == ["detail", "view", "show"]


async def test_every_tool_refuses_an_unknown_argument(tools: ToolServer) -> None:
    codes = {name: (await tools.error(name, zzz=1))["code"] for name in TOOL_NAMES}
    assert set(codes.values()) == {UNKNOWN}


async def test_a_fault_of_ours_shows_nothing_of_itself(
    tools: ToolServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_args: object, **_named: object) -> None:
        raise ValueError("John Smith 1960-05-01")

    monkeypatch.setattr(tools.runtime.hybrid, "query", broken)
    error = await tools.error("query_view", view="patient_simple")
    assert error["code"] == "internal_error"
    assert "John Smith" not in str(error) + caplog.text
    assert "ValueError at" in caplog.text


@pytest.mark.failure("body-hostile")
async def test_deep_nesting_is_refused_and_the_server_goes_on(tools: ToolServer) -> None:
    where: dict[str, Any] = {"column": "gender", "op": "eq", "value": "male"}
    for _level in range(200):
        where = {"not": where}
    error = await tools.error("query_view", **simple(where))
    assert error["retryable"] is False
    assert (await tools.call("query_view", view="patient_simple"))["row_count"] == 0
