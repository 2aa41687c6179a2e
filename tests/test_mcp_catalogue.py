"""Views registered, dropped and read as resources by an MCP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, TextResourceContents

from composed import sql_view
from prometheus_server import until
from researchflow_runners.batch.anchors import pin_anchor
from researchflow_server import contract
from researchflow_server.tools import schema
from tool_server import ToolServer, content, tool_server
from warehouse import patient

OWN: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "own_people",
    "title": "People of our own",
    "status": "active",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "birthDate", "name": "born"},
            ]
        }
    ],
}
BROKEN = {
    **OWN,
    "select": [{"column": [{"path": "id", "name": "id"}, {"path": "birthDat", "name": "born"}]}],
}

BORN = sql_view(
    "born_early",
    "SELECT p.id, p.birth_date FROM people AS p WHERE p.birth_date < '1970'",
    people="patient_simple",
)


@pytest_asyncio.fixture
async def server(postgres_dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[ToolServer]:
    """A server with one patient, refreshed."""
    async with tool_server(postgres_dsn, redis_url, tmp_path) as opened:
        await opened.put(patient("ada", birthDate="1960-05-01"))
        await opened.call("refresh_views")
        yield opened


async def resource(server: ToolServer, uri: str) -> Any:
    """The JSON of a resource."""
    (found,) = (await server.client.read_resource(uri)).contents
    assert isinstance(found, TextResourceContents)
    assert found.mime_type == "application/json"
    return json.loads(found.text)


async def named_views(server: ToolServer) -> list[str]:
    """The views that the schema of query_view names now: a client may keep it for a while."""
    listed = await server.server.list_tools()
    tool = next(tool for tool in listed if tool.name == contract.QUERY_VIEW)
    names: list[str] = tool.input_schema["properties"]["view"].get("enum", [])
    return names


async def test_registered_view_is_asked_listed_and_named_at_once(server: ToolServer) -> None:
    registered = contract.RegisterViewOutput.model_validate(
        await server.call("register_view", definition=OWN)
    )
    assert (registered.status, registered.rows, registered.dead_letters) == ("published", 1, 0)
    answer = await server.call("query_view", view="own_people")
    assert answer["rows"] == [["ada", "1960-05-01"]]
    assert answer["anchor"] == registered.anchor
    listed = contract.ListViewsOutput.model_validate(await server.call("list_views"))
    assert "own_people" in [row[0] for row in listed.rows]
    described = await server.call("describe_view", view="own_people", show="definition")
    assert described["definition"] == OWN
    assert "own_people" in await named_views(server)


async def test_validated_view_shows_its_columns_and_is_not_stored(server: ToolServer) -> None:
    checked = contract.ValidateViewOutput.model_validate(
        await server.call("validate_view", definition=OWN)
    )
    assert [row[:2] for row in checked.rows] == [["id", "id"], ["born", "date"]]
    assert (checked.view, checked.replaces, checked.unchanged) == ("own_people", False, False)
    assert "own_people" not in await named_views(server)
    await server.call("register_view", definition=OWN)
    again = await server.call("validate_view", definition=OWN)
    assert (again["replaces"], again["unchanged"]) == (True, True)
    other = await server.call("validate_view", definition={**OWN, "title": "Other"})
    assert (other["replaces"], other["unchanged"]) == (True, False)


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_fault_in_a_definition_is_told_with_its_place(server: ToolServer, tool: str) -> None:
    error = await server.error(tool, definition=BROKEN)
    assert error["code"] == "unknown_element"
    assert error["field"] == "select[0].column[1].path"
    assert error["span"] == [0, 8]
    assert error["did_you_mean"] == "birthDate"
    assert error["hint"]
    assert "own_people" not in await named_views(server)


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_name_of_a_shipped_view_is_refused(server: ToolServer, tool: str) -> None:
    error = await server.error(tool, definition={**OWN, "name": "patient_simple"})
    assert (error["code"], error["field"]) == ("view_is_shipped", "name")


async def test_dropped_view_is_gone_everywhere(server: ToolServer) -> None:
    await server.call("register_view", definition=OWN)
    dropped = contract.DropViewOutput.model_validate(
        await server.call("drop_view", view="own_people")
    )
    assert (dropped.status, dropped.view) == ("dropped", "own_people")
    assert (await server.error("query_view", view="own_people"))["code"] == "unknown_view"
    assert (await server.error("describe_view", view="own_people"))["code"] == "unknown_view"
    assert (await server.error("drop_view", view="own_people"))["code"] == "unknown_view"
    assert "own_people" not in await named_views(server)


async def test_view_registered_by_another_process_is_known(
    server: ToolServer, postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path / "other") as other:
        await other.call("register_view", definition=OWN)
    assert "own_people" in await named_views(server)
    assert (await server.call("query_view", view="own_people"))["row_count"] == 1


async def test_failed_build_says_why_and_registers_nothing(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.store.culprits.CULPRITS_MAX", 0)
    several = {**OWN, "select": [{"column": [{"path": "name.family", "name": "family"}]}]}
    await server.put(patient("bea", name=[{"family": "B"}, {"family": "C"}]))
    error = await server.error("register_view", definition=several)
    assert (error["code"], error["field"]) == ("view_fails", "own_people")
    assert "own_people" not in await named_views(server)


async def test_registration_that_waits_is_cancelled_and_leaves_nothing(
    server: ToolServer,
) -> None:
    async with server.runtime.stores.warehouse.transaction() as session:
        await session.execute("LOCK TABLE researchflow.ledger")
        registering = asyncio.create_task(server.error("register_view", definition=OWN))

        async def is_cancelled() -> bool:
            result = await server.result("refresh_views", cancel=True)
            return content(result).get("status") == "cancelled"

        assert await until(is_cancelled, timeout_s=30)
        error = await registering
    assert (error["code"], error["retryable"]) == ("refresh_cancelled", True)
    assert "own_people" not in await named_views(server)
    assert (await server.error("refresh_views", cancel=True))["code"] == "no_refresh_runs"
    assert (await server.call("register_view", definition=OWN))["status"] == "published"


async def test_refresh_that_has_ended_is_told_and_not_cancelled(server: ToolServer) -> None:
    ended = await server.call("refresh_views")
    told = await server.call("refresh_views", run_id=ended["run_id"], cancel=True)
    assert told["status"] == ended["status"] == "unchanged"


async def test_resources_that_a_new_view_lacks_are_counted(server: ToolServer) -> None:
    several = {**OWN, "select": [{"column": [{"path": "name.family", "name": "family"}]}]}
    await server.put(patient("bea", name=[{"family": "B"}, {"family": "C"}]))
    registered = await server.call("register_view", definition=several)
    assert (registered["rows"], registered["dead_letters"]) == (1, 1)
    assert registered["warnings"]


async def test_more_views_than_can_be_named_leave_the_schema_open(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VIEWS_NAMED_MAX", len(await named_views(server)))
    await server.call("register_view", definition={**OWN, "name": "one_too_many"})
    assert await named_views(server) == []


async def test_every_view_is_a_resource(server: ToolServer) -> None:
    await server.call("register_view", definition=OWN)
    listed = (await server.client.list_resources()).resources
    uris = [str(one.uri) for one in listed]
    assert uris[0] == "researchflow://views"
    assert "researchflow://views/own_people" in uris
    assert "researchflow://views/patient_simple" in uris
    templates = (await server.client.list_resource_templates()).resource_templates
    assert [one.uri_template for one in templates] == [
        "researchflow://views/{name}",
        "researchflow://anchors/{anchor}",
    ]


async def test_index_resource_tells_every_view_and_its_freshness(server: ToolServer) -> None:
    index = await resource(server, "researchflow://views")
    listed = await server.call("list_views")
    assert [one["view"] for one in index["views"]] == [row[0] for row in listed["rows"]]
    assert all(one["materialized"] and one["data_as_of"] for one in index["views"])


async def test_view_resource_carries_definition_columns_and_date(server: ToolServer) -> None:
    await server.call("register_view", definition=OWN)
    found = await resource(server, "researchflow://views/own_people")
    assert found["definition"] == OWN
    assert [(one["column"], one["type"]) for one in found["columns"]] == [
        ("id", "id"),
        ("born", "date"),
    ]
    assert found["anchor"] == 2


async def test_anchor_is_listed_described_by_pin_and_asked_by_it(server: ToolServer) -> None:
    await pin_anchor(server.runtime.stores.warehouse, "paper", 1)
    await server.put(patient("bea"))
    await server.call("refresh_views")
    uris = [str(one.uri) for one in (await server.client.list_resources()).resources]
    assert "researchflow://anchors" in uris
    listed = (await resource(server, "researchflow://anchors"))["anchors"]
    told = [(one["anchor"], one["pins"], one["readable"]) for one in listed]
    assert told == [(2, [], True), (1, ["paper"], True)]
    by_pin = await resource(server, "researchflow://anchors/paper")
    assert by_pin == await resource(server, "researchflow://anchors/1")
    assert by_pin["content_hash"].startswith("sha256:")
    answer = await server.call("query_view", view="patient_simple", as_of="paper")
    assert (answer["anchor"], answer["freshness"], answer["row_count"]) == (1, "anchored", 1)


@pytest.mark.parametrize("which", ["9", "papre", "9" * 20, "%00", "1/2", "2026-01-01T00:00:00Z"])
async def test_anchor_that_is_not_there_is_an_error_with_a_code(
    server: ToolServer, which: str
) -> None:
    await pin_anchor(server.runtime.stores.warehouse, "paper", 1)
    with pytest.raises(MCPError) as caught:
        await server.client.read_resource(f"researchflow://anchors/{which}")
    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.data["error"]["code"] in ("anchor_unknown", "pin_unknown")


async def test_pin_that_is_not_there_names_the_nearest(server: ToolServer) -> None:
    await pin_anchor(server.runtime.stores.warehouse, "paper", 1)
    error = await server.error("query_view", view="patient_simple", as_of="papr")
    assert (error["code"], error["did_you_mean"]) == ("pin_unknown", "paper")
    wrong = await server.error("query_view", view="patient_simple", as_of="no such name")
    assert wrong["field"].startswith("as_of")


async def test_unknown_resource_is_an_error_that_names_the_nearest(server: ToolServer) -> None:
    with pytest.raises(MCPError) as caught:
        await server.client.read_resource("researchflow://views/patient_simpel")
    assert "researchflow://views/patient_simple" in str(caught.value)


async def test_composed_view_is_asked_listed_described_and_dropped(server: ToolServer) -> None:
    registered = contract.RegisterViewOutput.model_validate(
        await server.call("register_view", definition=BORN)
    )
    assert (registered.status, registered.run_id, registered.anchor) == ("published", None, 1)
    answer = await server.call("query_view", view="born_early")
    assert answer["rows"] == [["ada", "1960-05-01"]]
    assert answer["anchor"] == 1
    await server.call("cache_resources", resources=[patient("bea", birthDate="1950")])
    assert (await server.call("query_view", view="born_early"))["row_count"] == 2
    described = contract.DescribeViewOutput.model_validate(
        await server.call("describe_view", view="born_early", show="sql")
    )
    assert (described.resource, described.reads) == (None, ["patient_simple"])
    assert described.sql is not None
    assert described.sql.startswith("SELECT p.id")
    assert [row[:2] for row in described.rows] == [["id", "string"], ["birth_date", "date"]]
    listed = await server.call("list_views", detail="full")
    row = next(row for row in listed["rows"] if row[0] == "born_early")
    assert dict(zip(listed["columns"], row, strict=True))["pending"] == 0
    assert "born_early" in await named_views(server)
    assert (await resource(server, "researchflow://views/born_early"))["definition"] == BORN
    assert (await server.call("drop_view", view="born_early"))["status"] == "dropped"
    assert (await server.error("query_view", view="born_early"))["code"] == "unknown_view"


async def test_composed_view_is_validated_without_being_kept(server: ToolServer) -> None:
    checked = await server.call("validate_view", definition=BORN)
    assert [row[:2] for row in checked["rows"]] == [["id", "string"], ["birth_date", "date"]]
    assert (checked["replaces"], checked["unchanged"]) == (False, False)
    await server.call("register_view", definition=BORN)
    again = await server.call("validate_view", definition=BORN)
    assert (again["replaces"], again["unchanged"]) == (True, True)


@pytest.mark.parametrize("tool", ["validate_view", "register_view"])
async def test_sql_that_may_not_run_is_refused_by_name(server: ToolServer, tool: str) -> None:
    asleep = sql_view("asleep", "SELECT pg_sleep(1) AS x FROM people", people="patient_simple")
    error = await server.error(tool, definition=asleep)
    assert "pg_sleep" in error["message"]
    assert error["span"] == [7, 15]
    assert "asleep" not in await named_views(server)


async def test_view_that_a_composed_one_reads_is_not_dropped(server: ToolServer) -> None:
    await server.call("register_view", definition=OWN)
    over = sql_view("over_own", "SELECT p.born FROM people AS p", people="own_people")
    await server.call("register_view", definition=over)
    error = await server.error("drop_view", view="own_people")
    assert error["code"] == "view_in_use"
    assert "over_own" in error["message"]
    without = {**OWN, "select": [{"column": [{"path": "getResourceKey()", "name": "id"}]}]}
    assert (await server.error("register_view", definition=without))["code"] == "view_in_use"
    assert (await server.error("validate_view", definition=without))["code"] == "view_in_use"
    assert (await server.call("query_view", view="over_own"))["rows"] == [["1960-05-01"]]


async def test_name_belongs_to_one_kind_of_view(server: ToolServer) -> None:
    await server.call("register_view", definition=OWN)
    taken = sql_view("own_people", "SELECT p.id FROM people AS p", people="patient_simple")
    assert (await server.error("register_view", definition=taken))["code"] == "name_taken"
    await server.call("register_view", definition=BORN)
    error = await server.error("register_view", definition={**OWN, "name": "born_early"})
    assert error["code"] == "name_taken"
