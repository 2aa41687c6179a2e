"""Extracted files: every row of one anchor, exact, dated, and complete or absent."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents_ward import examples
from clinic import lab, patient
from researchflow_agents.client import ToolClient
from researchflow_agents.errors import AgentError
from researchflow_agents.extraction import ExtractionResult, parse_request, run_extraction
from researchflow_agents.extraction.csv_file import record
from researchflow_agents.phenotype.reading import read_json
from researchflow_server.contract import CacheResourcesInput, Query, QueryViewOutput
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

LABS = 700
WOMEN = {"title": "women", "all_of": [{"kind": "demographics", "gender": "female"}]}
ODD = ["=1+1", 'a "b", c', "line\r\nbreak", "é 漢 🧪", " led", "", "-5", "@x"]
ELEMENT = {
    "name": "labs",
    "view": "observation_labs",
    "columns": ["observation_id", "patient_id", "value_quantity", "value_unit", "code_text"],
}


def labs() -> list[dict[str, Any]]:
    """Results of two women and a man, some with texts that are hard to write."""
    found = []
    for number in range(LABS):
        of = ("ann", "eve", "bob")[number % 3]
        code = {"coding": [{"system": "http://loinc.org", "code": "4548-4"}]}
        text = ODD[number % len(ODD)]
        found.append(
            lab(f"lab-{number}", of, number / 4, code={**code, "text": text} if text else code)
        )
    return found


async def fill(server: ToolServer) -> None:
    """Three patients and their results, refreshed."""
    await server.put(patient("ann"), patient("eve"), patient("bob", gender="male"), *labs())
    await server.call("refresh_views")


@pytest_asyncio.fixture(scope="module")
async def source_of_all(services: Services) -> AsyncIterator[tuple[str, str]]:
    """The stores that the reading tests share."""
    async with module_stores(services, number=11) as stores:
        yield stores


@pytest_asyncio.fixture(scope="module")
async def client(
    source_of_all: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolClient]:
    """A client of a server whose data stay as they are."""
    async with tool_server(*source_of_all, tmp_path_factory.mktemp("home")) as server:
        await fill(server)
        async with ToolClient.connect(server.server) as connected:
            yield connected


def asked(**changes: Any) -> dict[str, Any]:
    """A request for the women's results."""
    return {"title": "women's labs", "phenotype": WOMEN, "elements": [ELEMENT], **changes}


async def extract(
    client: ToolClient, out: Path, as_of: int | None = None, **changes: Any
) -> ExtractionResult:
    """The result of that request."""
    return await run_extraction(client, parse_request(asked(**changes)), out, as_of=as_of)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The file as a plain CSV reader sees it."""
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


async def raw_rows(dsn: str) -> set[tuple[Any, ...]]:
    """The women's results straight from the source's JSON."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """SELECT r.fhir_id, split_part(v.j -> 'subject' ->> 'reference', '/', 2),
            v.j -> 'valueQuantity' ->> 'value', v.j -> 'valueQuantity' ->> 'unit',
            coalesce(v.j -> 'code' ->> 'text', '')
        FROM hfj_resource AS r JOIN (SELECT res_id, res_ver, res_text_vc::jsonb AS j
            FROM hfj_res_ver) AS v USING (res_id, res_ver)
        WHERE r.res_type = 'Observation' AND v.j -> 'subject' ->> 'reference' <> 'Patient/bob'"""
    )
    await connection.close()
    return {tuple(row) for row in rows}


async def test_files_hold_every_row_of_the_cohort_exactly(
    client: ToolClient, source_of_all: tuple[str, str], tmp_path: Path
) -> None:
    result = await extract(client, tmp_path / "out")
    written = rows_of(tmp_path / "out" / "labs.csv")
    raw = await raw_rows(source_of_all[0])
    assert {tuple(row.values()) for row in written} == raw
    assert len(written) == len(raw) == result.files[0].row_count > 400
    assert result.patients == 2


async def test_header_file_dates_and_seals_the_data(client: ToolClient, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = await extract(client, out)
    meta = json.loads((out / "labs.meta.json").read_text())
    held = (out / "labs.csv").read_bytes()
    assert (meta["anchor"], meta["data_as_of"]) == (1, result.data_as_of)
    assert (meta["sha256"], meta["size_bytes"]) == (hashlib.sha256(held).hexdigest(), len(held))
    assert [column["name"] for column in meta["columns"]] == ELEMENT["columns"]
    assert [column["type"] for column in meta["columns"]][1:4] == ["string", "decimal", "string"]
    assert all(column["description"] for column in meta["columns"])
    assert meta["formula_like_cells"] == sum(
        row["code_text"].startswith(("=", "-", "@")) for row in rows_of(out / "labs.csv")
    )
    assert json.loads((out / "manifest.json").read_text())["files"] == [meta]
    assert meta["call"]["arguments"]["as_of"] == 1


async def test_changes_between_pages_do_not_reach_the_files(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tool_server(postgres_dsn, redis_url, tmp_path / "home") as server:
        await fill(server)
        async with ToolClient.connect(server.server) as client:
            await extract(client, tmp_path / "before")
            pages = _change_before_the_second_page(server, client, monkeypatch)
            during = await extract(client, tmp_path / "during")
            monkeypatch.undo()
            after = await extract(client, tmp_path / "after")
            again = await extract(client, tmp_path / "again", as_of=1)
    assert len(pages) > 1
    assert (during.anchor, after.anchor, again.anchor) == (1, 2, 1)
    written = _written(tmp_path)
    assert written["before"] == written["during"] == written["again"] != written["after"]


def _written(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/labs.csv")}


def _change_before_the_second_page(
    server: ToolServer, client: ToolClient, monkeypatch: pytest.MonkeyPatch
) -> list[str | None]:
    """Changes, deletes, caches and refreshes between two pages; gives the pages' cursors."""
    asking = client.query_view
    cursors: list[str | None] = []

    async def change_then_ask(query: Query) -> QueryViewOutput:
        if query.view == ELEMENT["view"]:
            cursors.append(query.cursor)
            if len(cursors) == 2:
                await server.put(lab("lab-0", "ann", 99), lab("lab-new", "eve", 1))
                await client.cache_resources(CacheResourcesInput(delete=["Observation/lab-1"]))
                await client.refresh_views()
        return await asking(query)

    monkeypatch.setattr(client, "query_view", change_then_ask)
    return cursors


async def test_patients_by_key_are_extracted_and_missing_ones_counted(
    client: ToolClient, tmp_path: Path
) -> None:
    element = {**ELEMENT, "where": {"column": "value_quantity", "op": "lt", "value": 10}}
    result = await extract(
        client, tmp_path / "out", phenotype=None, patients=["bob", "nobody"], elements=[element]
    )
    written = rows_of(tmp_path / "out" / "labs.csv")
    assert (result.patients, result.patients_unknown) == (1, 1)
    assert {row["patient_id"] for row in written} == {"bob"}
    assert len(written) == len([n for n in range(40) if n % 3 == 2])


async def test_empty_cohort_gives_files_with_their_header_only(
    client: ToolClient, tmp_path: Path
) -> None:
    result = await extract(client, tmp_path / "out", phenotype=None, patients=["nobody"])
    assert (tmp_path / "out" / "labs.csv").read_bytes().count(b"\r\n") == 1
    assert result.files[0].row_count == 0


async def test_failure_leaves_nothing_behind(client: ToolClient, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    wrong = {**ELEMENT, "name": "wrong", "columns": ["no_such_column"]}
    with pytest.raises(AgentError) as caught:
        await extract(client, tmp_path / "place" / "out", elements=[ELEMENT, wrong])
    assert "no_such_column" in caught.value.message
    assert list((tmp_path / "place").iterdir()) == []


async def test_folder_with_files_is_never_touched(client: ToolClient, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(AgentError) as caught:
        await extract(client, out)
    assert caught.value.code == "output_exists"
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


async def test_files_are_for_their_owner_alone(client: ToolClient, tmp_path: Path) -> None:
    await extract(client, tmp_path / "out")
    for path in (tmp_path / "out", *(tmp_path / "out").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_shipped_examples_are_valid_requests_of_known_columns(
    client: ToolClient, tmp_path: Path
) -> None:
    for path in examples("extraction"):
        await run_extraction(client, parse_request(read_json(path)), tmp_path / path.stem)


def test_missing_and_empty_differ_and_text_survives() -> None:
    assert record([None, "", True, 3, "1.50", ["a", None]]) == ',"",true,3,1.50,"[""a"",null]"\r\n'
    assert record([None]) == '""\r\n'
    (read,) = csv.reader(io.StringIO(record(ODD), newline=""))
    assert read == ODD


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"elements": [{**ELEMENT, "limit": 10}]}, "unsupported"),
        ({"patients": ["a"]}, "input_invalid"),
        ({"elements": [{**ELEMENT, "name": "../labs"}]}, "input_invalid"),
        ({"elements": [ELEMENT, ELEMENT]}, "input_invalid"),
        ({"elements": []}, "input_invalid"),
    ],
)
def test_request_that_cannot_be_meant_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(AgentError) as caught:
        parse_request(asked(**changes))
    assert caught.value.code == code
