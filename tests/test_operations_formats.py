"""Every format of an answer: the same rows, with every digit, list and missing value."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from operations_server import (
    OperationServer,
    error_of,
    operation_server,
    parameters_of,
    resource,
    subject,
    view,
)
from researchflow_server.embedded import Services
from researchflow_server.operations.answer import BATCH_ROWS
from researchflow_server.operations.formats import parquet_rows
from tool_server import module_stores, tool_server

TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "fhir": "application/fhir+json",
}
COLUMNS = (
    ("id", "id"),
    ("born", "birthDate"),
    ("active", "active"),
    ("twin", "multipleBirth.ofType(integer)"),
    ("latitude", "extension('http://x/lat').value.ofType(decimal)"),
    ("given", "name.given"),
)
PEOPLE = [
    {
        "resourceType": "Patient",
        "id": "a",
        "birthDate": "1950-03",
        "active": True,
        "multipleBirthInteger": 2,
        "extension": [{"url": "http://x/lat", "valueDecimal": "LAT"}],
        "name": [{"given": ['Ann "A"', "Zoë, née\r\nX"]}],
    },
    {"resourceType": "Patient", "id": "b"},
]
#: What the second of them has in every column.
NOTHING = {name: None for name, _path in COLUMNS} | {"id": "b", "given": []}


def definition(*, with_list: bool = True) -> dict[str, Any]:
    found = view(*COLUMNS if with_list else COLUMNS[:-1])
    if with_list:
        found["select"][0]["column"][-1]["collection"] = True
    return found


def body(*, with_list: bool = True) -> bytes:
    parameters = [subject(definition(with_list=with_list)), *(resource(one) for one in PEOPLE)]
    text = json.dumps({"resourceType": "Parameters", "parameter": parameters})
    return text.replace('"LAT"', "48.20900").encode()


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    async with (
        module_stores(services, number=13) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        yield opened


async def answered(server: OperationServer, chosen: str, **more: Any) -> bytes:
    response = await server.post(body(**more), _format=chosen)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == TYPES[chosen]
    return response.content


async def test_ndjson_has_one_object_a_line_with_every_column(server: OperationServer) -> None:
    first, second = (await answered(server, "ndjson")).decode().splitlines()
    assert '"latitude":48.20900' in first
    assert list(json.loads(first)) == [name for name, _path in COLUMNS]
    assert json.loads(second) == NOTHING


async def test_json_is_one_array_of_the_same_objects(server: OperationServer) -> None:
    lines = (await answered(server, "ndjson")).splitlines()
    found = await answered(server, "json")
    assert json.loads(found) == [json.loads(line) for line in lines]
    assert b"48.20900" in found


async def test_csv_is_quoted_as_rfc_4180_says(server: OperationServer) -> None:
    text = (await answered(server, "csv")).decode()
    assert text.startswith("id,born,active,twin,latitude,given\r\n")
    _names, first, second = csv.reader(io.StringIO(text, newline=""))
    assert first[:5] == ["a", "1950-03", "true", "2", "48.20900"]
    assert json.loads(first[5]) == PEOPLE[0]["name"][0]["given"]
    assert second == ["b", "", "", "", "", "[]"]


async def test_csv_leaves_its_header_out_on_demand(server: OperationServer) -> None:
    response = await server.post(body(), _format="csv", header="false")
    assert response.text.startswith("a,1950-03")
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=absent"


async def test_parquet_has_types_lists_and_every_digit(server: OperationServer) -> None:
    table = pq.read_table(pa.BufferReader(await answered(server, "parquet")))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "string", "born": "string", "active": "bool", "twin": "int32",
        "latitude": "string", "given": "list<element: string>",
    }  # fmt: skip
    assert table.to_pylist() == [
        {
            "id": "a", "born": "1950-03", "active": True, "twin": 2,
            "latitude": "48.20900", "given": PEOPLE[0]["name"][0]["given"],
        },
        NOTHING,
    ]  # fmt: skip


async def test_fhir_gives_typed_parts_and_leaves_missing_values_out(
    server: OperationServer,
) -> None:
    found = json.loads(await answered(server, "fhir", with_list=False), parse_float=Decimal)
    assert found["resourceType"] == "Parameters"
    first, second = found["parameter"]
    assert first["name"] == "row"
    assert first["part"] == [
        {"name": "id", "valueString": "a"},
        {"name": "born", "valueDate": "1950-03"},
        {"name": "active", "valueBoolean": True},
        {"name": "twin", "valueInteger": 2},
        {"name": "latitude", "valueDecimal": Decimal("48.20900")},
    ]
    assert second == {"name": "row", "part": [{"name": "id", "valueString": "b"}]}


async def test_fhir_has_no_form_for_a_list(server: OperationServer) -> None:
    response = await server.post(body(), _format="fhir")
    assert error_of(response) == (422, "invalid", "column_not_encodable", ["_format"])


@pytest.mark.parametrize("chosen", list(TYPES))
async def test_no_rows_are_a_whole_document_in_every_format(
    server: OperationServer, chosen: str
) -> None:
    response = await server.post(body(with_list=False), _format=chosen, _limit="0")
    found = response.content
    if chosen == "parquet":
        assert pq.read_table(pa.BufferReader(found)).num_rows == 0
    elif chosen == "csv":
        assert found == b"id,born,active,twin,latitude\r\n"
    elif chosen == "ndjson":
        assert found == b""
    else:
        assert json.loads(found) == ([] if chosen == "json" else {"resourceType": "Parameters"})


@pytest.mark.parametrize(
    ("asked", "accept", "given"),
    [
        (None, None, "ndjson"),
        (None, "*/*", "ndjson"),
        (None, "application/json", "json"),
        (None, "text/csv;q=0.5, application/x-ndjson", "ndjson"),
        (None, "text/html, text/csv;q=0.5, */*;q=0.1", "csv"),
        (None, "application/octet-stream", "parquet"),
        (None, "application/fhir+json", "fhir"),
        ("csv", "application/json", "csv"),
        ("text/csv", None, "csv"),
        ("fhir", "application/fhir+json", "fhir"),
    ],
)
async def test_format_wins_over_accept_and_ndjson_is_the_default(
    server: OperationServer, asked: str | None, accept: str | None, given: str
) -> None:
    query = {} if asked is None else {"_format": asked}
    headers = {"accept": accept or "*/*"}
    response = await server.post(body(with_list=False), headers=headers, **query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == TYPES[given]


async def test_what_we_do_not_give_is_refused_by_name(server: OperationServer) -> None:
    response = await server.post(body(), _format="xml")
    assert error_of(response) == (400, "not-supported", "format_unknown", ["_format"])
    response = await server.post(body(), headers={"accept": "text/html"})
    assert error_of(response) == (406, "not-supported", "not_acceptable", ["Accept"])
    wrapped = await server.post(body(), headers={"accept": "application/fhir+json"}, _format="csv")
    assert error_of(wrapped) == (406, "not-supported", "not_acceptable", ["Accept"])
    typo = await server.post(body(), _format="parqet")
    assert 'nearest: "parquet"' in typo.json()["issue"][0]["details"]["text"]


async def test_a_large_answer_has_row_groups(server: OperationServer) -> None:
    numbers = view(("id", "id"))
    numbers["select"].append({"forEach": "name.given", "column": [{"name": "g", "path": "$this"}]})
    crowd = [
        {"resourceType": "Patient", "id": f"p{n}", "name": [{"given": ["x"] * 500}]}
        for n in range(50)
    ]
    asked = parameters_of([subject(numbers), *(resource(one) for one in crowd)])
    response = await server.post(asked, _format="parquet")
    file = pq.ParquetFile(pa.BufferReader(response.content))
    assert file.metadata.num_rows == 25_000
    first, second = (file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))
    assert parquet_rows.GROUP_ROWS <= first < parquet_rows.GROUP_ROWS + BATCH_ROWS
    assert first + second == 25_000


TYPED = (
    ("price", "value.ofType(Quantity).value", "DECIMAL(10,2)"),
    ("ratio", "value.ofType(Quantity).value", "DOUBLE PRECISION"),
    ("day", "effective.ofType(dateTime)", "DATE"),
    ("issued", "issued", "TIMESTAMP WITH TIME ZONE"),
    ("whole", "component.first().value.ofType(integer)", "BIGINT"),
)
MEASURED = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "code": {"coding": [{"code": "x"}]},
    "effectiveDateTime": "2024-02-29",
    "issued": "2024-03-01T10:00:00.1236+02:00",
    "valueQuantity": {"value": "VALUE"},
    "component": [
        {"code": {"text": "a"}, "valueInteger": 7},
        {"code": {"text": "b"}, "valueQuantity": {"value": "LOW"}},
    ],
}


def measured(**more: Any) -> bytes:
    columns = [
        {"name": name, "path": path, "tag": [{"name": "ansi/type", "value": kind}]}
        for name, path, kind in TYPED
    ]
    definition = {
        **view(resource="Observation"),
        "select": [{"column": [*columns, *more.values()]}],
    }
    text = json.dumps(parameters_of([subject(definition), resource(MEASURED)]))
    return text.replace('"VALUE"', "12.5").replace('"LOW"', "0.30").encode()


async def test_types_that_a_view_names_are_the_types_of_its_answers(
    server: OperationServer,
) -> None:
    line = (await server.post(measured())).text
    assert line == (
        '{"price":12.50,"ratio":12.5,"day":"2024-02-29",'
        '"issued":"2024-03-01T08:00:00.123600+00:00","whole":7}\n'
    )
    text = (await server.post(measured(), _format="csv", header="false")).text
    assert text == "12.50,12.5,2024-02-29,2024-03-01T08:00:00.123600+00:00,7\r\n"
    found = (await server.post(measured(), _format="fhir")).text
    parts = json.loads(found, parse_float=Decimal)["parameter"][0]["part"]
    assert parts == [
        {"name": "price", "valueDecimal": Decimal("12.50")},
        {"name": "ratio", "valueDecimal": Decimal("12.5")},
        {"name": "day", "valueDate": "2024-02-29"},
        {"name": "issued", "valueInstant": "2024-03-01T08:00:00.124+00:00"},
        {"name": "whole", "valueInteger64": "7"},
    ]
    content = (await server.post(measured(), _format="parquet")).content
    table = pq.read_table(pa.BufferReader(content))
    assert [str(field.type) for field in table.schema] == [
        "decimal128(10, 2)", "double", "date32[day]", "timestamp[us, tz=UTC]", "int64",
    ]  # fmt: skip
    assert table.to_pylist()[0]["price"] == Decimal("12.50")


async def test_lists_of_decimals_and_of_elements_keep_their_digits_in_parquet(
    server: OperationServer,
) -> None:
    paths = {
        "values": "component.value.ofType(Quantity).value",
        "codes": "component.code",
        "amounts": "component.value.ofType(Quantity)",
    }
    lists = {name: {"name": name, "path": path, "collection": True} for name, path in paths.items()}
    content = (await server.post(measured(**lists), _format="parquet")).content
    (row,) = pq.read_table(pa.BufferReader(content)).to_pylist()
    assert row["values"] == ["0.30"]
    assert [json.loads(one) for one in row["codes"]] == [{"text": "a"}, {"text": "b"}]
    assert row["amounts"] == ['{"value":0.30}']


def test_a_server_starts_without_what_only_parquet_needs() -> None:
    script = "import sys, researchflow_server.cli.serve; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
