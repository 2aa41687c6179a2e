"""A view's content hash is that of its rows: kept by refreshes, equal to what the rows give."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator

import asyncpg
import hypothesis
import hypothesis.strategies as st
import pytest
import pytest_asyncio

from researchflow_runners.compiler.column import Column
from researchflow_runners.sql import Sql, fixed
from researchflow_runners.store.content import Content, joint_hash, read_content
from researchflow_runners.store.database import Database
from researchflow_runners.store.published import PublishedView, published_view
from researchflow_runners.store.relations import anchored_relation
from warehouse import Warehouse, open_warehouse, patient

TYPES = {
    "text": "'é'",
    "varchar(5)": "'ab'",
    "boolean": "true",
    "smallint": "-2",
    "integer": "3",
    "bigint": "9007199254740993",
    "numeric": "1.10",
    "double precision": "0.1",
    "date": "'2024-02-29'",
    "time": "'08:00:01.5'",
    "timestamp": "'2024-02-29 08:00'",
    "timestamptz": "'2024-02-29 08:00+02'",
    "bytea": "'\\x00ff'",
    "jsonb": """'{"b": 1.0, "a": [null, "é"]}'""",
}
EVERY_TYPE = PublishedView(
    name="every_type",
    digest="",
    resource_type="Patient",
    columns=tuple(Column(f"c{at}", "code", kind) for at, kind in enumerate(TYPES)),
    base_table="",
    history_table="",
    overlay_table="",
    since_anchor=1,
)
#: Of two rows, one of them of nulls; on every version, in every session.
EVERY_TYPE_HASH = "sha256:f9adab47b4daacaebd138d170eb4806f0c3d3aa39b9458d63c862cd836adcbeb"


def every_type(**instead: str) -> Sql:
    """One row with a value of each type, or with these in place of it, and one of nulls."""
    values = {**TYPES, **instead}
    cells = ", ".join(
        f"{value}::{kind} AS c{at}" for at, (kind, value) in enumerate(values.items())
    )
    nulls = ", ".join(f"NULL::{kind}" for kind in TYPES)
    return fixed(
        f"(SELECT 1::bigint AS _res_id, 'a'::text AS _id, 1 AS _ord, {cells}"
        f" UNION ALL SELECT 2, 'b', 1, {nulls})"
    )


async def hash_of(dsn: str, *relations: Sql, setting: str = "") -> list[str]:
    database = await Database.connect(dsn)
    try:
        async with database.dedicated(statement_timeout_s=10) as session:
            await session.execute(setting or "SELECT")
            return [(await read_content(session, EVERY_TYPE, one)).hash for one in relations]
    finally:
        await database.close()


@pytest_asyncio.fixture
async def house(postgres_dsn: str) -> AsyncIterator[Warehouse]:
    async with open_warehouse(postgres_dsn) as opened:
        yield opened


async def kept(house: Warehouse, view: str = "people") -> Content:
    """What the refreshes have kept."""
    rows = await house.fetch(
        "SELECT row_count, sums FROM researchflow.content WHERE view_name = $1"
        " ORDER BY anchor DESC LIMIT 1",
        view,
    )
    return Content.from_state(*rows[0])


async def computed(house: Warehouse, view: str = "people") -> Content:
    """What the rows give."""
    async with house.database.snapshot() as session:
        published = await published_view(session, view)
        return await read_content(session, published, anchored_relation(published))


async def test_kept_hash_follows_the_rows(house: Warehouse) -> None:
    seen = set()
    await house.put(patient("a"), patient("b", name=[{"family": "x"}, {"family": "y"}]))
    for change in range(4):
        await house.refresh()
        for view in ("people", "people_names", "results"):
            assert await kept(house, view) == await computed(house, view)
        seen.add((await kept(house)).hash)
        await house.put(patient(f"c{change}"), patient("a", birthDate=f"200{change}"))
        if change == 1:
            await house.delete("Patient/b")
        if change == 2:
            await house.expunge("Patient/c1")
    assert len(seen) == 4


async def test_hash_is_the_same_on_every_version(postgres_dsn: str, other_dsn: str) -> None:
    assert await hash_of(postgres_dsn, every_type()) == [EVERY_TYPE_HASH]
    assert await hash_of(other_dsn, every_type()) == [EVERY_TYPE_HASH]


@pytest.mark.parametrize(
    "setting",
    [
        "SET timezone = 'Asia/Tokyo'",
        "SET datestyle = 'German'",
        "SET extra_float_digits = -5",
        "SET bytea_output = 'escape'",
        "SET enable_hashagg = off",
    ],
)
async def test_hash_does_not_depend_on_the_session(empty_dsn: str, setting: str) -> None:
    assert await hash_of(empty_dsn, every_type(), setting=setting) == [EVERY_TYPE_HASH]


async def test_hash_is_what_the_decision_says(connection: asyncpg.Connection) -> None:
    """Computed here from the rows' bytes as PostgreSQL gives them."""
    text, _values = every_type().render()
    names = ", ".join(("_id", "_ord", *(f"c{at}" for at in range(len(TYPES)))))
    rows = await connection.fetch(f"SELECT record_send(ROW({names})) FROM {text} AS t")
    sums = [0] * 16
    for row in rows:
        first = hashlib.sha512(row[0]).digest()
        wide = first + hashlib.sha512(first).digest()
        for lane in range(16):
            sums[lane] += int.from_bytes(wide[8 * lane : 8 * lane + 8], "big")
    state = b"".join((one % 2**64).to_bytes(8, "big") for one in sums)
    told = b"researchflow rows 1" + len(rows).to_bytes(8, "big") + state
    assert f"sha256:{hashlib.sha256(told).hexdigest()}" == EVERY_TYPE_HASH


async def test_hash_differs_with_every_value_and_its_place(empty_dsn: str) -> None:
    changed = [every_type(**{kind: "NULL"}) for kind in TYPES]
    looks = [every_type(numeric="1.1"), every_type(text="'É'"), every_type(text="''")]
    swapped = [every_type(smallint="3", integer="-2")]
    hashes = await hash_of(empty_dsn, every_type(), *changed, *looks, *swapped)
    assert len(set(hashes)) == len(hashes)


async def test_row_that_is_there_twice_does_not_cancel_out(empty_dsn: str) -> None:
    row = every_type()
    twice = fixed(
        f"(SELECT * FROM {row.parts[0]} AS a UNION ALL SELECT * FROM {row.parts[0]} AS b)"
    )
    none = fixed(f"(SELECT * FROM {row.parts[0]} AS a WHERE false)")
    hashes = await hash_of(empty_dsn, row, twice, none)
    assert len(set(hashes)) == 3
    assert hashes[2] == Content(0).hash


@hypothesis.given(st.lists(st.binary(min_size=128, max_size=128), max_size=6), st.randoms())
def test_exchanges_in_any_order_come_to_the_same(states: list[bytes], order: random.Random) -> None:
    parts = [Content.from_state(1, state) for state in states]
    shuffled = order.sample(parts, len(parts))
    nothing = Content(0)
    whole = other = nothing
    for part in parts:
        whole = whole.exchanged(gone=nothing, added=part)
    for part in shuffled:
        other = other.exchanged(gone=nothing, added=part)
    assert whole == other == Content.from_state(other.rows, other.state)
    for part in parts:
        whole = whole.exchanged(gone=part, added=nothing)
    assert whole == nothing


def test_joint_hash_tells_the_views_apart() -> None:
    one, two = ("a", "d", "h"), ("b", "e", "i")
    assert joint_hash([one, two]) == joint_hash([two, one])
    assert (
        len({joint_hash(hashes) for hashes in ([one], [two], [one, two], [], [("a", "h", "d")])})
        == 5
    )
