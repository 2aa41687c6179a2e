"""A resource that cannot be read is a dead letter with its reason, never missing in silence."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from hapi_rows import add_head, add_tag, add_version
from researchflow_runners.store.database import Session
from warehouse import PEOPLE, Warehouse, open_warehouse, patient

#: Touches no text at all, and passes over texts by a search in them.
KEYS = {
    **PEOPLE,
    "name": "keys",
    "select": [{"column": [{"path": "getResourceKey()", "name": "id"}]}],
}
TAGS = {
    **PEOPLE,
    "name": "tags",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "meta.tag.code", "name": "tags", "collection": True},
                {"path": "meta.profile", "name": "profiles", "collection": True},
            ]
        }
    ],
}
WOMEN = {**PEOPLE, "name": "women", "where": [{"path": "gender = 'female'"}]}
LETTERS = """
SELECT view_name, id, reason FROM researchflow.dead_letter WHERE layer = 'batch' ORDER BY 1, 2
"""
GOOD = b'{"resourceType":"Patient","gender":"female"}'
NO_VERSION = "the source holds no version of the resource"


@pytest_asyncio.fixture(params=["one database", "two databases"])
async def house(
    request: pytest.FixtureRequest, postgres_dsn: str, source_dsn: str
) -> AsyncIterator[Warehouse]:
    apart = source_dsn if request.param == "two databases" else None
    async with open_warehouse(postgres_dsn, apart) as opened:
        yield opened


async def version(session: Session, res_id: int, content: bytes | None, **more: Any) -> None:
    oid = await session.fetchval("SELECT lo_from_bytea(0, $1)", content) if content else 4_000_000
    await add_version(session, res_id, 1, res_text=oid, **more)


async def nothing(_session: Session, _res_id: int) -> None:
    return


def stored(content: bytes | None, encoding: str = "JSON") -> Callable[..., Awaitable[None]]:
    return partial(version, content=content, encoding=encoding)


BROKEN: dict[str, tuple[Callable[[Session, int], Awaitable[None]], str]] = {
    "no-version": (nothing, NO_VERSION),
    "external": (partial(add_version, version=1, encoding="ESR"),
                 "its content is kept outside the source database"),
    "deletion": (partial(add_version, version=1, encoding="DEL"),
                 "its newest version in the source is a deletion"),
    "empty": (partial(add_version, version=1), "its version in the source has no content"),
    "not-gzip": (stored(b"{}", "JSONC"), "its large object is not gzip"),
    "cut-gzip": (stored(gzip.compress(GOOD)[:-9], "JSONC"),
                 "its large object ends within the gzip"),
    "no-object": (stored(None), "its large object is missing"),
    "not-utf8": (stored(b'{"resourceType":"\xff"}'), "its large object is not UTF-8"),
    "not-json": (stored(gzip.compress(GOOD[:-1]), "JSONC"), "its large object is not JSON"),
}  # fmt: skip


async def fill(session: Session) -> None:
    """Every broken resource, and two good ones in large objects."""
    for res_id, (name, (write, _reason)) in enumerate(BROKEN.items(), start=101):
        await add_head(session, res_id, 1, fhir_id=name)
        await write(session, res_id)
    for res_id, encoding, content in ((201, "JSON", GOOD), (202, "JSONC", gzip.compress(GOOD))):
        await add_head(session, res_id, 1, fhir_id=encoding)
        await version(session, res_id, content, encoding=encoding)


async def test_letter_of_a_text_with_nul_says_so(house: Warehouse) -> None:
    async with house.source.database.transaction() as session:
        await add_head(session, 101, 1, fhir_id="nul")
        text = '{"resourceType":"Patient","gender":"a\\u0000b"}'
        await add_version(session, 101, 1, res_text_vc=text)
    await house.refresh([PEOPLE])
    (letter,) = await house.fetch(LETTERS)
    told = "text with a character that PostgreSQL cannot hold, such as \\u0000"
    assert letter == ("people", "nul", told)


@pytest.mark.parametrize("first", ["built", "changed"])
@pytest.mark.failure("resource-unreadable")
async def test_each_broken_resource_is_a_dead_letter_of_each_view(
    house: Warehouse, first: str
) -> None:
    definitions = [PEOPLE, KEYS, WOMEN]
    if first == "changed":
        await house.refresh(definitions)
    async with house.source.database.transaction() as session:
        await fill(session)
    result = await house.refresh(definitions)

    letters = await house.fetch(LETTERS)
    expected = {name: reason for name, (_write, reason) in BROKEN.items()}
    for view in ("people", "keys", "women"):
        assert {letter[1]: letter[2] for letter in letters if letter[0] == view} == expected
    assert {view.dead_letters for view in result.views} == {len(BROKEN)}
    assert {row[0] for row in await house.rows("keys")} == {"JSON", "JSONC"}
    assert await house.rows() == [("JSON", "female", None), ("JSONC", "female", None)]

    async with house.source.database.transaction() as session:
        await session.execute("UPDATE hfj_resource SET res_ver = 2 WHERE fhir_id = 'no-version'")
        res_id = await session.fetchval(
            "SELECT res_id FROM hfj_resource WHERE fhir_id = 'no-version'"
        )
        await add_version(session, res_id, 2, res_text_vc=GOOD.decode())
    await house.refresh(definitions)
    assert NO_VERSION not in {letter[2] for letter in await house.fetch(LETTERS)}
    assert len(await house.rows("keys")) == 3


@pytest.mark.parametrize("first", ["built", "changed"])
async def test_text_that_is_no_json_harms_its_own_resource_only(
    house: Warehouse, first: str
) -> None:
    await house.put(patient("well"))
    if first == "changed":
        await house.refresh([TAGS])
    async with house.source.database.transaction() as session:
        await add_head(session, 901, 1, fhir_id="torn")
        await add_version(session, 901, 1, res_text_vc='{"meta":{"profile":["p"]},"gen')
        await add_head(session, 902, 1, fhir_id="tagged")
        await add_version(session, 902, 1, res_text_vc='{"meta":{"profile":["p"]}}')
        await add_tag(session, 1, "one", on=902)
        await add_head(session, 903, 1, fhir_id="inline")
        await add_version(session, 903, 1, res_text_vc='{"meta":{"profile":["p"]}}')
    await house.refresh([TAGS])
    assert [letter[:2] for letter in await house.fetch(LETTERS)] == [("tags", "torn")]
    assert await house.rows("tags") == [
        ("inline", "[]", '["p"]'),
        ("tagged", '["one"]', "[]"),
        ("well", "[]", "[]"),
    ]
