"""What a Library must say to be a SQLView or a SQLQuery, and what is refused with its path."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from composed import sql_view
from researchflow_runners.composed.definition import SqlLibrary, parse_library
from researchflow_runners.composed.dependencies import views_behind
from researchflow_runners.composed.reference import Identity
from researchflow_runners.errors import ViewDefinitionError


def library(**changes: Any) -> dict[str, Any]:
    given = {**sql_view("x", "SELECT 1", p="people"), **changes}
    return {name: value for name, value in given.items() if value is not None}


def content(
    kind: str = "application/sql", data: str | None = "SELECT 1", text: str | None = None
) -> dict[str, Any]:
    encoded = base64.b64encode(data.encode()).decode() if data is not None else None
    url = "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text"
    shown = [{"url": url, "valueString": text}] if text is not None else []
    return {"contentType": kind, "extension": shown, **({"data": encoded} if encoded else {})}


def artifact(label: str, resource: str) -> dict[str, str]:
    return {"type": "depends-on", "label": label, "resource": resource}


def names_read(parsed: SqlLibrary) -> dict[str, str]:
    return {one.label: one.view.text for one in parsed.depends_on}


URL = "https://a.example/ViewDefinition/people"
KNOWN = {
    "people": Identity("ViewDefinition", URL, "2.1", id="pe-1"),
    "older": Identity("ViewDefinition", URL, "1.0"),
    "totals": Identity("Library", "https://a.example/Library/people", None, id="t-1"),
    "plain": Identity("ViewDefinition"),
}


@pytest.mark.parametrize(
    ("resource", "view"),
    [
        ("people", "people"),
        ("people|2.1", "people"),
        ("ViewDefinition/people", "people"),
        ("ViewDefinition/pe-1", "people"),
        (f"{URL}|2.1", "people"),
        (f"{URL}|1.0", "older"),
        ("Library/totals", "totals"),
        ("Library/t-1", "totals"),
        ("https://a.example/Library/people", "totals"),
    ],
)
def test_a_dependency_is_named_by_canonical_reference_or_name(resource: str, view: str) -> None:
    parsed = parse_library(library(relatedArtifact=[artifact("p", resource)]))
    assert views_behind(parsed, KNOWN) == {"p": view}


@pytest.mark.parametrize(
    "resource",
    [
        "https://b.example/ViewDefinition/people",
        "https://b.example/ViewDefinition/people|2.1",
        f"{URL}|3",
        f"{URL}/",
        f"{URL}#part|2.1",
        URL.replace("https", "http") + "|2.1",
        URL.upper(),
        "https://a.example/ViewDefinition/plain",
        "https://a.example/people",
        "https://example.org/us-core-patient",
        "urn:uuid:people",
        "people|2",
        "plain|1",
        "People",
        "Library/people",
        "ViewDefinition/totals",
    ],
)
def test_a_dependency_that_only_ends_like_a_view_is_refused_by_name(resource: str) -> None:
    parsed = parse_library(library(relatedArtifact=[artifact("p", resource)]))
    with pytest.raises(ViewDefinitionError) as caught:
        views_behind(parsed, KNOWN)
    assert caught.value.code == "dependency_not_found"
    assert caught.value.field == "relatedArtifact[0].resource"
    assert f'"{resource}"' in caught.value.message


def test_a_refused_canonical_tells_that_of_the_nearest_view() -> None:
    parsed = parse_library(library(relatedArtifact=[artifact("p", "https://b.example/people|2")]))
    with pytest.raises(ViewDefinitionError) as caught:
        views_behind(parsed, KNOWN)
    assert caught.value.did_you_mean == "people"
    assert f"{URL}|2.1" in caught.value.hint


def test_a_canonical_that_several_versions_have_is_not_guessed() -> None:
    parsed = parse_library(library(relatedArtifact=[artifact("p", URL)]))
    with pytest.raises(ViewDefinitionError) as caught:
        views_behind(parsed, KNOWN)
    assert caught.value.code == "dependency_ambiguous"
    assert caught.value.allowed == ("older", "people")


def test_other_artifacts_are_left_alone() -> None:
    cited = {"type": "citation", "label": "a paper"}
    parsed = parse_library(library(relatedArtifact=[cited, artifact("p", "people")]))
    assert names_read(parsed) == {"p": "people"}


def test_the_dialect_of_postgresql_is_preferred() -> None:
    contents = [
        content(data="SELECT 1"),
        content("application/sql;dialect=duckdb", "SELECT 2"),
        content('application/sql; dialect="PostgreSQL"', "SELECT 3"),
    ]
    assert parse_library(library(content=contents)).sql == "SELECT 3"
    assert parse_library(library(content=contents)).sql_field == "content[2]"
    assert parse_library(library(content=contents[:2])).sql == "SELECT 1"


def test_the_text_extension_may_stand_alone_or_agree() -> None:
    alone = library(content=[content(data=None, text="SELECT 5")])
    assert parse_library(alone).sql == "SELECT 5"
    assert parse_library(library(content=[content(text=" SELECT 1 ")])).sql == "SELECT 1"


def test_parameters_make_a_query() -> None:
    query = library(
        type=None, name=None, parameter=[{"name": "who", "use": "in", "type": "string"}]
    )
    parsed = parse_library(query)
    assert (parsed.kind, parsed.name) == ("sql-query", None)
    assert [(one.name, one.pg_type) for one in parsed.parameters] == [("who", "text")]


PARAMETER = {"name": "who", "use": "in", "type": "string"}
LIBRARY_FAULTS = [
    ({"resourceType": "Patient"}, "invalid_definition", "resourceType"),
    ({"type": {"coding": [{"code": "logic-library"}]}}, "library_type", "type.coding[0].code"),
    ({"name": None}, "definition_incomplete", "name"),
    ({"name": "no-name"}, "invalid_name", "name"),
    ({"relatedArtifact": []}, "dependency_count", "relatedArtifact"),
    ({"relatedArtifact": [{"type": "depends-on", "label": "p"}]},
     "definition_incomplete", "relatedArtifact[0].resource"),
    ({"relatedArtifact": [artifact("p", "a"), artifact("P", "b")]},
     "duplicate_label", "relatedArtifact[1].label"),
    ({"relatedArtifact": [artifact('p"; DROP', "a")]}, "invalid_name", "relatedArtifact[0].label"),
    ({"relatedArtifact": [artifact("p", "http://x/ValueSet/codes|1")]},
     "dependency_type", "relatedArtifact[0].resource"),
    ({"relatedArtifact": [artifact("p", "us-core-patient")]},
     "invalid_name", "relatedArtifact[0].resource"),
    ({"relatedArtifact": [artifact("p", "people/")]},
     "dependency_type", "relatedArtifact[0].resource"),
    ({"relatedArtifact": [artifact("p", "Patient/people")]},
     "dependency_type", "relatedArtifact[0].resource"),
    ({"relatedArtifact": [artifact(f"p{n}", "people") for n in range(17)]},
     "dependency_count", "relatedArtifact"),
    ({"content": []}, "dialect_missing", "content"),
    ({"content": [content("application/sql;dialect=mysql")]}, "dialect_missing", "content"),
    ({"content": [content("text/cql")]}, "content_type", "content[0].contentType"),
    ({"content": [content(data=None)]}, "definition_incomplete", "content[0].data"),
    ({"content": [{"contentType": "application/sql", "data": "%%%"}]},
     "sql_encoding", "content[0].data"),
    ({"content": [{"contentType": "application/sql", "data": "/w=="}]},
     "sql_encoding", "content[0].data"),
    ({"content": [content(text="SELECT 2")]}, "sql_text_differs", "content[0].extension"),
    ({"content": [{}]}, "definition_incomplete", "content[0].contentType"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "field"), LIBRARY_FAULTS)
def test_a_library_that_is_no_view_is_refused_with_its_path(
    changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        parse_library(library(**changes))
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        ([{**PARAMETER, "use": "out"}], "parameter_use"),
        ([{**PARAMETER, "type": "Patient"}], "parameter_type"),
        ([PARAMETER, PARAMETER], "duplicate_parameter"),
        ([{**PARAMETER, "name": "a b"}], "invalid_name"),
    ],
)
def test_a_parameter_that_cannot_be_bound_is_refused(
    parameter: list[dict[str, str]], code: str
) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        parse_library(library(type=None, parameter=parameter))
    assert caught.value.code == code
