"""`$sql-run` and `$viewdefinition-run`: which rows come, from where, and as of when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, lab, patient
from composed import sql_view
from operations_server import (
    SQL_RUN,
    VIEW_RUN,
    OperationServer,
    error_of,
    named,
    operation_server,
    resource,
    rows_of,
    subject,
    view,
)
from researchflow_server.embedded import Services
from tool_server import module_stores, tool_server

TYPED_RUN = "/fhir/ViewDefinition/$viewdefinition-run"
CANONICAL = "https://researchflow.example/ViewDefinition/patient_simple"
KEYS = view(("id", "getResourceKey()"))
SUBJECTS = view(
    ("id", "getResourceKey()"), ("of", "subject.getReferenceKey(Patient)"), resource="Condition"
)


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    """Two patients and their charts materialised, one more in the source, one only inserted."""
    async with (
        module_stores(services, number=3) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        await tools.put(patient("ada", birthDate="1950"), patient("bob", gender="male"))
        await tools.put(condition("c-ada", "ada"), condition("c-bob", "bob"), lab("l-ada", "ada"))
        await tools.call("refresh_views")
        await tools.put(patient("eve"), condition("c-eve", "eve"))
        await tools.call("cache_resources", resources=[patient("new")])
        yield opened


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["id"] for row in rows)


async def test_a_published_view_gives_its_rows_with_the_waiting_changes(
    server: OperationServer,
) -> None:
    response = await server.get(SQL_RUN, subjectReference="ViewDefinition/patient_simple")
    assert ids(rows_of(response)) == ["ada", "bob", "new"]
    told = response.headers
    assert told["x-researchflow-route"] == "materialized"
    assert told["x-researchflow-freshness"] == "live"
    assert told["x-researchflow-anchor"] == "1"
    assert told["x-researchflow-provisional"] == "1"
    assert told["x-researchflow-missing-resources"] == "0"
    assert "x-researchflow-degradations" not in told
    assert told["x-researchflow-data-as-of"] <= told["x-researchflow-computed-at"]
    assert told["cache-control"] == "no-store"


async def test_another_view_is_computed_from_the_source_and_says_what_it_lacks(
    server: OperationServer,
) -> None:
    response = await server.run(subject(KEYS))
    assert ids(rows_of(response)) == ["ada", "bob", "eve"]
    told = response.headers
    assert told["x-researchflow-route"] == "direct"
    assert told["x-researchflow-degradations"] == "overlay_excluded"
    assert "x-researchflow-anchor" not in told
    assert told["x-researchflow-data-as-of"] == told["x-researchflow-computed-at"]


async def test_the_published_definition_sent_whole_is_read_from_its_tables(
    server: OperationServer,
) -> None:
    definition = server.tools.runtime.views["patient_simple"].definition
    response = await server.run(subject(definition))
    assert response.headers["x-researchflow-route"] == "materialized"
    assert ids(rows_of(response)) == ["ada", "bob", "new"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (SQL_RUN, {"subjectCanonical": CANONICAL}),
        (SQL_RUN, {"subjectReference": "patient_simple"}),
        (SQL_RUN, {"subjectReference": "{base}/fhir/ViewDefinition/patient_simple"}),
        (VIEW_RUN, {"viewCanonical": CANONICAL}),
        (VIEW_RUN, {"viewReference": "ViewDefinition/patient_simple"}),
        (TYPED_RUN, {"viewReference": "ViewDefinition/patient_simple"}),
        ("/fhir/ViewDefinition/patient_simple/$viewdefinition-run", {}),
    ],
)
async def test_a_known_view_is_found_by_every_name_it_has(
    server: OperationServer, path: str, query: dict[str, str]
) -> None:
    base = f"http://127.0.0.1:{server.port}"
    found = {name: value.replace("{base}", base) for name, value in query.items()}
    response = await server.get(path, **found)
    assert response.status_code == 200, response.text
    assert response.headers["x-researchflow-view"] == "patient_simple"
    assert ids(rows_of(response)) == ["ada", "bob", "new"]


@pytest.mark.parametrize(
    ("path", "query", "expression"),
    [
        (SQL_RUN, {"subjectCanonical": f"{CANONICAL}|9.9"}, ["subjectCanonical"]),
        (SQL_RUN, {"subjectReference": "Library/patient_simple"}, ["subjectReference"]),
        (VIEW_RUN, {"viewReference": "ViewDefinition/patient_simpel"}, ["viewReference"]),
        ("/fhir/ViewDefinition/nobody/$viewdefinition-run", {}, []),
    ],
)
async def test_a_view_that_is_not_known_is_not_found(
    server: OperationServer, path: str, query: dict[str, str], expression: list[str]
) -> None:
    response = await server.get(path, **query)
    assert error_of(response) == (404, "not-found", "subject_not_found", expression)


async def test_a_bare_definition_is_the_subject_and_the_url_says_the_rest(
    server: OperationServer,
) -> None:
    logical = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    for path, body in ((SQL_RUN, KEYS), (VIEW_RUN, logical), (TYPED_RUN, KEYS)):
        response = await server.post(body, path=path, _format="json", _limit="2")
        assert response.status_code == 200, response.text
        assert len(response.json()) == 2
        assert response.headers["x-researchflow-limit"] == "2"


async def test_resources_in_the_request_are_all_that_is_read(server: OperationServer) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": patient("two")}, {"resource": condition("c", "two")}],
    }
    response = await server.run(
        subject(KEYS), resource(patient("one")), resource(bundle), resource(lab("l", "one"))
    )
    assert ids(rows_of(response)) == ["one", "two"]
    assert response.headers["x-researchflow-route"] == "inline"
    assert "x-researchflow-data-as-of" not in response.headers
    assert ids(await server.rows(subject(KEYS))) == ["ada", "bob", "eve"]


async def test_no_resource_of_the_type_gives_no_rows(server: OperationServer) -> None:
    assert await server.rows(subject(KEYS), resource(condition("c", "one"))) == []


async def test_numbers_of_the_request_keep_their_digits(server: OperationServer) -> None:
    definition = view(("v", "value.ofType(Quantity).value"), resource="Observation")
    body = lab("l", "one", value=None)
    text = parameters_text(definition, body).replace('"unit"', '"value":120.500,"unit"')
    response = await server.post(text.encode())
    assert response.text == '{"v":120.500}\n'


def parameters_text(definition: dict[str, Any], body: dict[str, Any]) -> str:
    return json.dumps(
        {"resourceType": "Parameters", "parameter": [subject(definition), resource(body)]},
        separators=(",", ":"),
    )


@pytest.mark.parametrize(
    ("body", "expression"),
    [
        ({"resourceType": "Patient", "id": "x", "name": {"family": "F"}}, "resource[1].name"),
        ({"resourceType": "Patient", "id": "x", "gender": 5}, "resource[1].gender"),
        ({"resourceType": "Nobody", "id": "x"}, "resource[1]"),
        ({"id": "x"}, "resource[1]"),
        (
            {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": 1}}]},
            "resource[1].entry[0].resource",
        ),
    ],
)
async def test_what_is_no_resource_is_named_by_its_place(
    server: OperationServer, body: dict[str, Any], expression: str
) -> None:
    response = await server.run(subject(KEYS), resource(patient("ok")), resource(body))
    assert error_of(response) == (400, "structure", "resource_invalid", [expression])


async def test_a_resource_that_does_not_fit_the_view_is_named_without_its_values(
    server: OperationServer,
) -> None:
    definition = view(("family", "name.family"))
    twice = {**patient("x"), "name": [{"family": "Secret"}, {"family": "Hidden"}]}
    response = await server.run(
        subject(definition), resource(patient("ok")), resource(condition("c", "x")), resource(twice)
    )
    assert error_of(response) == (422, "processing", "resource_not_computable", ["resource[2]"])
    assert '"family"' in response.json()["issue"][0]["diagnostics"]
    assert "Secret" not in response.text


async def test_a_stored_resource_that_does_not_fit_is_an_error_and_no_short_answer(
    server: OperationServer,
) -> None:
    definition = view(("code", "code.coding.code | subject.reference"), resource="Condition")
    response = await server.run(subject(definition))
    assert error_of(response)[:3] == (422, "processing", "resource_not_computable")


@pytest.mark.parametrize(
    ("definition", "code", "expression"),
    [
        (
            view(("id", "nonsense()")),
            "unknown_function",
            "subjectResource.select[0].column[0].path",
        ),
        ({**KEYS, "select": []}, "invalid_definition", "subjectResource.select"),
        (view(("a", "id"), ("a", "id")), "duplicate_column", "subjectResource.select"),
        ({**KEYS, "resourceType": "Patient"}, "subject_type", "subjectResource"),
    ],
)
async def test_a_view_that_cannot_run_says_where(
    server: OperationServer, definition: dict[str, Any], code: str, expression: str
) -> None:
    response = await server.run(subject(definition))
    assert error_of(response) == (422, "invalid", code, [expression])


async def test_patients_narrow_a_published_view_after_the_merge(server: OperationServer) -> None:
    for asked in ("Patient/ada", "ada"):
        response = await server.get(SQL_RUN, subjectReference="condition_simple", patient=asked)
        assert ids(rows_of(response)) == ["c-ada"]
        assert response.headers["x-researchflow-route"] == "materialized"
    response = await server.http.get(
        f"{SQL_RUN}?subjectReference=patient_simple&patient=new&patient=Patient/ada"
    )
    assert ids(rows_of(response)) == ["ada", "new"]


async def test_a_patient_whom_only_the_source_knows_is_known(server: OperationServer) -> None:
    response = await server.get(SQL_RUN, subjectReference="condition_simple", patient="eve")
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["x-researchflow-route"] == "materialized"


async def test_a_source_of_its_own_is_what_other_views_are_computed_from(
    source_dsn: str, postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with (
        tool_server(postgres_dsn, redis_url, tmp_path, source_url=source_dsn) as tools,
        operation_server(tools) as apart,
    ):
        await tools.put(patient("ada"))
        await tools.call("refresh_views")
        await tools.put(patient("eve"))
        assert ids(await apart.rows(named("patient_simple"))) == ["ada"]
        assert ids(await apart.rows(subject(KEYS))) == ["ada", "eve"]
        assert ids(await apart.rows(subject(KEYS), resource(patient("one")))) == ["one"]


async def test_patients_narrow_what_no_column_tells_in_the_source(server: OperationServer) -> None:
    of_eve = {"name": "patient", "valueReference": {"reference": "Patient/eve"}}
    bare = view(("id", "getResourceKey()"), resource="Condition")
    response = await server.run(subject(bare), of_eve)
    assert ids(rows_of(response)) == ["c-eve"]
    assert response.headers["x-researchflow-route"] == "direct"
    inline = await server.rows(
        subject(bare), of_eve, resource(condition("x", "eve")), resource(condition("y", "ada"))
    )
    assert ids(inline) == ["x"]


@pytest.mark.parametrize("subject_name", ["patient_simple", "condition_simple"])
async def test_a_patient_nobody_knows_is_an_error(
    server: OperationServer, subject_name: str
) -> None:
    response = await server.get(SQL_RUN, subjectReference=subject_name, patient="Patient/nobody")
    assert error_of(response) == (400, "not-found", "patient_not_found", ["patient"])
    assert "nobody" not in response.text
    direct = await server.run(subject(KEYS), {"name": "patient", "valueString": "nobody"})
    assert error_of(direct) == (400, "not-found", "patient_not_found", ["patient"])


async def test_a_type_without_patients_cannot_be_narrowed_by_one(server: OperationServer) -> None:
    definition = view(("id", "id"), resource="Organization")
    response = await server.run(subject(definition), {"name": "patient", "valueString": "ada"})
    status, issue, code, found = error_of(response)
    assert (status, issue, code, found) == (
        400, "not-supported", "patient_not_applicable", ["patient"],
    )  # fmt: skip
    assert '"Organization"' in response.json()["issue"][0]["diagnostics"]


async def test_since_reads_the_source_and_gives_what_changed_after_it(
    server: OperationServer,
) -> None:
    first = await server.get(SQL_RUN, subjectReference="patient_simple")
    anchored_at = first.headers["x-researchflow-data-as-of"]
    response = await server.get(SQL_RUN, subjectReference="patient_simple", _since=anchored_at)
    assert ids(rows_of(response)) == ["eve"]
    assert response.headers["x-researchflow-route"] == "direct"
    later = await server.get(
        SQL_RUN, subjectReference="patient_simple", _since="2199-01-01T00:00:00Z"
    )
    assert rows_of(later) == []


async def test_a_deployment_without_speed_layer_reads_the_anchor_and_says_so(
    server: OperationServer, tmp_path: Path
) -> None:
    settings = server.tools.runtime.settings
    async with (
        tool_server(
            str(settings.database_url), str(settings.redis_url), tmp_path, use_speed_layer=False
        ) as tools,
        operation_server(tools) as anchored,
    ):
        response = await anchored.get(SQL_RUN, subjectReference="patient_simple")
    assert ids(rows_of(response)) == ["ada", "bob"]
    assert response.headers["x-researchflow-freshness"] == "anchored"
    assert response.headers["x-researchflow-degradations"] == "speed_layer_disabled"


async def test_no_rows_at_all_is_an_empty_answer(server: OperationServer) -> None:
    response = await server.run(named("patient_simple"), {"name": "_limit", "valueInteger": 0})
    assert (response.status_code, response.text) == (200, "")


async def test_a_view_registered_at_run_time_is_run_by_its_name(server: OperationServer) -> None:
    definition = {**KEYS, "name": "just_keys", "url": "https://example.org/just_keys"}
    await server.tools.call("register_view", definition=definition)
    response = await server.get(SQL_RUN, subjectCanonical="https://example.org/just_keys")
    assert ids(rows_of(response)) == ["ada", "bob", "eve", "new"]
    assert response.headers["x-researchflow-route"] == "materialized"
    await server.tools.call("drop_view", view="just_keys")
    gone = await server.get(SQL_RUN, subjectReference="ViewDefinition/just_keys")
    assert error_of(gone)[:3] == (404, "not-found", "subject_not_found")


async def test_answers_of_known_views_are_counted_as_those_of_tools_are(
    server: OperationServer,
) -> None:
    counted = server.tools.runtime.hybrid.statistics.answers
    before = counted.copy()
    await server.rows(named("patient_simple"))
    await server.rows(subject(KEYS))
    await server.rows(named("patient_simple"), {"name": "_limit", "valueInteger": 1})
    await server.run(named("patient_simple"), resource(patient("x")))
    sql = sql_view("condition_simple", "SELECT c.id FROM c", c="condition_simple")
    await server.run(subject(sql))
    assert counted - before == {("patient_simple", "materialized"): 2}
