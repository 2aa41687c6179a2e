"""Meta and references as the server itself gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from hapi_rows import add_head, add_tag, add_version, current
from researchflow_runners.errors import SourceDataError
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.source.options import earliest_meaning
from researchflow_runners.source.references import relative_text
from researchflow_runners.store.database import Database


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.connect(postgres_dsn)
    yield opened
    await opened.close()


async def test_meta_is_rebuilt_from_the_tables(database: Database) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a", has_tags=True)
        await add_version(
            session, 1, 1, res_text_vc='{"meta":{"tag":[{"code":"stale"}]}}',
            source_uri="urn:feed", request_id="r1",
        )  # fmt: skip
        await session.execute(
            "INSERT INTO hfj_tag_def (tag_id, tag_type, tag_system, tag_code, tag_display) VALUES "
            "(1, 0, 's', 'z', 'Z'), (2, 0, 's', 'b', NULL), (3, 1, NULL, 'http://p/x', NULL)"
        )
        await session.execute(
            "INSERT INTO hfj_res_tag (pid, res_id, res_type, tag_id) "
            "SELECT n, 1, 'Patient', n FROM generate_series(1, 3) n"
        )
    async with HapiSource(database, SourceOptions(zone="Europe/Berlin")).snapshot() as snapshot:
        assert (await current(snapshot, with_meta=True))["a"][2] == {
            "versionId": "1",
            "lastUpdated": "2024-05-01T08:00:00.125+00:00",
            "source": "urn:feed#r1",
            "profile": ["http://p/x"],
            "tag": [
                {"system": "s", "code": "b"},
                {"system": "s", "code": "z", "display": "Z"},
            ],
        }


async def test_tags_in_the_text_count_when_the_tables_have_none(database: Database) -> None:
    text = '{"meta":{"versionId":"77","tag":[{"code":"inline"}]}}'
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc=text)
    async with HapiSource(database).snapshot() as snapshot:
        meta = (await current(snapshot, with_meta=True))["a"][2]
        assert meta["tag"] == [{"code": "inline"}]
        assert meta["versionId"] == "1"


async def test_codings_keep_version_and_selection_and_a_missing_system_comes_first(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc="{}")
        await add_tag(session, 1, "z", on=1)
        await add_tag(session, 2, "a", tag_system="urn:s", on=1)
        await add_tag(
            session, 3, "b", tag_system="urn:s", tag_version="2", tag_user_selected=True, on=1
        )
        await add_tag(session, 4, "c", kind=2, tag_system="urn:s", tag_user_selected=False, on=1)
        await add_tag(session, 5, "R", kind=2, on=1)
    async with HapiSource(database).snapshot() as snapshot:
        meta = (await current(snapshot, with_meta=True))["a"][2]
    assert meta["tag"] == [
        {"code": "z"},
        {"system": "urn:s", "code": "a"},
        {"system": "urn:s", "code": "b", "version": "2", "userSelected": True},
    ]
    assert meta["security"] == [
        {"code": "R"},
        {"system": "urn:s", "code": "c", "userSelected": False},
    ]


async def test_extension_of_meta_survives_a_tag(database: Database) -> None:
    text = (
        '{"meta":{"extension":[{"url":"u"}],"tag":[{"code":"stale"}],"profile":["stale"],'
        '"source":"urn:text","versionId":"9"}}'
    )
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc=text)
        await add_tag(session, 1, "one", on=1)
    async with HapiSource(database).snapshot() as snapshot:
        assert (await current(snapshot, with_meta=True))["a"][2] == {
            "extension": [{"url": "u"}],
            "versionId": "1",
            "lastUpdated": "2024-05-01T10:00:00.125+00:00",
            "source": "urn:text",
            "tag": [{"code": "one"}],
        }


async def test_tags_of_the_text_count_when_the_last_of_the_tables_was_removed(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a", has_tags=True)
        await add_version(session, 1, 1, res_text_vc='{"meta":{"profile":["p"]}}')
    async with HapiSource(database).snapshot() as snapshot:
        assert (await current(snapshot, with_meta=True))["a"][2]["profile"] == ["p"]


async def test_tables_older_than_tag_versions_give_what_they_have(database: Database) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc="{}")
        await add_tag(session, 1, "one", tag_display="One", on=1)
        await session.execute(
            "ALTER TABLE hfj_tag_def DROP COLUMN tag_version, DROP COLUMN tag_user_selected"
        )
    async with HapiSource(database).snapshot() as snapshot:
        meta = (await current(snapshot, with_meta=True))["a"][2]
    assert meta["tag"] == [{"code": "one", "display": "One"}]


@pytest.mark.parametrize(
    ("zone", "local", "instant"),
    [
        ("America/New_York", "2026-01-15 07:00:00.5", "2026-01-15T12:00:00.500+00:00"),
        ("America/New_York", "2026-07-15 07:00:00.5", "2026-07-15T11:00:00.500+00:00"),
        ("Asia/Kathmandu", "2026-01-15 00:00:00", "2026-01-14T18:15:00.000+00:00"),
        # Twice: Java, and so the server's own answer, takes standard time.
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T01:30:00.000+00:00"),
    ],
)
async def test_last_updated_is_read_in_the_zone_of_the_server(
    database: Database, zone: str, local: str, instant: str
) -> None:
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a", res_updated=local)
        await add_version(session, 1, 1, res_text_vc="{}", res_updated=local)
    async with HapiSource(database, SourceOptions(zone=zone)).snapshot() as snapshot:
        assert (await current(snapshot, with_meta=True))["a"][2]["lastUpdated"] == instant


@pytest.mark.parametrize(
    ("read_as", "earliest"),
    [
        ("2026-10-24 23:59:59", "2026-10-24 23:59:59"),
        ("2026-10-25 01:30:00", "2026-10-25 00:30:00"),
        ("2026-10-25 02:00:00", "2026-10-25 02:00:00"),
        ("2026-03-29 01:00:00", "2026-03-29 01:00:00"),
        ("2026-03-29 00:59:59", "2026-03-29 00:59:59"),
    ],
)
def test_a_time_that_comes_twice_may_be_the_earlier(read_as: str, earliest: str) -> None:
    at = datetime.fromisoformat(read_as).replace(tzinfo=UTC)
    expected = datetime.fromisoformat(earliest).replace(tzinfo=UTC)
    assert earliest_meaning(at, "Europe/Berlin") == expected
    assert earliest_meaning(at, "UTC") == at


BASES = ("https://fhir.example/fhir", "http://10.0.0.1:8080/fhir(1)")


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ("https://fhir.example/fhir/Patient/a", "Patient/a"),
        ("https://fhir.example/fhir/Patient/a/_history/3", "Patient/a"),
        ("http://10.0.0.1:8080/fhir(1)/Patient/a", "Patient/a"),
        ("https://fhir.example/fhir/v2/Patient/a", None),
        ("https://fhir.example/fhir2/Patient/a", None),
        ("https://fhirxexample/fhir/Patient/a", None),
        ("https://fhir.example/fhir/Patient?identifier=1", None),
        ("http://other.example/fhir/Patient/a", None),
        ("Patient/a", None),
    ],
)
@pytest.mark.parametrize("space", ["", " "])
async def test_reference_to_the_server_itself_is_relative_and_no_other(
    database: Database, stored: str, given: str | None, space: str
) -> None:
    template = '{"a":[{"reference"%s:%s"%s"}],"url":"%s","note":"\\"reference\\":\\"%s\\""}'
    text = template % (space, space, stored, stored, stored)
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a")
        await add_version(session, 1, 1, res_text_vc=text)
    source = HapiSource(database, SourceOptions.checked(base_urls=[f"{one}/" for one in BASES]))
    async with source.snapshot() as snapshot:
        found = (await current(snapshot))["a"][1]
    assert found == template % (space, space, given or stored, stored, stored)
    assert relative_text(text, source.options.base_urls) == found


@pytest.mark.parametrize(
    "options",
    [
        {"zone": "Mars/Olympus"},
        {"zone": "+02:00"},
        {"base_urls": ["fhir.example/fhir"]},
        {"base_urls": ['https://a"b']},
        {"partitions": ["clinic"]},
    ],
)
def test_option_that_cannot_be_meant_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(SourceDataError) as caught:
        SourceOptions.checked(**options)
    assert (caught.value.code, caught.value.field) == ("source_option_invalid", next(iter(options)))
