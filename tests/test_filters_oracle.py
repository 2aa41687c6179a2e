"""Random filters keep exactly the rows that plain Python keeps, and lose those it loses."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from filter_generators import filters, near
from oracle_filters import World
from researchflow_runners.compiler.column import Column
from researchflow_runners.hybrid.relative import newest_days, with_days
from researchflow_runners.hybrid.undecided import undecided
from researchflow_runners.query.model import Query
from researchflow_runners.query.period import parse_period
from researchflow_runners.query.sql import build_statement
from researchflow_runners.sql import Sql, fixed
from researchflow_runners.store.database import Database, Session
from researchflow_server.embedded import Services

TODAY = date(2020, 3, 31)
PEOPLE = (
    Column("id", "id", "text"),
    Column("gender", "code", "text"),
    Column("born", "date", "text"),
)
EVENTS = (
    Column("id", "id", "text"),
    Column("person", "string", "text"),
    Column("kind", "code", "text"),
    Column("at", "dateTime", "text"),
    Column("value", "decimal", "numeric"),
)
CATALOGUE = {"people": PEOPLE, "events": EVENTS}
PERSONS = "abcdefghijkl"


def a_date(chance: random.Random) -> str | None:
    """A date around the end of the winter of 2020, written in one of FHIR's ways, or none."""
    day = TODAY + timedelta(days=chance.randint(-40, 10))
    shapes = [
        f"{day}", f"{day}", f"{day}", f"{day}T23:30:00-05:00", f"{day}T00:30:00+02:00",
        f"{day}T12:00:00Z", f"{day}"[:7], f"{day}"[:4], None,
    ]  # fmt: skip
    return chance.choice(shapes)


def rows(chance: random.Random) -> dict[str, list[dict[str, Any]]]:
    people = [
        {"id": name, "gender": chance.choice(["f", "m", None]), "born": a_date(chance)}
        for name in PERSONS
    ]
    events = [
        {
            "id": f"e{number}",
            "person": chance.choice([*PERSONS, None]),
            "kind": chance.choice(["x", "xy", "z", None]),
            "at": a_date(chance),
            "value": chance.choice([Decimal("1"), Decimal("2.50"), Decimal("3"), None]),
        }
        for number in range(40)
    ]
    return {"people": people, "events": events}


WORLD = World(rows(random.Random(5)), frozenset({"born", "at"}), TODAY)


def relations(view: str, columns: Collection[str]) -> Sql:
    """Only what the statement said it reads, so that it cannot read more."""
    kept = [column for column in CATALOGUE[view] if column.name in columns]
    names = [f'"{name}"' for column in kept for name, _type in column.physical]
    return fixed(f"(SELECT {', '.join(['_id', '_ord', '_layer', *names])} FROM f.{view})")


@pytest_asyncio.fixture(scope="module")
async def database(services: Services) -> AsyncIterator[Database]:
    """The rows as tables of the product's shape."""
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute("CREATE DATABASE filters_oracle")
    await connection.close()
    opened = await Database.connect(services.postgres.dsn_of("filters_oracle"))
    async with opened.transaction() as session:
        await session.execute("CREATE SCHEMA f")
        for view, columns in CATALOGUE.items():
            stored = [part for column in columns for part in column.physical]
            declared = ", ".join(f'"{name}" {pg_type}' for name, pg_type in stored)
            await session.execute(
                f"CREATE TABLE f.{view} (_id text, _ord integer, _layer text, {declared})"
            )
            slots = ", ".join(f"${number}" for number in range(1, len(stored) + 4))
            for row in WORLD.views[view]:
                values = [row["id"], 1, "batch"]
                for column in columns:
                    values.append(row[column.name])
                    if column.has_range:
                        found = parse_period(row[column.name]) if row[column.name] else None
                        values += [found.low, found.high] if found else [None, None]
                await session.execute(f"INSERT INTO f.{view} VALUES ({slots})", *values)
    yield opened
    await opened.close()


async def dated(session: Session, asked: Query) -> Query:
    """The question with days for its relative dates."""
    newest = await newest_days(session, asked, CATALOGUE, relations, today=TODAY)
    return with_days(asked, CATALOGUE, today=TODAY, newest=newest)[0]


async def kept(database: Database, view: str, where: dict[str, Any]) -> set[str]:
    """The ids that the product keeps."""
    asked = Query.model_validate({"view": view, "columns": ["id"], "where": where, "limit": 1000})
    async with database.snapshot() as session:
        asked = await dated(session, asked)
        statement = build_statement(asked, CATALOGUE, relations, on=TODAY)
        records = await session.fetch(statement.sql)
    return {row[0] for row in statement.page([tuple(one.values()) for one in records]).rows}


@settings(deadline=None)
@given(data=st.data(), view=st.sampled_from(["people", "events"]))
async def test_a_filter_keeps_what_is_true_and_not_of_it_what_is_false(
    database: Database, data: st.DataObject, view: str
) -> None:
    where = data.draw(filters(view))
    truths = {row["id"]: WORLD.holds(view, row, where) for row in WORLD.views[view]}
    assert await kept(database, view, where) == {one for one, truth in truths.items() if truth}
    refuted = {one for one, truth in truths.items() if truth is False}
    assert await kept(database, view, {"not": where}) == refuted


@settings(deadline=None)
@given(data=st.data(), view=st.sampled_from(["people", "events"]))
async def test_what_a_window_leaves_undecided_is_counted(
    database: Database, data: st.DataObject, view: str
) -> None:
    where, other = data.draw(near(view, 1)), data.draw(filters(view, 0))
    key = where["column"]
    expected = sum(
        WORLD.holds(view, row, where) is None and row[key] is not None
        for row in WORLD.rows(view, other)
    )
    both = {"all_of": [where, other]}
    async with database.snapshot() as session:
        asked = await dated(session, Query.model_validate({"view": view, "where": both}))
        told = await undecided(session, asked, CATALOGUE, relations)
    first = next((int(one.split()[0]) for one in told if f'of view "{view}"' in one), 0)
    assert first == expected
