"""A registered view in SQL that takes parameters: asked with values, refused by name without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, lab, patient
from composed import sql_view
from operations_server import (
    OperationServer,
    error_of,
    operation_server,
    parameters_of,
    view,
)
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

SQL = (
    "SELECT id, patient_id, value_quantity FROM observation_labs"
    " WHERE value_quantity > :least AND status = :status"
)
PARAMETERS = {"least": "decimal", "status": "final"}
ABOVE = {"name": "above", "sql": SQL, "parameters": PARAMETERS}
GIVEN = {"least": 6.5, "status": "final"}


@pytest_asyncio.fixture(scope="module")
async def stores(services: Services) -> AsyncIterator[tuple[str, str]]:
    async with module_stores(services, number=13) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def server(
    stores: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """Two people with three labs, and the view `above` with two parameters."""
    async with tool_server(*stores, tmp_path_factory.mktemp("home")) as opened:
        people = (patient(name, birthDate="1960-05-01") for name in ("ada", "bea"))
        await opened.put(*people, condition("c1", "ada"))
        await opened.put(lab("l1", "ada", 7.0), lab("l2", "bea", 6.0), lab("l3", "bea", 9.0))
        await opened.call("refresh_views")
        assert (await opened.call("register_view", definition=ABOVE))["status"] == "published"
        yield opened


@pytest_asyncio.fixture(scope="module")
async def operations(server: ToolServer) -> AsyncIterator[OperationServer]:
    async with operation_server(server) as opened:
        yield opened


async def ids(server: ToolServer, **asked: Any) -> list[str]:
    answer = await server.call("query_view", view="above", columns=["id"], **asked)
    return sorted(row[0] for row in answer["rows"])


async def test_values_decide_the_rows_of_all_layers(server: ToolServer) -> None:
    assert await ids(server, parameters=GIVEN) == ["l1", "l3"]
    assert await ids(server, parameters={**GIVEN, "least": 8}) == ["l3"]
    assert await ids(server, parameters={**GIVEN, "status": "' OR true --"}) == []
    await server.call("cache_resources", resources=[lab("l4", "ada", 8.25)])
    assert await ids(server, parameters={**GIVEN, "least": 8}) == ["l3", "l4"]
    assert await ids(server, parameters={**GIVEN, "least": 8}, freshness="anchored") == ["l3"]
    await server.call("cache_resources", delete=["Observation/l4"])
    assert await ids(server, parameters={**GIVEN, "least": 8}) == ["l3"]


async def test_such_a_view_is_filtered_counted_and_joined_like_any(server: ToolServer) -> None:
    counted = await server.call(
        "query_view",
        view="above",
        parameters=GIVEN,
        where={
            "column": "patient_id",
            "op": "in",
            "query": {
                "view": "condition_simple",
                "column": "patient_id",
            },
        },
        aggregates=[{"fn": "count"}],
    )
    assert counted["rows"] == [[1]]


async def test_a_branch_is_looked_at_anew_for_other_values(server: ToolServer) -> None:
    excluded = {
        "view": "above",
        "column": "patient_id",
        "where": {"column": "id", "op": "eq", "value": "l1"},
    }
    others = {"column": "patient_id", "op": "not_in", "query": excluded}
    asked: dict[str, Any] = {"view": "above", "where": others, "freshness": "anchored"}
    some = await server.call("query_view", **asked, parameters=GIVEN)
    fewer = await server.call("query_view", **asked, parameters={**GIVEN, "least": 8})
    assert (some["row_count"], some.get("warnings", [])) == (1, [])
    assert (fewer["row_count"], len(fewer["warnings"])) == (1, 1)


@pytest.mark.parametrize("counted", [False, True])
async def test_a_value_that_no_row_has_is_told_beside_an_answer_of_nothing(
    server: ToolServer, counted: bool
) -> None:
    given: dict[str, Any] = {"view": "above", "freshness": "anchored"}
    if counted:
        given["aggregates"] = [{"fn": "count"}]
    none = await server.call("query_view", **given, parameters={**GIVEN, "status": "finale"})
    assert none["rows"] == ([[0]] if counted else [])
    (warning,) = none["warnings"]
    assert "status" in warning
    above_all = await server.call("query_view", **given, parameters={**GIVEN, "least": 99})
    assert "warnings" not in above_all


@pytest.mark.parametrize(
    ("parameters", "code", "field", "words"),
    [
        (None, "parameter_missing", "parameters.least", "decimal"),
        ({"least": 1}, "parameter_missing", "parameters.status", "string"),
        ({**GIVEN, "lest": 1}, "unknown_parameter", "parameters.lest", "least"),
        ({**GIVEN, "least": "6"}, "parameter_type", "parameters.least", "decimal"),
        ({**GIVEN, "least": True}, "parameter_type", "parameters.least", "decimal"),
        ({**GIVEN, "status": 5}, "parameter_type", "parameters.status", "string"),
    ],
)
async def test_values_that_do_not_fit_are_refused_by_name(
    server: ToolServer, parameters: Any, code: str, field: str, words: str
) -> None:
    given = {} if parameters is None else {"parameters": parameters}
    error = await server.error("query_view", view="above", **given)
    assert (error["code"], error["field"]) == (code, field)
    assert words in f"{error['message']} {error['hint']} {error.get('allowed')}"


async def test_values_for_a_view_that_takes_none_are_refused(server: ToolServer) -> None:
    error = await server.error("query_view", view="patient_simple", parameters={"least": 1})
    assert (error["code"], error["field"]) == ("unknown_parameter", "parameters.least")
    assert "patient_simple" in error["message"]


async def test_a_cursor_goes_on_for_its_own_values_only(server: ToolServer) -> None:
    asked: dict[str, Any] = {"view": "above", "limit": 1, "order_by": [{"column": "id"}]}
    first = await server.call("query_view", **asked, parameters=GIVEN)
    cursor = first["next_cursor"]
    second = await server.call("query_view", **asked, parameters=GIVEN, cursor=cursor)
    assert [first["rows"][0][0], second["rows"][0][0]] == ["l1", "l3"]
    error = await server.error(
        "query_view", **asked, parameters={**GIVEN, "least": 5}, cursor=cursor
    )
    assert error["code"] == "cursor_invalid"


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("query_sql", {"sql": "SELECT id FROM above"}, "sql"),
        (
            "query_view",
            {
                "view": "patient_simple",
                "where": {
                    "column": "id",
                    "op": "in",
                    "query": {"view": "above", "column": "patient_id"},
                },
            },
            "view",
        ),
        (
            "register_view",
            {"definition": {"name": "upon", "sql": "SELECT id FROM above"}},
            "relatedArtifact",
        ),
    ],
)
async def test_it_is_no_relation_without_values_and_the_way_out_is_told(
    server: ToolServer, tool: str, arguments: dict[str, Any], field: str
) -> None:
    error = await server.error(tool, **arguments)
    assert (error["code"], error["field"]) == ("view_takes_parameters", field)
    assert "above" in error["message"]
    assert "least" in error["message"]
    assert "query_view" in error["hint"]


async def test_lists_and_descriptions_tell_what_it_takes(server: ToolServer) -> None:
    takes = {"least": "decimal", "status": "string"}
    assert (await server.call("describe_view", view="above"))["parameters"] == takes
    listed = await server.call("list_views")
    assert listed["unusual"]["above"]["parameters"] == takes


async def relations(server: ToolServer, name: str) -> list[Any]:
    """What PostgreSQL has under that name."""
    async with server.runtime.stores.warehouse.session() as session:
        return list(await session.fetch("SELECT oid FROM pg_class WHERE relname = $1", name))


async def test_it_has_no_relation_in_postgresql(server: ToolServer) -> None:
    assert await relations(server, "above") == []
    assert len(await relations(server, "patient_simple")) > 1


async def test_it_is_fitted_to_what_it_reads_and_still_has_no_relation(
    server: ToolServer,
) -> None:
    base = {**view(("id", "getResourceKey()"), ("born", "birthDate")), "name": "base"}
    await server.call("register_view", definition=base)
    sql = "SELECT * FROM base WHERE id = :id"
    of = {"name": "of_base", "sql": sql, "parameters": {"id": "string"}}
    await server.call("register_view", definition=of)
    wider = view(("id", "getResourceKey()"), ("born", "birthDate"), ("sex", "gender"))
    await server.call("register_view", definition={**wider, "name": "base"})
    await server.call("refresh_views")
    asked = await server.call("query_view", view="of_base", parameters={"id": "ada"})
    assert (asked["columns"], asked["row_count"]) == (["id", "born", "sex"], 1)
    assert await relations(server, "of_base") == []
    for name in ("of_base", "base"):
        assert (await server.call("drop_view", view=name))["status"] == "dropped"


async def test_a_view_may_begin_and_cease_to_take_parameters_unless_it_is_read(
    server: ToolServer,
) -> None:
    fixed = {"name": "turned", "sql": "SELECT id FROM observation_labs"}
    taking = {
        "name": "turned",
        "sql": "SELECT id FROM observation_labs WHERE id = :id",
        "parameters": {"id": "l1"},
    }
    await server.call("register_view", definition=fixed)
    await server.call("register_view", definition=taking)
    asked = await server.call("query_view", view="turned", parameters={"id": "l2"})
    assert asked["rows"] == [["l2"]]
    await server.call("register_view", definition=fixed)
    assert (await server.call("query_view", view="turned"))["row_count"] == 3
    reader = {"name": "reader", "sql": "SELECT id FROM turned"}
    await server.call("register_view", definition=reader)
    assert (await server.error("register_view", definition=taking))["code"] == "view_in_use"
    for name in ("reader", "turned"):
        assert (await server.call("drop_view", view=name))["status"] == "dropped"


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ({"least": "decimal"}, "unknown_parameter", "sql"),
        ({**PARAMETERS, "spare": "date"}, "parameter_unused", "parameters.spare"),
        ({**PARAMETERS, "least": None}, "invalid_definition", "parameters.least"),
        ({**PARAMETERS, "least": [1]}, "invalid_definition", "parameters.least"),
        ({**PARAMETERS, "not a name": 1}, "invalid_name", "parameters.not a name"),
        ([], "invalid_definition", "parameters"),
    ],
)
async def test_wrong_declarations_are_refused_by_name(
    server: ToolServer, parameters: Any, code: str, field: str
) -> None:
    error = await server.error("register_view", definition={**ABOVE, "parameters": parameters})
    assert (error["code"], error["field"]) == (code, field)


@pytest.mark.parametrize(
    ("condition", "declared", "told", "given", "wrong"),
    [
        ("birth_date >= :v", "2020-01-31", "date", "1900", "31.1.2020"),
        ("birth_date::date > :v::date", "date", "date", "1900-01-01", 5),
        ("(active = :v OR active IS NULL)", True, "boolean", True, "true"),
        ("length(id) = :v", 7, "integer", 3, 3.5),
        ("length(id) < :v + 0", 0.5, "decimal", 3.5, "3.5"),
        ("length(id) = :v", "integer", "integer", 3, 2**31),
        ("gender = :v AND gender = :v", "code", "code", "female", 5),
    ],
)
async def test_types_and_examples_decide_what_is_taken(
    server: ToolServer, condition: str, declared: Any, told: str, given: Any, wrong: Any
) -> None:
    sql = f"SELECT id FROM patient_simple WHERE {condition}"
    made = {"name": "typed", "sql": sql, "parameters": {"v": declared}}
    await server.call("register_view", definition=made)
    assert (await server.call("describe_view", view="typed"))["parameters"] == {"v": told}
    asked = await server.call("query_view", view="typed", parameters={"v": given})
    assert sorted(row[0] for row in asked["rows"]) == ["ada", "bea"]
    error = await server.error("query_view", view="typed", parameters={"v": wrong})
    assert (error["code"], error["field"]) == ("parameter_type", "parameters.v")
    assert str(wrong) not in error["message"]
    await server.call("drop_view", view="typed")


async def test_validating_says_that_it_was_not_tried(server: ToolServer) -> None:
    checked = await server.call("validate_view", definition=ABOVE)
    assert (checked["replaces"], checked["unchanged"], checked["tried"]) == (True, True, 0)
    assert "values for its parameters" in checked["warnings"][0]


async def test_a_picture_is_drawn_of_the_rows_for_the_values(server: ToolServer) -> None:
    query = {"view": "above", "group_by": ["patient_id"], "aggregates": [{"fn": "count"}]}
    drawn = await server.result(
        "draw",
        chart="bar",
        query={**query, "parameters": {**GIVEN, "least": 8}},
        x="patient_id",
        y="count",
        title="Labs above 8",
    )
    assert not drawn.is_error
    assert drawn.structured_content["rows"] == [["bea", 1]]


async def test_the_clock_and_what_reaches_out_are_refused_there_too(server: ToolServer) -> None:
    sql = "SELECT id FROM patient_simple WHERE (:at::time AT TIME ZONE 'UTC') IS NOT NULL"
    error = await server.error(
        "register_view", definition={"name": "zoned", "sql": sql, "parameters": {"at": "string"}}
    )
    assert error["code"] == "sql_clock"


async def test_a_library_of_fhir_declares_them_with_documentation(server: ToolServer) -> None:
    made = {
        **sql_view("documented", SQL, observation_labs="observation_labs"),
        "parameter": [
            {"name": "least", "use": "in", "type": "decimal", "documentation": "Exclusive"},
            {"name": "status", "use": "in", "type": "code"},
        ],
    }
    await server.call("register_view", definition=made)
    told = (await server.call("describe_view", view="documented"))["parameters"]
    assert told == {"least": "decimal: Exclusive", "status": "code"}
    asked = await server.call("query_view", view="documented", parameters=GIVEN)
    assert asked["row_count"] == 2
    await server.call("drop_view", view="documented")


async def test_sql_run_binds_the_values_of_a_registered_view(operations: OperationServer) -> None:
    above = {"name": "subjectReference", "valueReference": {"reference": "Library/above"}}
    given = [{"name": "least", "valueDecimal": 8}, {"name": "status", "valueString": "final"}]
    bound = {"name": "parameters", "resource": parameters_of(given)}
    assert [row["id"] for row in await operations.rows(above, bound)] == ["l3"]
    status, _issue, code, _places = error_of(await operations.run(above))
    assert (status, code) == (400, "parameter_missing")
