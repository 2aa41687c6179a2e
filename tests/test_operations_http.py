"""The doors of the operations: who may ask, what a request may carry, how each refusal looks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import patient
from operations_server import (
    SQL_RUN,
    VIEW_RUN,
    OperationServer,
    error_of,
    named,
    operation_server,
    resource,
    subject,
    view,
)
from researchflow_server.embedded import Services
from researchflow_server.operations import endpoint, inline
from researchflow_server.operations.body import BODY_BYTES_MAX
from tool_server import module_stores, tool_server

KEYS = view(("id", "getResourceKey()"))


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    async with (
        module_stores(services, number=14) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        await tools.put(patient("ada"))
        await tools.call("refresh_views")
        yield opened


@pytest.mark.parametrize("path", [SQL_RUN, VIEW_RUN, "/fhir/metadata", "/fhir/nothing"])
async def test_a_request_by_another_name_or_from_another_page_is_not_answered(
    server: OperationServer, path: str
) -> None:
    foreign = await server.get(path, headers={"host": "evil.example"})
    assert error_of(foreign) == (421, "forbidden", "host_not_allowed", ["Host"])
    page = await server.get(path, headers={"origin": "https://evil.example"})
    assert error_of(page) == (403, "forbidden", "origin_not_allowed", ["Origin"])


async def test_the_tools_answer_beside_the_operations(server: OperationServer) -> None:
    # Its standing GET is for those who have a session.
    assert (await server.http.get("/mcp")).status_code == 400
    assert (await server.http.post("/mcp", content=b"{}")).status_code in (400, 406)


@pytest.mark.parametrize(
    ("query", "issue", "code", "expression"),
    [
        ({}, "required", "subject_required", "subjectCanonical"),
        ({"subjectReference": "a", "subjectCanonical": "b"}, "invalid", "subject_ambiguous",
         "subjectCanonical"),
        ({"subjectreference": "a"}, "not-supported", "parameter_unknown", "subjectreference"),
        ({"subjectReference": "a", "group": "Group/1"}, "not-supported", "parameter_unknown",
         "group"),
        ({"subjectReference": "a", "source": "s3"}, "not-supported", "parameter_unknown", "source"),
        ({"subjectResource": "{}"}, "invalid", "parameter_invalid", "subjectResource"),
        ({"resource": "{}"}, "invalid", "parameter_invalid", "resource"),
        ({"subjectReference": "a", "_limit": "-1"}, "invalid", "parameter_invalid", "_limit"),
        ({"subjectReference": "a", "_limit": "4000000000"}, "value", "parameter_invalid",
         "_limit"),
        ({"subjectReference": "a", "header": "yes"}, "invalid", "parameter_invalid", "header"),
        ({"subjectReference": "a", "_since": "2024-01-01"}, "value", "parameter_invalid", "_since"),
        ({"subjectReference": "a", "_since": "2024-13-01T00:00:00Z"}, "value",
         "parameter_invalid", "_since"),
        ({"subjectReference": "a", "patient": "Group/1"}, "value", "parameter_invalid", "patient"),
        ({"subjectReference": ""}, "invalid", "parameter_invalid", "subjectReference"),
        ({"subjectReference": ["a", "b"]}, "invalid", "parameter_invalid", "subjectReference"),
    ],
)  # fmt: skip
async def test_a_parameter_that_cannot_be_honoured_is_an_error(
    server: OperationServer, query: dict[str, Any], issue: str, code: str, expression: str
) -> None:
    response = await server.get(SQL_RUN, **query)
    assert error_of(response) == (400, issue, code, [expression])


@pytest.mark.parametrize(
    ("parameter", "expression"),
    [
        ({"name": "_limit", "valueString": "5"}, "_limit"),
        ({"name": "_limit", "valueInteger": True}, "_limit"),
        ({"name": "_limit"}, "_limit"),
        ({"name": "header", "valueBoolean": "true"}, "header"),
        ({"name": "patient", "valueReference": "Patient/a"}, "patient"),
        ({"name": "subjectReference", "valueReference": {}}, "subjectReference"),
        ({"name": "subjectResource", "valueString": "x"}, "subjectResource"),
        ({"name": "resource", "resource": []}, "resource"),
        ({"valueString": "x"}, "parameter[1]"),
    ],
)
async def test_a_parameter_of_another_type_is_an_error(
    server: OperationServer, parameter: dict[str, Any], expression: str
) -> None:
    response = await server.run(named("patient_simple"), parameter)
    status, issue, code, found = error_of(response)
    assert (status, issue, code) == (400, "invalid", "parameter_invalid")
    assert found == [expression]


async def test_the_address_and_a_parameter_cannot_both_name_the_view(
    server: OperationServer,
) -> None:
    path = "/fhir/ViewDefinition/patient_simple/$viewdefinition-run"
    response = await server.get(path, viewReference="patient_simple")
    assert error_of(response) == (400, "invalid", "subject_ambiguous", ["viewReference"])
    both = await server.post(
        {"resourceType": "Parameters", "parameter": [{"name": "_limit", "valueInteger": 1}]},
        subjectReference="patient_simple",
        _limit="2",
    )
    assert error_of(both) == (400, "invalid", "parameter_invalid", ["_limit"])


async def test_since_and_resources_of_the_request_do_not_go_together(
    server: OperationServer,
) -> None:
    since = {"name": "_since", "valueInstant": "2024-01-01T00:00:00Z"}
    response = await server.run(subject(KEYS), since, resource(patient("x")))
    assert error_of(response) == (400, "not-supported", "parameter_conflict", ["_since"])


@pytest.mark.parametrize(
    ("body", "status", "issue", "code"),
    [
        (b'{"resourceType":', 400, "structure", "body_invalid"),
        (b'{"a":"\xff"}', 400, "structure", "body_invalid"),
        (b'{"a":1,"a":2}', 400, "structure", "body_invalid"),
        (b'{"a":"\\u0000"}', 400, "structure", "body_invalid"),
        (b'{"a":"\\ud800"}', 400, "structure", "body_invalid"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, "structure", "body_invalid"),
        (b"[]", 400, "structure", "body_invalid"),
        (b'{"resourceType":"Parameters","parameter":{}}', 400, "invalid", "parameter_invalid"),
        (b" " * (BODY_BYTES_MAX + 1), 413, "too-long", "body_too_large"),
    ],
    ids=["cut", "not utf-8", "twice", "nul", "surrogate", "deep", "list", "no list", "large"],
)
async def test_a_body_that_is_no_request_is_refused(
    server: OperationServer,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    status: int,
    issue: str,
    code: str,
) -> None:
    response = await server.post(body)
    assert error_of(response)[:3] == (status, issue, code)
    assert "Traceback" not in caplog.text
    assert (await server.run(named("patient_simple"))).status_code == 200


async def test_a_body_of_unknown_length_is_bounded_too(server: OperationServer) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _part in range(BODY_BYTES_MAX // 65_536 + 2):
            yield b" " * 65_536

    response = await server.http.post(SQL_RUN, content=endless())
    assert error_of(response)[:3] == (413, "too-long", "body_too_large")


async def test_another_media_type_is_refused(server: OperationServer) -> None:
    for kind in ("text/plain", "application/json; charset=latin-1", ""):
        response = await server.post(b"{}", headers={"content-type": kind})
        assert error_of(response)[:3] == (415, "not-supported", "media_type_unsupported")
    json_body = await server.post(KEYS, headers={"content-type": "application/json; charset=UTF-8"})
    assert json_body.status_code == 200


async def test_other_methods_and_addresses_are_refused(server: OperationServer) -> None:
    response = await server.http.put(SQL_RUN)
    assert error_of(response)[:3] == (405, "not-supported", "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    posted = await server.http.post("/fhir/metadata")
    assert error_of(posted)[:3] == (405, "not-supported", "method_not_allowed")
    head = await server.http.head(SQL_RUN)
    assert head.status_code == 405
    missing = await server.get("/fhir/Patient/1")
    assert error_of(missing)[:3] == (404, "not-found", "address_unknown")


async def test_http_1_0_which_cannot_tell_a_cut_answer_is_refused(
    server: OperationServer,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {SQL_RUN} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    assert head.split()[1] == "505"
    assert json.loads(body)["issue"][0]["details"]["coding"][0]["code"] == "http_version"


async def test_more_resources_than_the_bound_are_refused(
    server: OperationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "RESOURCES_MAX", 2)
    entries = [{"resource": patient(f"p{number}")} for number in range(3)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    response = await server.run(subject(KEYS), resource(bundle))
    assert error_of(response) == (413, "too-costly", "too_many_resources", ["resource"])


async def test_a_fault_of_our_own_is_told_and_logged_without_what_it_carried(
    server: OperationServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_args: object, **_named: object) -> None:
        raise RuntimeError("Zaphod Beeblebrox")

    monkeypatch.setattr(endpoint, "subject_of", broken)
    with caplog.at_level(logging.WARNING):
        response = await server.run(named("patient_simple"))
    assert error_of(response)[:3] == (500, "exception", "internal_error")
    assert "RuntimeError at" in caplog.text
    assert "Zaphod" not in caplog.text + response.text


async def test_the_capability_statement_names_exactly_these_operations(
    server: OperationServer,
) -> None:
    response = await server.get("/fhir/metadata")
    stated = response.json()
    assert response.headers["content-type"] == "application/fhir+json"
    (rest,) = stated["rest"]
    assert [one["name"] for one in rest["operation"]] == ["$sql-run", "$viewdefinition-run"]
    assert [one["type"] for one in rest["resource"]] == ["ViewDefinition"]
    assert set(stated["format"]) == {
        "application/fhir+json", "application/json", "application/x-ndjson", "text/csv",
        "application/vnd.apache.parquet",
    }  # fmt: skip
    for operation in rest["operation"]:
        definition = (await server.http.get(operation["definition"])).json()
        assert definition["url"] == operation["definition"]
        assert f"${definition['code']}" == operation["name"]
        taken = {one["name"] for one in definition["parameter"] if one["use"] == "in"}
        unknown = await server.get(f"/fhir/{operation['name']}", nonsense="x")
        assert set(told_allowed(unknown)) == taken
    other = await server.get("/fhir/OperationDefinition/sql-export")
    assert error_of(other)[:3] == (404, "not-found", "address_unknown")


def told_allowed(response: Any) -> list[str]:
    text: str = response.json()["issue"][0]["details"]["text"]
    return text.partition("allowed: ")[2].split(", ")
