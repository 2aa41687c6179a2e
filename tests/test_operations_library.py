"""`$sql-run` of SQL over views: in the request or registered, its parameters bound, dated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, lab, patient
from composed import drop, keep, sql_view
from operations_server import (
    SQL_RUN,
    VIEW_RUN,
    OperationServer,
    error_of,
    operation_server,
    parameters_of,
    resource,
    rows_of,
    subject,
    view,
)
from researchflow_runners.composed import sql_views, words
from researchflow_runners.errors import ViewDefinitionError
from researchflow_server.embedded import Services
from tool_server import module_stores, tool_server

COUNT = "SELECT c.icd10_code AS code, count(*) AS n FROM c GROUP BY c.icd10_code"
SIMPLE = "https://researchflow.example/ViewDefinition/condition_simple"
ABOVE = """
SELECT p.id, l.value_quantity AS value, l.effective_datetime AS taken
FROM p JOIN l ON l.patient_id = p.id
WHERE l.value_quantity > :least AND p.gender = :gender AND l.effective_datetime >= :since
ORDER BY l.value_quantity DESC
"""
DECLARED = (("least", "decimal"), ("gender", "code"), ("since", "date"))
GIVEN = (
    {"name": "least", "valueDecimal": 6.5},
    {"name": "gender", "valueCode": "female"},
    {"name": "since", "valueDate": "2024"},
)


def query(sql: str, parameters: Any = (), **depends_on: str) -> dict[str, Any]:
    """A SQLQuery over the views behind these labels."""
    return {
        **sql_view("asked", sql, **depends_on),
        "type": {"coding": [{"code": "sql-query"}]},
        "parameter": [{"name": name, "use": "in", "type": kind} for name, kind in parameters],
    }


def values(*given: dict[str, Any]) -> dict[str, Any]:
    return {"name": "parameters", "resource": parameters_of(given)}


def above() -> dict[str, Any]:
    return query(ABOVE, DECLARED, p="patient_simple", l="observation_labs")


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    """Two women and a man with labs materialised, one woman's lab only inserted."""
    async with (
        module_stores(services, number=4) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        await tools.put(patient("ada"), patient("bea"), patient("carl", gender="male"))
        await tools.put(
            condition("c1", "ada"), condition("c2", "bea"), condition("c3", "ada", "I10")
        )
        await tools.put(lab("l1", "ada", 7.0), lab("l2", "bea", 6.0), lab("l3", "carl", 9.0))
        await tools.call("refresh_views")
        await tools.call("cache_resources", resources=[lab("l4", "bea", 8.25)])
        await keep(
            tools.runtime.stores.warehouse,
            {
                **sql_view("code_counts", COUNT, c="condition_simple"),
                "url": "https://example.org/Library/code_counts",
                "version": "2",
            },
        )
        yield opened


async def test_a_query_in_the_request_runs_over_merged_views_with_bound_values(
    server: OperationServer,
) -> None:
    response = await server.run(subject(above()), values(*GIVEN))
    assert response.status_code == 200, response.text
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert rows == [
        {"id": "bea", "value": 8.25, "taken": "2024-03-01"},
        {"id": "ada", "value": 7.0, "taken": "2024-03-01"},
    ]
    told = response.headers
    assert (told["x-researchflow-view"], told["x-researchflow-route"]) == ("asked", "materialized")
    assert told["x-researchflow-anchor"] == "1"
    assert told["x-researchflow-speed-entries"] == "1"
    assert told["x-researchflow-missing-resources"] == "0"


async def test_rows_that_end_at_an_earlier_anchor_are_not_given_as_the_newest(
    server: OperationServer,
) -> None:
    warehouse = server.tools.runtime.stores.warehouse
    async with warehouse.transaction() as session:
        await session.execute(
            "INSERT INTO researchflow.set_aside"
            " (view_name, resource_type, digest, after_anchor, code, reason, retry_at)"
            " VALUES ('patient_simple', 'Patient', 'd', 1, 'view_fails', 'it fails', now())"
        )
    named = {"name": "viewReference", "valueReference": {"reference": "patient_simple"}}
    try:
        for parameters, path in (
            ((subject(above()), values(*GIVEN)), SQL_RUN),
            ((named,), VIEW_RUN),
        ):
            response = await server.run(*parameters, path=path)
            status, _issue, code, _where = error_of(response)
            assert (status, code) == (409, "view_set_aside")
    finally:
        async with warehouse.transaction() as session:
            await session.execute("DELETE FROM researchflow.set_aside")
    assert (await server.run(subject(above()), values(*GIVEN))).status_code == 200


async def test_a_value_is_never_part_of_the_sql(server: OperationServer) -> None:
    attack = {"name": "gender", "valueCode": "female' OR true --"}
    response = await server.run(subject(above()), values(GIVEN[0], attack, GIVEN[2]))
    assert (response.status_code, response.text) == (200, "")


@pytest.mark.parametrize(
    "name",
    [
        {"subjectReference": "Library/code_counts"},
        {"subjectReference": "code_counts"},
        {"subjectCanonical": "https://example.org/Library/code_counts|2"},
    ],
)
async def test_a_registered_view_runs_by_its_names(
    server: OperationServer, name: dict[str, str]
) -> None:
    response = await server.get(SQL_RUN, **name)
    assert response.status_code == 200, response.text
    assert rows_of(response) == [{"code": "E11", "n": 2}, {"code": "I10", "n": 1}]
    assert response.headers["x-researchflow-view"] == "code_counts"


async def test_sql_may_stand_on_a_registered_view(server: OperationServer) -> None:
    most = query("SELECT max(k.n) AS most FROM k", k="code_counts")
    assert await server.rows(subject(most)) == [{"most": 2}]


async def test_sql_finds_its_views_by_canonical_url(server: OperationServer) -> None:
    counting = query("SELECT count(*) AS n FROM c", c=SIMPLE)
    assert await server.rows(subject(counting)) == [{"n": 3}]
    most = query("SELECT max(k.n) AS most FROM k", k="https://example.org/Library/code_counts|2")
    assert await server.rows(subject(most)) == [{"most": 2}]


async def test_a_canonical_of_several_versions_is_no_guess(server: OperationServer) -> None:
    url = "https://example.org/Library/code_counts"
    newer = {**sql_view("code_counts_3", COUNT, c=SIMPLE), "url": url, "version": "3"}
    await keep(server.tools.runtime.stores.warehouse, newer)
    try:
        response = await server.get(SQL_RUN, subjectCanonical=url)
        assert error_of(response) == (
            400, "multiple-matches", "subject_ambiguous", ["subjectCanonical"]
        )  # fmt: skip
        exact = await server.get(SQL_RUN, subjectCanonical=f"{url}|3")
        assert exact.headers["x-researchflow-view"] == "code_counts_3"
        response = await server.run(subject(query("SELECT k.n FROM k", k=url)))
        assert error_of(response)[:3] == (422, "invalid", "dependency_ambiguous")
    finally:
        await drop(server.tools.runtime.stores.warehouse, "code_counts_3")


async def test_patients_narrow_the_views_before_the_sql_counts(server: OperationServer) -> None:
    of_ada = {"name": "patient", "valueReference": {"reference": "Patient/ada"}}
    counting = query(COUNT, c="condition_simple")
    rows = await server.rows(subject(counting), of_ada)
    assert rows == [{"code": "E11", "n": 1}, {"code": "I10", "n": 1}]
    response = await server.get(SQL_RUN, subjectReference="code_counts", patient="bea")
    assert rows_of(response) == [{"code": "E11", "n": 1}]
    nobody = await server.get(SQL_RUN, subjectReference="code_counts", patient="nobody")
    assert error_of(nobody) == (400, "not-found", "patient_not_found", ["patient"])


async def test_every_format_has_the_columns_of_the_sql(server: OperationServer) -> None:
    counting = subject(query(f"{COUNT} ORDER BY 1", c="condition_simple"))
    csv = await server.run(counting, {"name": "_format", "valueCode": "csv"})
    assert csv.text == "code,n\r\nE11,2\r\nI10,1\r\n"
    limited = await server.run(
        counting,
        {"name": "_format", "valueCode": "fhir"},
        {"name": "_limit", "valueInteger": 1},
    )
    assert limited.json()["parameter"] == [
        {
            "name": "row",
            "part": [{"name": "code", "valueString": "E11"}, {"name": "n", "valueInteger64": "2"}],
        }
    ]


@pytest.mark.parametrize(
    ("given", "issue", "code", "expression"),
    [
        ((), "required", "parameter_missing", "parameters.least"),
        (({"name": "most", "valueDecimal": 1},), "invalid", "parameter_invalid", "parameters"),
        (({"name": "least", "valueString": "1"},), "invalid", "parameter_invalid",
         "parameters.least"),
        (({"name": "since", "valueDate": "2024-1"},), "invalid", "parameter_invalid",
         "parameters.since"),
        ((GIVEN[0], GIVEN[0]), "invalid", "parameter_invalid", "parameters.least"),
    ],
)  # fmt: skip
async def test_values_that_do_not_fit_what_is_declared_are_refused(
    server: OperationServer, given: Any, issue: str, code: str, expression: str
) -> None:
    response = await server.run(subject(above()), values(*given))
    assert error_of(response) == (400, issue, code, [expression])


@pytest.mark.parametrize(
    ("definition", "status", "code", "expression"),
    [
        (query("DELETE FROM c", c="condition_simple"), 422, "sql_construct",
         "subjectResource.content[0]"),
        (query("SELECT pg_sleep(1) AS s FROM c", c="condition_simple"), 422, "sql_function",
         "subjectResource.content[0]"),
        (query("SELECT c.nothing FROM c", c="condition_simple"), 422, "unknown_column",
         "subjectResource.content[0]"),
        (query("SELECT x.id FROM x", c="condition_simple"), 422, "unknown_relation",
         "subjectResource.content[0]"),
        (query("SELECT c.id FROM c", c="no_such_view"), 404, "dependency_not_found",
         "subjectResource.relatedArtifact[0].resource"),
        (query("SELECT c.id FROM c", c="https://b.example/ViewDefinition/condition_simple"), 404,
         "dependency_not_found", "subjectResource.relatedArtifact[0].resource"),
        (query("SELECT c.id FROM c", c=f"{SIMPLE}|9"), 404,
         "dependency_not_found", "subjectResource.relatedArtifact[0].resource"),
        ({**query("SELECT 1 AS a", c="condition_simple"), "content": []}, 422, "dialect_missing",
         "subjectResource.content"),
        (query("SELECT 1 / (length(c.id) - 2) AS a FROM c", c="condition_simple"), 422,
         "composed_view_fails", None),
        (query("SELECT string_agg(c.id || v.w, '' ORDER BY c.id) AS a FROM c, (VALUES ('"
               + "x" * 15_000 + "')) AS v (w), c AS d, c AS e, c AS f, c AS g, c AS h",
               c="condition_simple"), 422, "composed_view_fails", None),
    ],
)  # fmt: skip
async def test_sql_that_cannot_run_says_why_and_where(
    server: OperationServer,
    definition: dict[str, Any],
    status: int,
    code: str,
    expression: str | None,
) -> None:
    response = await server.run(subject(definition))
    found = error_of(response)
    assert (found[0], found[2]) == (status, code), response.text
    assert found[3] == ([expression] if expression else [])


async def test_what_says_nothing_about_the_subject_is_refused(server: OperationServer) -> None:
    counting = subject(query(COUNT, c="condition_simple"))
    body = await server.run(counting, resource(patient("x")))
    assert error_of(body) == (400, "invalid", "parameter_conflict", ["resource"])
    since = await server.run(counting, {"name": "_since", "valueInstant": "2024-01-01T00:00:00Z"})
    assert error_of(since) == (400, "not-supported", "parameter_conflict", ["_since"])
    bound = await server.run(subject(view(("id", "id"))), values())
    assert error_of(bound) == (400, "invalid", "parameter_conflict", ["parameters"])


async def test_the_older_operation_runs_views_only(server: OperationServer) -> None:
    definition = query(COUNT, c="condition_simple")
    inline = await server.run({"name": "viewResource", "resource": definition}, path=VIEW_RUN)
    assert error_of(inline) == (422, "invalid", "subject_type", ["viewResource"])
    by_name = await server.get(VIEW_RUN, viewReference="code_counts")
    assert error_of(by_name)[:3] == (404, "not-found", "subject_not_found")


async def test_a_list_of_lists_is_refused_as_parquet_alone(server: OperationServer) -> None:
    nested = subject(query("SELECT ARRAY[ARRAY[1, 2]] AS a", c="condition_simple"))
    response = await server.run(nested, {"name": "_format", "valueCode": "parquet"})
    assert error_of(response) == (422, "processing", "value_not_encodable", ["_format"])
    assert rows_of(await server.run(nested)) == [{"a": [[1, 2]]}]


async def test_a_function_that_the_check_would_miss_reads_no_file(
    server: OperationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "FUNCTIONS", words.FUNCTIONS | {"pg_read_file"})
    reads = query("SELECT pg_read_file('/etc/hostname') AS text FROM p", p="patient_simple")
    response = await server.run(subject(reads))
    assert error_of(response)[:3] == (422, "invalid", "sql_rejected")
    kept = {**reads, "name": "reads", "type": {"coding": [{"code": "sql-view"}]}}
    with pytest.raises(ViewDefinitionError):
        await keep(server.tools.runtime.stores.warehouse, kept)
    monkeypatch.setattr(sql_views, "CHANGEABLE", "SELECT $1 = 'the SQL view, unread'")
    await keep(server.tools.runtime.stores.warehouse, kept)
    error = await server.tools.error("query_view", view="reads")
    assert (error["code"], "42501" in error["message"]) == ("statement_rejected", True)
    semi_join = {"column": "id", "query": {"view": "reads", "column": "text"}}
    error = await server.tools.error("query_view", view="patient_simple", where=semi_join)
    assert "42501" in error["message"]
