"""Views in SQL as a model writes them, and what of the data a definition fails on."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from mcp.shared.exceptions import MCPError

from clinic import condition, patient
from composed import sql_view
from researchflow_runners.composed.upkeep import drop_expired
from researchflow_server import contract
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

SQL = "SELECT id, birth_date FROM patient_simple WHERE gender = 'female'"
WOMEN = {"name": "women", "sql": SQL, "description": "Women of all ages"}
FAMILY: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "families",
    "status": "active",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "name.family", "name": "family"},
            ]
        }
    ],
}


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """Two women, one born in a year that is all that is known; each test drops its view."""
    async with (
        module_stores(services, number=15) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as opened,
    ):
        await opened.put(
            patient("ada", birthDate="1960-05-01"),
            {**patient("bea", birthDate="1990"), "name": [{"family": "B"}, {"family": "C"}]},
            condition("c1", "ada"),
        )
        await opened.call("refresh_views")
        yield opened


def library(**content: Any) -> dict[str, Any]:
    """A Library whose one attachment is written out."""
    made = sql_view("women", SQL, patient_simple="patient_simple")
    return {**made, "content": [{"contentType": "application/sql", **content}]}


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_name_and_sql_are_a_view(server: ToolServer, tool: str) -> None:
    made = await server.call(tool, definition=WOMEN)
    assert (made["view"], made["warnings"]) == ("women", [])
    if tool == "register_view":
        assert made["status"] == "published"
        answer = await server.call("query_view", view="women")
        assert sorted(answer["rows"]) == [["ada", "1960-05-01"], ["bea", "1990"]]
        shown = await server.call("describe_view", view="women", show="definition", detail="full")
        content = shown["definition"]["content"][0]
        assert base64.b64decode(content["data"]).decode() == SQL
        assert content["extension"][0]["valueString"] == SQL
        assert (shown["reads"], shown["description"]) == (["patient_simple"], "Women of all ages")
        assert (await server.call("drop_view", view="women"))["status"] == "dropped"


async def test_what_a_short_form_registers_is_told_unchanged(server: ToolServer) -> None:
    await server.call("register_view", definition=WOMEN)
    again = contract.ValidateViewOutput.model_validate(
        await server.call("validate_view", definition=WOMEN)
    )
    assert (again.replaces, again.unchanged, again.tried) == (True, True, 2)
    await server.call("drop_view", view="women")


async def test_two_views_and_a_with_query_are_found_in_the_text(server: ToolServer) -> None:
    sql = (
        "WITH ill AS (SELECT patient_id FROM Condition_Simple) SELECT p.id FROM patient_simple AS p"
        " JOIN ill ON ill.patient_id = p.id"
    )
    await server.call("register_view", definition={"name": "ill", "sql": sql})
    assert (await server.call("query_view", view="ill"))["rows"] == [["ada"]]
    await server.call("drop_view", view="ill")


@pytest.mark.parametrize(
    "content",
    [
        {"data": SQL},
        {"data": f"\n {SQL}"},
        {"data": base64.b64encode(SQL.encode()).decode()},
        {"extension": [{"url": "http://x.org/StructureDefinition/sql-text", "valueString": SQL}]},
    ],
)
async def test_a_library_takes_plain_text_and_base64(
    server: ToolServer, content: dict[str, Any]
) -> None:
    await server.call("register_view", definition=library(**content))
    assert (await server.call("query_view", view="women"))["row_count"] == 2
    await server.call("drop_view", view="women")


@pytest.mark.parametrize(
    ("definition", "code", "field", "word"),
    [
        ({"name": "x", "sql": "SELECT id FROM patients"}, "unknown_relation", "sql", "list_views"),
        ({"name": "x", "sql": "SELECT 1 AS one"}, "sql_reads_no_view", "sql", "list_views"),
        ({"name": "x", "sql": "SELEC 1"}, "sql_syntax", "sql", "PostgreSQL"),
        (
            {"name": "x", "sql": "SELECT YEAR(birth_date) AS y FROM patient_simple"},
            "sql_function",
            "sql",
            "extract(year",
        ),
        ({"sql": SQL}, "invalid_definition", "name", "name"),
        ({"name": "x", "sql": SQL, "query": "y"}, "invalid_definition", "query", "name and sql"),
        ({"name": "x", "sql": 5}, "invalid_definition", "sql", "text"),
        ({"name": "patient_simple", "sql": SQL}, "name_taken", "name", "another name"),
        ("SELECT 1", "invalid_argument", "definition", '"sql": "SELECT id FROM patient_simple"'),
    ],
)
@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_a_wrong_short_form_is_answered_with_what_mends_it(
    server: ToolServer, tool: str, definition: Any, code: str, field: str, word: str
) -> None:
    error = await server.error(tool, definition=definition)
    assert (error["code"], error["field"]) == (code, field)
    assert word in error["hint"]


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_parts_of_a_short_form_beside_definition_are_told_to_go_inside(
    server: ToolServer, tool: str
) -> None:
    error = await server.error(tool, **WOMEN)
    assert (error["code"], error["did_you_mean"]) == ("unknown_argument", "definition")
    assert '"sql"' in error["hint"]


async def test_resources_that_would_fail_are_counted_by_column_before_it_is_built(
    server: ToolServer,
) -> None:
    checked = contract.ValidateViewOutput.model_validate(
        await server.call("validate_view", definition=FAMILY)
    )
    assert (checked.tried, checked.failing) == (2, 1)
    (warning,) = checked.warnings
    assert '1 resources would be left out: column "family" has several values' in warning
    assert "bea" not in warning


async def test_a_definition_that_all_resources_fit_says_so(server: ToolServer) -> None:
    one = {**FAMILY, "select": [{"column": [{"path": "birthDate", "name": "born"}]}]}
    checked = await server.call("validate_view", definition=one)
    assert (checked["tried"], checked["failing"], checked["warnings"]) == (2, 0, [])


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_sql_that_rows_do_not_fit_is_told_when_it_is_published(
    server: ToolServer, tool: str
) -> None:
    sql = "SELECT id, birth_date::date AS born FROM patient_simple"
    told = (await server.call(tool, definition={"name": "born", "sql": sql}))["warnings"]
    assert any("SQLSTATE" in warning for warning in told)
    assert any('birth_date::date fails on 1 rows of view "patient_simple"' in one for one in told)
    assert "1990" not in str(told)
    if tool == "register_view":
        await server.call("drop_view", view="born")


async def test_sql_that_guards_its_cast_is_only_reminded_of_it(server: ToolServer) -> None:
    guarded = r"CASE WHEN birth_date ~ '^\d{4}-\d{2}-\d{2}' THEN birth_date::date END"
    sql = f"SELECT id, {guarded} AS born FROM patient_simple"
    told = await server.call("validate_view", definition={"name": "born", "sql": sql})
    assert told["tried"] == 2
    assert all("unless the SQL leaves them out" in warning for warning in told["warnings"])


async def _told_everywhere(server: ToolServer) -> str:
    """Whatever lists views, as one text."""
    listed = await server.call("list_views", detail="full")
    tools = await server.client.list_tools()
    resources = await server.client.list_resources()
    index = await server.client.read_resource("researchflow://views")
    wrong = await server.error("query_view", view="women_")
    relation = await server.error("query_sql", sql="SELECT id FROM women_")
    statistics = await server.call("get_statistics", detail="full")
    with pytest.raises(MCPError) as prompt:
        await server.client.get_prompt("profile_view", {"view": "nothing_like_it"})
    prompted = prompt.value.error.message
    return f"{listed} {tools} {resources} {index} {wrong} {relation} {statistics} {prompted}"


async def test_a_private_view_is_asked_by_its_name_and_told_nowhere(server: ToolServer) -> None:
    made = contract.RegisterViewOutput.model_validate(
        await server.call("register_view", definition=WOMEN, private=True)
    )
    assert re.fullmatch("women_[a-z2-7]{26}", made.view)
    assert (await server.call("query_view", view=made.view))["row_count"] == 2
    asked = await server.call("query_sql", sql=f"SELECT count(*) AS n FROM {made.view}")
    assert asked["rows"] == [[2]]
    assert (await server.call("describe_view", view=made.view))["view"] == made.view
    assert made.view not in await _told_everywhere(server)
    over = {"name": "over", "sql": f"SELECT id FROM {made.view}"}
    assert made.view not in str((await server.error("register_view", definition=over))["hint"])
    again = await server.call("register_view", definition=WOMEN, private=True)
    assert again["view"] != made.view
    for name in (made.view, again["view"]):
        assert (await server.call("drop_view", view=name))["status"] == "dropped"


async def test_a_view_that_expired_is_gone_and_its_name_is_free(server: ToolServer) -> None:
    made = await server.call("register_view", definition=WOMEN, expires_in_s=3_600)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    described = await server.call("describe_view", view="women")
    assert described["expires_at"] == made["expires_at"]
    over = {"name": "over", "sql": "SELECT id FROM women"}
    assert (await server.error("register_view", definition=over))["code"] == "view_expires"
    assert (await server.call("query_view", view="women"))["row_count"] == 2
    await _expire(server)
    assert (await server.error("query_view", view="women"))["code"] == "unknown_view"
    assert "women" not in str(await server.call("list_views"))
    stays = await server.call("register_view", definition=WOMEN)
    assert "expires_at" not in stays
    assert (await server.call("query_view", view="women"))["row_count"] == 2
    await server.call("drop_view", view="women")


async def test_what_an_expired_view_left_is_freed(server: ToolServer) -> None:
    await server.call("register_view", definition=WOMEN, expires_in_s=60)
    await _expire(server)
    async with server.runtime.stores.warehouse.transaction() as session:
        assert await session.fetchval("SELECT to_regclass('sqlonfhir.women') IS NOT NULL")
        assert await drop_expired(session) == 1
        assert await session.fetchval("SELECT to_regclass('sqlonfhir.women') IS NULL")


async def _expire(server: ToolServer) -> None:
    """Lets the time of every view that expires be over."""
    async with server.runtime.stores.warehouse.session() as session:
        await session.execute(
            "UPDATE researchflow.composed_view SET expires_at = now() WHERE expires_at IS NOT NULL"
        )


@pytest.mark.parametrize("kept", [{"private": True}, {"expires_in_s": 60}])
async def test_a_view_with_rows_is_neither_private_nor_does_it_expire(
    server: ToolServer, kept: dict[str, Any]
) -> None:
    error = await server.error("register_view", definition=FAMILY, **kept)
    assert (error["code"], error["field"]) == ("invalid_argument", next(iter(kept)))
    assert '"sql"' in error["hint"]


@pytest.mark.parametrize("seconds", [0, 59, 2_592_001, True, "an hour"])
async def test_a_time_to_expire_has_bounds(server: ToolServer, seconds: Any) -> None:
    error = await server.error("register_view", definition=WOMEN, expires_in_s=seconds)
    assert (error["code"], error["field"]) == ("invalid_argument", "expires_in_s")
    assert "60" in error["hint"]
