"""Files into HAPI's tables: versions, exactness, bad input, Bundles."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source import HapiSource, reading
from researchflow_runners.source.files import BATCH_CHANGES, INPUT_BYTES_MAX
from researchflow_runners.source.load import (
    LoadReport,
    Progress,
    delete_resource,
    expunge,
    load,
    load_resources,
    put_resource,
)
from researchflow_runners.store.database import Database

PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "gender": "male"}


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


def counts(report: LoadReport) -> tuple[int, int, int, int, int]:
    return (
        report.created, report.updated, report.unchanged, report.deleted, report.rejected,
    )  # fmt: skip


async def load_lines(database: Database, directory: Path, *lines: str | bytes) -> LoadReport:
    file = directory / "input.ndjson"
    file.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    )
    return await load(database, [file])


async def versions(database: Database, resource_id: str) -> list[tuple[int, str, str | None]]:
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT v.res_ver, v.res_encoding, v.res_text_vc FROM hfj_res_ver v "
            "JOIN hfj_resource r USING (res_id) WHERE r.fhir_id = $1 ORDER BY v.res_ver",
            resource_id,
        )
    return [tuple(row) for row in rows]


async def stored_text(database: Database, resource_id: str) -> str:
    text = (await versions(database, resource_id))[-1][2]
    assert text is not None
    return text


async def test_create_update_repeat_delete_and_recreate_are_versions(database: Database) -> None:
    female = {**PATIENT, "gender": "female"}
    assert (await put_resource(database, PATIENT)).created == 1
    assert (await put_resource(database, PATIENT)).unchanged == 1
    assert (await put_resource(database, female)).updated == 1
    assert (await delete_resource(database, "Patient", "p1")).deleted == 1
    assert (await delete_resource(database, "Patient", "p1")).unchanged == 1
    assert (await put_resource(database, female)).updated == 1
    assert await versions(database, "p1") == [
        (1, "JSON", '{"resourceType":"Patient","gender":"male"}'),
        (2, "JSON", '{"resourceType":"Patient","gender":"female"}'),
        (3, "DEL", None),
        (4, "JSON", '{"resourceType":"Patient","gender":"female"}'),
    ]


async def test_deleted_head_says_so_until_it_is_recreated(database: Database) -> None:
    await put_resource(database, PATIENT)
    await delete_resource(database, "Patient", "p1")
    async with HapiSource(database).snapshot() as snapshot:
        head = await snapshot.head("Patient", "p1")
        assert head is not None
        assert (head.version, head.deleted) == (2, True)
        assert await snapshot.content("Patient", "p1") is None
    await put_resource(database, PATIENT)
    async with HapiSource(database).snapshot() as snapshot:
        head = await snapshot.head("Patient", "p1")
        assert head is not None
        assert (head.version, head.deleted) == (3, False)


async def test_expunged_resource_returns_as_a_new_incarnation(database: Database) -> None:
    tagged = {**PATIENT, "meta": {"tag": [{"system": "s", "code": "c"}]}}
    await put_resource(database, tagged)
    await put_resource(database, {**tagged, "gender": "other"})
    async with HapiSource(database).snapshot() as snapshot:
        before = await snapshot.head("Patient", "p1")
    assert await expunge(database, "Patient", "p1") is True
    assert await expunge(database, "Patient", "p1") is False
    assert await versions(database, "p1") == []
    await put_resource(database, tagged)
    async with HapiSource(database).snapshot() as snapshot:
        after = await snapshot.head("Patient", "p1")
    assert before is not None
    assert after is not None
    assert after.version == 1
    assert after.res_id != before.res_id


async def test_lines_of_one_file_apply_in_order(database: Database, tmp_path: Path) -> None:
    first, second = json.dumps(PATIENT), json.dumps({**PATIENT, "gender": "other"})
    report = await load_lines(database, tmp_path, first, second, second, first)
    assert counts(report) == (1, 2, 1, 0, 0)
    assert [row[0] for row in await versions(database, "p1")] == [1, 2, 3]


async def test_second_load_of_the_same_file_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    lines = [json.dumps({**PATIENT, "id": f"p{number}"}) for number in range(50)]
    assert counts(await load_lines(database, tmp_path, *lines)) == (50, 0, 0, 0, 0)
    assert counts(await load_lines(database, tmp_path, *lines)) == (0, 0, 50, 0, 0)


async def test_spacing_and_id_and_meta_do_not_make_a_version(
    database: Database, tmp_path: Path
) -> None:
    report = await load_lines(
        database,
        tmp_path,
        '{"resourceType":"Patient","id":"p1","gender":"male"}',
        '{ "resourceType" : "Patient", "id": "p1",  "gender": "male" }',
        '{"resourceType":"Patient","id":"p1","meta":{"versionId":"9"},"gender":"male"}',
    )
    assert counts(report) == (1, 0, 2, 0, 0)


@pytest.mark.parametrize(
    "number", ["1.50", "1.0", "100", "1E2", "1e-10", "-0", "-0.0", "0.1000000000000000055511151231"]
)
async def test_numbers_keep_the_form_they_were_written_in(
    database: Database, tmp_path: Path, number: str
) -> None:
    report = await load_lines(
        database,
        tmp_path,
        f'{{"resourceType":"Observation","id":"o","valueQuantity":{{"value":{number}}}}}',
    )
    assert counts(report) == (1, 0, 0, 0, 0)
    text = await stored_text(database, "o")
    assert text == f'{{"resourceType":"Observation","valueQuantity":{{"value":{number}}}}}'


async def test_meta_goes_to_the_tag_tables_and_comes_back(database: Database) -> None:
    meta = {
        "versionId": "77",
        "lastUpdated": "2001-01-01T00:00:00Z",
        "source": "urn:feed",
        "profile": ["http://p/1"],
        "security": [{"system": "http://s", "code": "R"}],
        "tag": [{"system": "http://t", "code": "b", "display": "B"}, {"code": "a"}],
    }
    await put_resource(database, {**PATIENT, "meta": meta})
    assert await stored_text(database, "p1") == '{"resourceType":"Patient","gender":"male"}'
    async with HapiSource(database).snapshot() as snapshot:
        content = await snapshot.content("Patient", "p1")
    assert content is not None
    found = json.loads(content.meta)
    assert found.pop("lastUpdated") > "2024"
    assert found == {
        "versionId": "1",
        "source": "urn:feed",
        "profile": ["http://p/1"],
        "security": [{"system": "http://s", "code": "R"}],
        "tag": [{"code": "a"}, {"system": "http://t", "code": "b", "display": "B"}],
    }


async def test_tags_that_change_or_go_make_a_version(database: Database) -> None:
    tagged = {**PATIENT, "meta": {"tag": [{"system": "s", "code": "one"}]}}
    other = {**PATIENT, "meta": {"tag": [{"system": "s", "code": "two"}]}}
    await put_resource(database, tagged)
    assert (await put_resource(database, other)).updated == 1
    async with HapiSource(database).snapshot() as snapshot:
        content = await snapshot.content("Patient", "p1")
    assert content is not None
    assert json.loads(content.meta)["tag"] == [{"system": "s", "code": "two"}]
    assert (await put_resource(database, PATIENT)).updated == 1
    async with HapiSource(database).snapshot() as snapshot:
        content = await snapshot.content("Patient", "p1")
    assert content is not None
    assert "tag" not in json.loads(content.meta)


async def test_meta_that_the_tables_cannot_hold_stays_in_the_text(database: Database) -> None:
    meta = {"tag": [{"code": "x" * 300}], "extension": [{"url": "u"}]}
    await put_resource(database, {**PATIENT, "meta": meta})
    async with HapiSource(database).snapshot() as snapshot:
        content = await snapshot.content("Patient", "p1")
    assert content is not None
    assert json.loads(content.meta)["tag"] == meta["tag"]
    assert json.loads(content.meta)["extension"] == meta["extension"]


BAD_LINES = [
    (b'{"resourceType":"Patient"', "not_json"),
    (b"\xff\xfe", "not_json"),
    (b'{"resourceType":"Patient","id":"a","x":NaN}', "not_json"),
    (b'"Patient"', "not_an_object"),
    (b"[]", "not_an_object"),
    (b'{"id":"a"}', "no_resource_type"),
    (b'{"resourceType":"patient","id":"a"}', "no_resource_type"),
    (b'{"resourceType":7,"id":"a"}', "no_resource_type"),
    (b'{"resourceType":"Patient","id":"a b"}', "invalid_id"),
    (b'{"resourceType":"Patient","id":""}', "invalid_id"),
    (b'{"resourceType":"Patient","id":7}', "invalid_id"),
    (b'{"resourceType":"Patient","id":"a","id":"a"}', "duplicate_key"),
    (b'{"resourceType":"Patient","id":"a","name":[{"text":"x","text":"y"}]}', "duplicate_key"),
    (b'{"resourceType":"Patient","id":"a","x":"\\u0000"}', "nul_character"),
    (b'{"resourceType":"Patient","id":"a","x":"\\ud800"}', "lone_surrogate"),
    (b'{"resourceType":"Patient","id":"a","x":1e400}', "number_out_of_range"),
    (b'{"resourceType":"Patient","id":"a","x":0e999999999}', "number_out_of_range"),
    (b'{"resourceType":"Patient","id":"a","x":' + b"9" * 200 + b"}", "number_out_of_range"),
    (b'{"resourceType":"Patient","id":"a","x":' + b"[" * 300 + b"]" * 300 + b"}", "too_deep"),
    (b'{"resourceType":"Patient","id":"a","x":' + b"[" * 90000 + b"]" * 90000 + b"}", "too_deep"),
]


async def test_each_bad_line_is_reported_and_the_rest_is_stored(
    database: Database, tmp_path: Path
) -> None:
    good = [json.dumps({**PATIENT, "id": f"good{n}"}).encode() for n in range(len(BAD_LINES))]
    lines = [
        part for pair in zip(good, (bad for bad, _ in BAD_LINES), strict=True) for part in pair
    ]
    report = await load_lines(database, tmp_path, *lines)
    assert counts(report) == (len(good), 0, 0, 0, len(BAD_LINES))
    found = [(rejection.line, rejection.code) for rejection in report.rejections]
    assert found == [(2 * n, code) for n, (_, code) in enumerate(BAD_LINES, start=1)]
    assert str(report.rejections[0]).startswith(f"{tmp_path}/input.ndjson:2: not_json: ")


async def test_escaped_backslash_before_u0000_is_no_nul(database: Database, tmp_path: Path) -> None:
    report = await load_lines(
        database, tmp_path, rb'{"resourceType":"Patient","id":"a","x":"\\u0000"}'
    )
    assert counts(report) == (1, 0, 0, 0, 0)


async def test_positions_are_capped_and_the_count_is_not(
    database: Database, tmp_path: Path
) -> None:
    report = await load_lines(database, tmp_path, *["{"] * 250)
    assert report.rejected == 250
    assert len(report.rejections) == 100


async def test_line_above_the_limit_is_one_rejection(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert INPUT_BYTES_MAX > 50_000_000
    monkeypatch.setattr("researchflow_runners.source.files.INPUT_BYTES_MAX", 1000)
    monkeypatch.setattr("researchflow_runners.source.resource.INPUT_BYTES_MAX", 1000)
    long = json.dumps({**PATIENT, "x": "y" * 5000})
    report = await load_lines(database, tmp_path, long, json.dumps(PATIENT))
    assert counts(report) == (1, 0, 0, 0, 1)
    assert (report.rejections[0].line, report.rejections[0].code) == (1, "too_large")


async def test_files_read_by_a_process_of_their_own_give_the_same(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps(PATIENT | {"id": f"p{number}"}) for number in range(BATCH_CHANGES + 1)]
    meta = {"tag": [{"system": "s", "code": "c"}], "source": "urn:x"}
    lines += ["{", json.dumps(PATIENT | {"id": "tagged", "meta": meta, "x": 1.50})]
    (tmp_path / "input.ndjson").write_text("\n".join(lines))
    here = await load(database, [tmp_path])
    monkeypatch.setattr(reading, "APART_BYTES_MIN", 0)
    apart = await load(database, [tmp_path])
    assert counts(apart) == (0, 0, here.created, 0, here.rejected)
    assert apart.rejections == here.rejections
    assert (here.created, here.rejected) == (BATCH_CHANGES + 2, 1)


async def test_load_whose_reader_is_killed_stores_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input.ndjson").write_text(json.dumps(PATIENT))
    monkeypatch.setattr(reading, "APART_BYTES_MIN", 0)
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(reading, "_COMMAND", [sys.executable, "-c", killed])
    with pytest.raises(SourceDataError) as caught:
        await load(database, [tmp_path])
    assert caught.value.code == "reader_lost"
    async with HapiSource(database).snapshot() as source:
        assert await source.counts() == {}


async def test_every_kind_of_file_in_a_directory_is_read(
    database: Database, tmp_path: Path
) -> None:
    def text(name: str) -> str:
        return json.dumps({**PATIENT, "id": name})

    (tmp_path / "sub").mkdir()
    (tmp_path / "a.ndjson").write_bytes(b"\xef\xbb\xbf" + (text("a1") + "\r\n\r\n").encode())
    (tmp_path / "b.jsonl").write_text(text("b1") + "\n" + text("b2"))
    (tmp_path / "c.json").write_text(json.dumps({**PATIENT, "id": "c1"}, indent=2))
    (tmp_path / "d.json").write_text(text("d1") + "\n" + text("d2") + "\n")
    (tmp_path / "sub" / "e.ndjson.gz").write_bytes(gzip.compress(text("e1").encode()))
    (tmp_path / "sub" / "f.json.gz").write_bytes(
        gzip.compress(json.dumps({**PATIENT, "id": "f1"}, indent=1).encode())
    )
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "empty.ndjson").write_text("")
    report = await load(database, [tmp_path])
    assert counts(report) == (8, 0, 0, 0, 0)


async def test_damaged_gzip_keeps_what_was_readable_and_the_other_files(
    database: Database, tmp_path: Path
) -> None:
    lines = "\n".join(json.dumps({**PATIENT, "id": f"p{n}"}) for n in range(5000)).encode()
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines)[:-200])
    (tmp_path / "b.ndjson").write_text(json.dumps({**PATIENT, "id": "b"}))
    report = await load(database, [tmp_path])
    assert [rejection.code for rejection in report.rejections] == ["unreadable_file"]
    assert report.rejections[0].file.endswith("a.ndjson.gz")
    assert report.created >= 1
    assert len(await versions(database, "b")) == 1


async def test_transaction_bundle_resolves_references_and_deletes(
    database: Database, tmp_path: Path
) -> None:
    await put_resource(database, {**PATIENT, "id": "old"})
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:11111111-1111-1111-1111-111111111111",
                "resource": {"resourceType": "Patient", "gender": "female"},
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "fullUrl": "urn:uuid:22222222-2222-2222-2222-222222222222",
                "resource": {
                    "resourceType": "Condition",
                    "id": "c",
                    "subject": {"reference": "urn:uuid:11111111-1111-1111-1111-111111111111"},
                    "recorder": {"reference": "urn:uuid:unknown"},
                },
                "request": {"method": "PUT", "url": "Condition/c"},
            },
            {"request": {"method": "DELETE", "url": "Patient/old"}},
            {"request": {"method": "PATCH", "url": "Patient/old"}, "resource": {}},
            {"resource": {"resourceType": "Patient", "id": "not an id"}},
        ],
    }
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(bundle, indent=2))
    report = await load(database, [file])
    assert counts(report) == (2, 0, 0, 1, 2)
    assert [(r.entry, r.code) for r in report.rejections] == [
        (4, "unsupported_method"),
        (5, "invalid_id"),
    ]
    condition = json.loads(await stored_text(database, "c"))
    assert condition["subject"] == {"reference": "Patient/11111111-1111-1111-1111-111111111111"}
    assert condition["recorder"] == {"reference": "urn:uuid:unknown"}
    assert counts(await load(database, [file])) == (0, 0, 3, 0, 2)


async def test_resources_without_id_stay_two_and_are_found_again(
    database: Database, tmp_path: Path
) -> None:
    line = '{"resourceType":"Observation","status":"final"}'
    assert counts(await load_lines(database, tmp_path, line, line)) == (2, 0, 0, 0, 0)
    assert counts(await load_lines(database, tmp_path, line, line)) == (0, 0, 2, 0, 0)


async def test_bundle_with_an_id_on_a_line_is_a_resource(
    database: Database, tmp_path: Path
) -> None:
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": PATIENT}]}
    report = await load_lines(
        database, tmp_path, json.dumps({**bundle, "id": "kept"}), json.dumps(bundle)
    )
    assert counts(report) == (2, 0, 0, 0, 0)
    async with HapiSource(database).snapshot() as snapshot:
        assert await snapshot.counts() == {"Bundle": 1, "Patient": 1}


async def test_tables_of_a_real_server_are_not_written_to(
    database: Database, tmp_path: Path
) -> None:
    async with database.session() as session:
        await session.execute("COMMENT ON TABLE hfj_resource IS NULL")
    file = tmp_path / "p.ndjson"
    file.write_text(json.dumps(PATIENT))
    with pytest.raises(SourceDataError) as caught:
        await load(database, [file])
    assert caught.value.code == "source_is_foreign"
    async with HapiSource(database).snapshot() as snapshot:
        assert await snapshot.counts() == {}
    assert counts(await load(database, [file], development=True)) == (1, 0, 0, 0, 0)


async def test_load_makes_the_tables_of_an_empty_database(empty_dsn: str, tmp_path: Path) -> None:
    database = await Database.connect(empty_dsn)
    assert counts(await load_lines(database, tmp_path, json.dumps(PATIENT))) == (1, 0, 0, 0, 0)
    await database.close()


async def test_missing_path_and_empty_directory_are_named(
    database: Database, tmp_path: Path
) -> None:
    with pytest.raises(SourceDataError) as caught:
        await load(database, [tmp_path / "absent"])
    assert caught.value.code == "path_not_found"
    assert "absent" in caught.value.message
    with pytest.raises(SourceDataError) as caught:
        await load(database, [tmp_path])
    assert caught.value.code == "no_input_files"


_DEFINITIONS = """
SELECT string_agg(definition, E'\n' ORDER BY definition) FROM (
    SELECT indexdef AS definition FROM pg_indexes WHERE tablename LIKE 'hfj%'
    UNION ALL
    SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid::regclass::text LIKE 'hfj%') d
"""


async def test_first_load_leaves_all_indexes_and_keys(database: Database, tmp_path: Path) -> None:
    async with database.session() as session:
        before = await session.fetchval(_DEFINITIONS)
    seen: list[Progress] = []
    file = tmp_path / "p.ndjson"
    file.write_text(json.dumps(PATIENT))
    await load(database, [file], progress=seen.append)
    async with database.session() as session:
        assert await session.fetchval(_DEFINITIONS) == before
    size = file.stat().st_size
    assert seen == [Progress(resources=1, bytes_read=size, bytes_total=size)]


async def test_first_load_that_fails_leaves_the_tables_as_they_were(
    database: Database, tmp_path: Path
) -> None:
    def fail(_: Progress) -> None:
        raise KeyboardInterrupt

    async with database.session() as session:
        before = await session.fetchval(_DEFINITIONS)
    file = tmp_path / "p.ndjson"
    file.write_text(json.dumps(PATIENT))
    with pytest.raises(KeyboardInterrupt):
        await load(database, [file], progress=fail)
    async with database.session() as session:
        assert await session.fetchval(_DEFINITIONS) == before
        assert await session.fetchval("SELECT count(*) FROM hfj_resource") == 0


async def test_invalid_single_resource_is_refused_without_its_content(database: Database) -> None:
    for bad in ({"resourceType": "Patient"}, '{"resourceType":"Patient","id":"\\ud800"}', "Doe"):
        with pytest.raises(SourceDataError) as caught:
            await put_resource(database, bad)
        assert caught.value.code == "invalid_resource"
        assert "Doe" not in caught.value.message


async def test_resources_of_a_program_are_loaded_together(database: Database) -> None:
    tally = await load_resources(database, [{**PATIENT, "id": f"p{n}"} for n in range(120)])
    assert tally.created == 120
    async with database.session() as session:
        assert await session.fetchval("SELECT count(DISTINCT res_id) FROM hfj_resource") == 120


@pytest.mark.parametrize("number", [3, 5_003])
async def test_invalid_resource_among_those_of_a_program_stores_none(
    database: Database, number: int
) -> None:
    made = [{**PATIENT, "id": f"p{n}"} for n in range(number)]
    with pytest.raises(SourceDataError):
        await load_resources(database, [*made, {"resourceType": "Patient"}])
    async with HapiSource(database).snapshot() as snapshot:
        assert await snapshot.counts() == {}


async def test_shared_data_give_the_known_counts(database: Database, shared_dir: Path) -> None:
    data = shared_dir / "data"
    report = await load(database, [data / "synthea"])
    assert counts(report) == (82_654, 0, 0, 0, 0)
    async with HapiSource(database).snapshot() as snapshot:
        assert await snapshot.counts() == {
            "AllergyIntolerance": 224, "CarePlan": 1006, "Condition": 2494,
            "DiagnosticReport": 3389, "Encounter": 10_238, "Goal": 651, "ImagingStudy": 200,
            "Immunization": 4294, "MedicationRequest": 2582, "Observation": 49_275,
            "Organization": 102, "Patient": 347, "Practitioner": 102, "Procedure": 7750,
        }  # fmt: skip
    first = await load(database, [data / "updates"])
    assert first.created == first.rejected == 0
    assert first.updated + first.unchanged == 1120
    async with database.session() as session:
        changed = await session.fetchval("SELECT count(*) FROM hfj_resource WHERE res_ver = 2")
        assert await session.fetchval("SELECT max(res_ver) FROM hfj_resource") == 2
    assert changed == first.updated
    assert counts(await load(database, [data / "updates"])) == (0, 0, 1120, 0, 0)
    edge = await load(database, [data / "edge"])
    assert counts(edge) == (578, 0, 0, 0, 0)
