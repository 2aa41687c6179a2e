"""A source and a warehouse, in one database or two, and small views over them, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import ProgressCallback, RefreshResult
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.hybrid.choice import merged_relation
from researchflow_runners.hybrid.facts import read_facts
from researchflow_runners.source.load import delete_resource, expunge, put_resource
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.sql import Sql, compose
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.published import PublishedView, published_view
from researchflow_runners.store.relations import (
    anchored_relation,
    historical_relation,
    live_relation,
)

PEOPLE = {
    "resourceType": "ViewDefinition",
    "name": "people",
    "resource": "Patient",
    "status": "active",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "gender", "name": "gender"},
                {"path": "birthDate", "name": "birth_date"},
            ]
        }
    ],
}
#: One row per name; fails on a name with two texts in one place, as `family` can never have.
NAMES = {
    "resourceType": "ViewDefinition",
    "name": "people_names",
    "resource": "Patient",
    "status": "active",
    "select": [
        {"column": [{"path": "getResourceKey()", "name": "id"}]},
        {
            "forEach": "name",
            "column": [
                {"path": "family", "name": "family"},
                {"path": "given", "name": "given"},
            ],
        },
    ],
}
RESULTS = {
    "resourceType": "ViewDefinition",
    "name": "results",
    "resource": "Observation",
    "status": "active",
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "subject.getReferenceKey(Patient)", "name": "patient_id"},
                {"path": "value.ofType(Quantity).value", "name": "value"},
            ]
        }
    ],
}
#: PEOPLE with another column: another digest, other tables.
PEOPLE_ACTIVE = {
    **PEOPLE,
    "select": [
        {
            "column": [
                {"path": "getResourceKey()", "name": "id"},
                {"path": "active", "name": "active"},
            ]
        }
    ],
}
DEFINITIONS = (PEOPLE, NAMES, RESULTS)


def patient(resource_id: str, **more: Any) -> dict[str, Any]:
    """A Patient; `more` are its elements."""
    return {"resourceType": "Patient", "id": resource_id, "gender": "female", **more}


def result(resource_id: str, patient_id: str, value: float) -> dict[str, Any]:
    """An Observation of a quantity."""
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "status": "final",
        "code": {"text": "glucose"},
        "subject": {"reference": f"Patient/{patient_id}"},
        "valueQuantity": {"value": value},
    }


def compiled(*definitions: dict[str, Any]) -> tuple[CompiledView, ...]:
    """The definitions as views."""
    return tuple(compile_view(definition) for definition in definitions)


@dataclass
class Warehouse:
    """`source.database` is `database` itself, or another one."""

    database: Database
    source: HapiSource

    async def put(self, *resources: dict[str, Any]) -> None:
        """Creates or updates in the source."""
        for resource in resources:
            await put_resource(self.source.database, resource)

    async def delete(self, reference: str) -> None:
        """Deletes in the source."""
        await delete_resource(self.source.database, *reference.split("/"))

    async def expunge(self, reference: str) -> None:
        """Removes from the source without trace."""
        await expunge(self.source.database, *reference.split("/"))

    async def source_execute(self, statement: str) -> None:
        """Runs a statement in the source."""
        async with self.source.database.session() as session:
            await session.execute(statement)

    async def refresh(
        self,
        definitions: Sequence[dict[str, Any]] = DEFINITIONS,
        progress: ProgressCallback | None = None,
    ) -> RefreshResult:
        """Refreshes with exactly these views."""
        refresher = Refresher(self.database, self.source, compiled(*definitions))
        return await refresher.refresh(progress)

    async def rows(self, view: str = "people", *, at: int | None = None) -> list[tuple[Any, ...]]:
        """Public values of the current anchor's rows, or of an earlier one's, in order."""
        async with self.database.snapshot() as session:
            published = await published_view(session, view)
            relation = anchored_relation(published)
            if at is not None:
                relation = historical_relation(published, at)
            return await read(session, published, relation)

    async def live(self, view: str = "people") -> list[tuple[Any, ...]]:
        """Public values of the merged rows, in order: alike however they are merged."""
        async with self.database.snapshot() as session:
            published = await published_view(session, view)
            rows = await read(session, published, live_relation(published))
            types = [published.resource_type]
            facts = await read_facts(session, views=[view], types=types, own_type=None)
            assert await read(session, published, merged_relation(published, facts=facts)) == rows
            return rows

    async def fetch(self, statement: str, *args: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement over the warehouse."""
        async with self.database.session() as session:
            return [tuple(row) for row in await session.fetch(statement, *args)]

    async def enter(
        self,
        resource_id: str,
        version: int,
        text: str | None,
        *,
        origin: str = "source",
        valid_from: str = "-infinity",
        valid_until: str = "infinity",
        **more: Any,
    ) -> int:
        """An overlay entry of a Patient as the projector leaves it, rows of `people` included."""
        base = await self.fetch(
            "SELECT res_id FROM researchflow.ledger WHERE res_type = 'Patient' AND id = $1",
            resource_id,
        )
        ((entry,),) = await self.fetch(
            "INSERT INTO researchflow.overlay_entry (res_type, id, origin, version, deleted,"
            " provenance, received_at, valid_from, valid_until, base_res_id, stream_id)"
            " VALUES ('Patient', $1, $2, $3, $4, 'test', now(),"
            f" {valid_from!r}, {valid_until!r}, $5, $6) RETURNING entry_id",
            resource_id,
            origin,
            version,
            text is None,
            base[0][0] if base else None,
            f"{version}-1",
        )
        if text is not None:
            await self.fetch(
                "INSERT INTO researchflow.overlay_resource (entry_id, resource) VALUES ($1, $2)",
                entry,
                text,
            )
        overlay = await self.fetch(
            "SELECT overlay_table FROM researchflow.view_catalogue WHERE view_name = 'people'"
        )
        if text is not None and overlay:
            await self.fetch(
                f"INSERT INTO researchflow.{overlay[0][0]} (_id, _ord, gender, _entry)"
                " VALUES ($1, 1, $2::jsonb ->> 'gender', $3)",
                resource_id,
                text,
                entry,
            )
        return int(entry)


async def read(session: Session, published: PublishedView, relation: Sql) -> list[tuple[Any, ...]]:
    """The relation's public values, ordered by resource and row."""
    rows = await session.fetch(compose("SELECT * FROM {} AS r ORDER BY _id, _ord", relation))
    names = [column.name for column in published.columns]
    return [tuple(row[name] for name in names) for row in rows]


@asynccontextmanager
async def open_warehouse(dsn: str, source_dsn: str | None = None) -> AsyncIterator[Warehouse]:
    """Without a second database the source is in the warehouse."""
    database = await Database.connect(dsn, pool_size_max=4)
    apart = await Database.connect(source_dsn, pool_size_max=4) if source_dsn else None
    await database.install_schema()
    try:
        yield Warehouse(database, HapiSource(apart or database))
    finally:
        await database.close()
        if apart:
            await apart.close()
